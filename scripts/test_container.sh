#!/usr/bin/env bash
# Builds packaging/Containerfile where there is no container engine: its steps are run in a Debian that was just installed,
# with dist/*.deb. Then it is used as a container would be: nothing to write to but /tmp and /work, as the image's user. It
# styles a clip, says that it is healthy, serves RTSP and ends when it is told to. By hand and as root; with cuda it
# downloads 3 GB, and shows only that libtorch with CUDA is found, for which no GPU is needed.
#
#   scripts/test_container.sh [cpu|cuda]
set -euo pipefail
cd -P "$(dirname "$0")/.."
. scripts/debian_chroot.sh
say() { echo "test_container: $*"; }
die() { echo "test_container: error: $*" >&2; exit 1; }

# What the image says of how it is run.
user='' folder='' environment=() health=() entry=()

# steps: the Containerfile without comments, a step a line.
steps() { sed '/^#/d' packaging/Containerfile | sed -e ':a' -e '/\\$/{N;s/\\\n//;ba}'; }

# words <array> <json>: sets the array to the strings of a list as the Containerfile writes them.
words() { mapfile -d '' -t "$1" < <(python3 -c 'import json, sys; print(*json.loads(sys.argv[1]), sep="\0", end="\0")' "$2"); }

# build <root> <variant>
build() {
    local root=$1 variant=$2 stage='' step rest from
    while read -r step rest; do
        [ -n "$step" ] || continue
        if [ "$step" = FROM ]; then
            stage=${rest##* AS }
            [ "$rest" != '${VARIANT}' ] || stage=$variant
            continue
        fi
        [ "$stage" = cpu ] || [ "$stage" = "$variant" ] || continue
        case $step in
            COPY) read -r from rest <<<"$rest"; cp $from "$root$rest" ;;
            RUN) chroot "$root" /usr/bin/env -i PATH="$paths" /bin/sh -c "$rest" </dev/null >"$root.log" 2>&1 ||
                { tail -n 20 "$root.log"; die "this step failed: $rest"; } ;;
            USER) user=$rest ;;
            WORKDIR) folder=$rest ;;
            ENV) environment+=("$rest") ;;
            HEALTHCHECK) words health "${rest#*CMD }" ;;
            ENTRYPOINT) words entry "$rest" ;;
            *) die "the Containerfile has a step that is not known here: $step $rest" ;;
        esac
    done < <(steps)
}

inside() {
    local root=$1 variant=$2 began=$SECONDS server port=$((20000 + RANDOM % 10000))
    paths=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    install_debian "$root" bookworm ca-certificates
    # As Debian's small images have it.
    printf 'path-exclude /usr/share/%s/*\n' doc man locale >"$root/etc/dpkg/dpkg.cfg.d/docker"
    echo 'path-include /usr/share/doc/*/copyright' >>"$root/etc/dpkg/dpkg.cfg.d/docker"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fast" # it is thrown away
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    say "the image would be based on this after $((SECONDS - began)) s"
    began=$SECONDS
    build "$root" "$variant"
    say "$variant: built in $((SECONDS - began)) s, $(du -shx --exclude=./proc --exclude=./dev "$root" | cut -f1)"
    began=$SECONDS
    mount --bind "$root" "$root"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t tmpfs -o mode=755,uid=10001,gid=10001 tmpfs "$root/work"
    cp tests/data/carphone_pristine.mp4 "$root/work/"
    mount -o remount,bind,ro "$root"
    # run <command>...: as the image says; become: in this shell's place.
    become() {
        exec chroot "$root" setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs --bounding-set=-all \
            /usr/bin/env -i --chdir="$folder" PATH="$paths" "${environment[@]}" "$@"
    }
    run() { (become "$@"); }
    [ "$(run id -u)" != 0 ] || die "it runs as root"
    ! run touch /var/tmp/it /usr/bin/it 2>/dev/null || die "it can write to more than /tmp and $folder"
    run "${entry[@]}" --version
    run "${entry[@]}" -q -m mosaic-lite -i carphone_pristine.mp4 -o painted.mp4 --duration 2
    say "$variant: the first clip is painted $((SECONDS - began)) s after its start"
    run "${health[@]}" >/dev/null || die "it says that it is not healthy: ${health[*]}"
    become "${entry[@]}" -q -m mosaic-lite -i test:160x96@10 -o rtsp://127.0.0.1:$port/art &
    server=$!
    sleep 5
    run timeout -s INT 8 "${entry[@]}" -q -m mosaic-lite --strength 0 -i rtsp://127.0.0.1:$port/art -o got.mkv || [ $? = 124 ]
    run "${entry[@]}" -q -m mosaic-lite --strength 0 -i got.mkv -o got.png --preview 1
    kill -TERM $server
    wait $server || [ $? = 130 ] || die "it does not end in order when it is told to"
    say "$variant: healthy; it serves RTSP, and ends when it is told to"
    for licences in copyright NOTICES.crates.gz NOTICES.torch.gz; do
        run test -s "/usr/share/doc/nst-stream/$licences" || die "there is no $licences"
    done
    run "${entry[@]}" probe | grep -i -E 'libtorch|cuda'
    if [ "$variant" = cuda ]; then
        run "${entry[@]}" probe --json | grep -q '"/usr/local/lib/nst-stream/torch/lib"' || die "libtorch with CUDA is not used"
    fi
}

if [ "${1-}" = --inside ]; then
    inside "$2" "$3"
    exit
fi
variant=${1-cpu}
[[ $variant = cpu || $variant = cuda ]] || { echo "usage: scripts/test_container.sh [cpu|cuda]" >&2; exit 2; }
[ "$(id -u)" = 0 ] || die "it must be run as root"
compgen -G 'dist/nst-stream_*.deb' >/dev/null || die "there is no dist/nst-stream_*.deb: make package"
root=$(mktemp -d --tmpdir nst-stream-container.XXXXXX)
chmod 755 "$root"
trap 'rm -rf --one-file-system "$root" "$root".*' EXIT
unshare --mount --propagation private --pid --fork --kill-child "$PWD/scripts/test_container.sh" --inside "$root" "$variant"
