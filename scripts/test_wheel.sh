#!/usr/bin/env bash
# Installs dist/*.whl and styles a clip. By hand: it downloads 0.5 GB for each Python, 3 GB for each Debian.
#
#   scripts/test_wheel.sh python3.11 python3.12     into a fresh virtual environment of each Python, with the processor's part
#                                                   of what torch depends on; before that, what it says without torch
#   scripts/test_wheel.sh bookworm                  as README says, on a Debian that was just installed (as root): it names
#                                                   the packages of GStreamer that are missing, and these are installed
set -euo pipefail
cd -P "$(dirname "$0")/.."
. scripts/debian_chroot.sh
say() { echo "test_wheel: $*"; }
die() { echo "test_wheel: error: $*" >&2; exit 1; }

with_python() {
    local began=$SECONDS venv=$folder/venv said left
    rm -rf "$venv"
    "$1" -m venv "$venv"
    "$venv/bin/pip" -q install --disable-pip-version-check --no-deps "$wheel"
    said=$("$venv/bin/nst-stream" --version 2>&1) && die "it runs without torch"
    [[ $said = "nst-stream: the package torch is missing"* ]] || die "$said"
    "$venv/bin/pip" -q install --disable-pip-version-check --no-deps --no-cache-dir \
        torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
    "$venv/bin/nst-stream" --version
    (cd "$folder" && "$venv/bin/nst-stream" -q -m mosaic-lite -i "$OLDPWD/tests/data/carphone_pristine.mp4" \
        -o painted.mp4 --overwrite --duration 2)
    say "$("$1" --version): the first clip is painted $((SECONDS - began)) s after the beginning"
    "$venv/bin/pip" -q uninstall -y nst-stream
    left=$(find "$venv" -name '*nst*stream*' -print -quit)
    [ -z "$left" ] || die "removal leaves $left"
}

inside() {
    local root=$1 suite=$2 began packages said
    install_debian "$root" "$suite" ca-certificates
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fast" # it is thrown away
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    chroot "$root" useradd --create-home user
    cp "$wheel" tests/data/carphone_pristine.mp4 "$root/home/user/"
    in_there() { chroot "$root" /usr/bin/env -i LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -ec "$1"; }
    as_user() { in_there "exec setpriv --reuid user --regid user --clear-groups env HOME=/home/user sh -ec 'cd; $1'"; }
    install() { in_there "apt-get -qq -y install $* >/tmp/install.log 2>&1 || { tail -n 20 /tmp/install.log; exit 1; }"; }
    in_there 'apt-get -qq update'
    began=$SECONDS
    install python3-venv
    as_user "python3 -m venv venv; venv/bin/pip -q install --no-cache-dir ./$(basename "$wheel")"
    say "$suite: installed in $((SECONDS - began)) s, $(du -sh "$root/home/user/venv" | cut -f1)"
    said=$(as_user 'venv/bin/nst-stream --version' 2>&1) && die "it runs without GStreamer"
    packages=$(sed -n 's/.*sudo apt install \(.*\) (Debian, Ubuntu)$/\1/p' <<<"$said")
    [ -n "$packages" ] || die "it does not say what is missing: $said"
    install "$packages"
    as_user 'venv/bin/nst-stream --version; venv/bin/nst-stream -q -m mosaic-lite -i carphone_pristine.mp4 -o painted.mp4 --duration 2'
    say "$suite: the first clip is painted $((SECONDS - began)) s after the beginning"
    as_user 'venv/bin/nst-stream probe' | grep -i -E 'libtorch|cuda'
}

wheel=$(ls -t dist/nst_stream-*.whl | head -n1)
if [ "${1-}" = --inside ]; then
    inside "$2" "$3"
    exit
fi
[ $# -gt 0 ] || { echo "usage: scripts/test_wheel.sh PYTHON…|bookworm|trixie" >&2; exit 2; }
folder=$(mktemp -d --tmpdir nst-stream-wheel.XXXXXX)
chmod 755 "$folder"
trap 'rm -rf --one-file-system "$folder" "$folder".*' EXIT
for what in "$@"; do
    case $what in
        bookworm | trixie)
            [ "$(id -u)" = 0 ] || die "it must be run as root"
            unshare --mount --propagation private --pid --fork --kill-child "$PWD/scripts/test_wheel.sh" --inside "$folder/$what" "$what"
            ;;
        *) with_python "$what" ;;
    esac
done
