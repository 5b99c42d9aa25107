#!/usr/bin/env bash
# Installs dist/*.deb in a Debian that was just installed, and uses it as an ordinary user: styles a clip, serves RTSP;
# then unpacks dist/*.tar.zst and does the first again; then removes the package and looks for what is left. By hand and as root.
#
#   scripts/test_package.sh bookworm|trixie
set -euo pipefail
cd -P "$(dirname "$0")/.."
. scripts/debian_chroot.sh
say() { echo "test_package: $*"; }
die() { echo "test_package: error: $*" >&2; exit 1; }

inside() {
    local root=$1 suite=$2 began deb archive
    deb=$(ls -t dist/nst-stream_*.deb | head -n1)
    archive=$(ls -t dist/nst-stream-*.tar.zst | head -n1)
    install_debian "$root" "$suite" ca-certificates
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fast" # it is thrown away
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    chroot "$root" useradd --create-home user
    cp "$deb" "$archive" tests/data/carphone_pristine.mp4 "$root/home/user/"
    in_there() { chroot "$root" /usr/bin/env -i LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -ec "$1"; }
    as_user() { in_there "exec setpriv --reuid user --regid user --clear-groups env HOME=/home/user sh -ec 'cd; $1'"; }
    in_there 'apt-get -qq update'
    in_there 'find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var \) -prune -o -print | sort' >"$root.before"
    began=$SECONDS
    in_there "apt-get -qq -y install /home/user/$(basename "$deb") >/tmp/install.log 2>&1 || { tail -n 20 /tmp/install.log; exit 1; }"
    say "$suite: installed in $((SECONDS - began)) s"
    as_user 'nst-stream --version; nst-stream -q -m mosaic-lite -i carphone_pristine.mp4 -o painted.mp4 --duration 2'
    say "$suite: the first clip is painted $((SECONDS - began)) s after the beginning"
    as_user 'nst-stream -q -m mosaic-lite -i test:160x96@10 -o rtsp://127.0.0.1:18554/art & server=$!; sleep 5
        timeout -s INT 8 nst-stream -q -m mosaic-lite --strength 0 -i rtsp://127.0.0.1:18554/art -o got.mkv || [ $? = 124 ]
        kill -INT $server; wait $server || [ $? = 130 ]
        nst-stream -q -m mosaic-lite --strength 0 -i got.mkv -o got.png --preview 1'
    say "$suite: it serves RTSP"
    in_there 'cd /usr/share/doc/nst-stream; test -s copyright; for it in NOTICES.*.gz; do gzip -t $it; done; zgrep -q tokio NOTICES.crates.gz'
    in_there 'man -w nst-stream-train >/dev/null 2>&1 || ls /usr/share/man/man1/nst-stream-train.1.gz' >/dev/null
    in_there 'apt-get -qq -y purge nst-stream >/dev/null 2>&1'
    in_there 'find / -xdev -name "*nst-stream*" -not -path "/home/*" -not -path "/proc/*" -not -path "/var/cache/apt/*" -not -path "/var/log/*"' >"$root.left"
    [ ! -s "$root.left" ] || { cat "$root.left"; die "$suite: removal leaves these"; }
    say "$suite: removal leaves nothing"
    in_there 'apt-get -qq -y install zstd >/dev/null 2>&1'
    as_user "tar -xf $(basename "$archive"); nst-stream-*/bin/nst-stream -q -m mosaic-lite -i carphone_pristine.mp4 -o again.mp4 --duration 1"
    say "$suite: the archive works where it was unpacked"
}

if [ "${1-}" = --inside ]; then
    inside "$2" "$3"
    exit
fi
[[ ${1-} = bookworm || ${1-} = trixie ]] || { echo "usage: scripts/test_package.sh bookworm|trixie" >&2; exit 2; }
[ "$(id -u)" = 0 ] || die "it must be run as root"
root=$(mktemp -d --tmpdir nst-stream-package.XXXXXX)
chmod 755 "$root"
trap 'rm -rf --one-file-system "$root" "$root".*' EXIT
unshare --mount --propagation private --pid --fork --kill-child "$PWD/scripts/test_package.sh" --inside "$root" "$1"
