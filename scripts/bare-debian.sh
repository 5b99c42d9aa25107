#!/usr/bin/env bash
# Runs `make demo` and `make test` as a newcomer would: on a Debian that was just installed, with
# nothing there but git, make, curl and Rust. By hand and as root; it takes half an hour and 20 GB.
#
#   scripts/bare-debian.sh bookworm|trixie
#
# Debian is installed into a temporary folder (under TMPDIR), from the package sources that apt has on
# this machine, and removed at the end. Rust's folders (RUSTUP_HOME, CARGO_HOME) are this machine's.
# What is tested is the repository at HEAD. The result is the exit status of the two commands.
set -euo pipefail
cd -P "$(dirname "$0")/.."
. scripts/debian_chroot.sh

say() { echo "bare-debian: $*"; }
die() { echo "bare-debian: error: $*" >&2; exit 1; }

rustup=${RUSTUP_HOME:-$HOME/.rustup}
cargo=${CARGO_HOME:-$HOME/.cargo}

# inside <root> <suite>: all that mounts, in a mount namespace of its own, which takes them with it.
inside() {
    local root=$1 suite=$2 command status=0 began line
    unset TMPDIR # there is no such folder in there
    install_debian "$root" "$suite" ca-certificates,git,make,curl
    git clone -q --no-hardlinks . "$root/root/nst-stream"

    mkdir -p "$root/root/.rustup" "$root/root/.cargo"
    mount --bind "$rustup" "$root/root/.rustup"
    mount --bind "$cargo" "$root/root/.cargo"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"

    line="Debian $(cat "$root/etc/debian_version"), $(git rev-parse --short HEAD), $(nproc) cores:"
    for command in demo test; do
        say "make $command"
        began=$SECONDS
        chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 \
            PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            make -C /root/nst-stream "$command" || status=$?
        line+=" make $command $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
        [ "$status" = 0 ] || { say "$line: FAILED ($status)"; exit "$status"; }
        [ "$command" = test ] || line+=,
    done
    say "$line; both succeeded"
}

if [ "${1-}" = --inside ]; then
    inside "$2" "$3"
    exit
fi
[[ ${1-} = bookworm || ${1-} = trixie ]] || { echo "usage: scripts/bare-debian.sh bookworm|trixie" >&2; exit 2; }
[ "$(id -u)" = 0 ] || die "it must be run as root"
for need in debootstrap unshare apt-get git; do
    command -v "$need" >/dev/null || die "there is no $need here; install it"
done
[ -x "$cargo/bin/cargo" ] || die "there is no Rust in $cargo; install it with rustup, or set CARGO_HOME"
root='' child=''
# What runs in there ends with its first process, which unshare waits for, and unshare alone is waited
# for here. Nothing is mounted in this namespace: only what was installed is removed.
clean_up() {
    local first
    if [ -n "$child" ]; then
        first=$(cat "/proc/$child/task/$child/children" 2>/dev/null) || true
        kill -KILL ${first:-"$child"} 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    [ -z "$root" ] || rm -rf --one-file-system "$root" "$root.log"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
root=$(mktemp -d --tmpdir nst-stream-debian.XXXXXX)
chmod 755 "$root"
unshare --mount --propagation private --pid --fork --kill-child "$PWD/scripts/bare-debian.sh" --inside "$root" "$1" &
child=$!
status=0
wait "$child" || status=$?
child=''
exit "$status"
