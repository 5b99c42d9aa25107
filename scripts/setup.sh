#!/usr/bin/env bash
# Gets what a build needs: the system's packages and libtorch. `setup.sh test` adds what only the
# tests use, `setup.sh package` what makes packages. Run it as often as you like: what is there already is left alone.
#
#   LIBTORCH=<folder>   use this libtorch 2.11 instead of fetching one
#   CUDA=1 | CUDA=0     fetch the CUDA libraries, or not (default: when there is an NVIDIA driver)
set -euo pipefail
cd -P "$(dirname "$0")/.."

version=2.11.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nst-stream
folder=$cache/libtorch-$version
part=$folder.part
packages=(libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
    gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav gstreamer1.0-{rtsp,x,tools}
    libturbojpeg0-dev g++ pkg-config python3 python3-pip ca-certificates)
if [ "${1-}" = package ]; then
    packages+=(patchelf dpkg-dev zstd binutils lintian)
fi
wishes=()
if [ "${1-}" = test ]; then
    packages+=(ffmpeg gdb xvfb imagemagick srt-tools mpv python3-venv)
    wishes=(python3-torch chromium chromium-driver) # for some tests, and not in every distribution
fi

say() { echo "setup: $*"; }
die() { echo "setup: error: $*" >&2; exit 1; }

rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$(rustc --version 2>/dev/null | cut -d' ' -f2) || true
    [ "$(printf '%s\n' "$wanted" "${have:-0}" | sort -V | head -n1)" = "$wanted" ] ||
        die "Rust $wanted or newer is needed (found: ${have:-none}); rustup installs it"
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

find_missing() {
    local package
    missing=()
    for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done
    for package in "${wishes[@]}"; do
        installed "$package" || [ -z "$(apt-cache madison "$package" 2>/dev/null)" ] || missing+=("$package")
    done
}

system_packages() {
    local sudo=()
    if ! command -v apt-get >/dev/null; then
        pkg-config --exists 'gstreamer-1.0 >= 1.22' gstreamer-app-1.0 gstreamer-video-1.0 \
            gstreamer-rtsp-server-1.0 2>/dev/null ||
            die "no apt-get here: install by hand what your system calls ${packages[*]} ${wishes[*]}"
        say "no apt-get, but GStreamer is there; of use besides: ${packages[*]} ${wishes[*]}"
        return
    fi
    find_missing
    if [ "${#missing[@]}" = 0 ]; then
        say "system packages: already there"
    else
        if [ "$(id -u)" != 0 ]; then
            command -v sudo >/dev/null || die "as root, install ${missing[*]}; then run this again"
            say "sudo is used to install system packages; it may ask for your password"
            sudo=(sudo)
        fi
        "${sudo[@]}" apt-get -qq update
        find_missing # again: only now is it sure which wishes this system has
        say "installing ${missing[*]}"
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}" >/dev/null
    fi
    local wish
    for wish in "${wishes[@]}"; do
        installed "$wish" || say "no package $wish on this system: the tests that need it are skipped"
    done
}

# Servers that tests talk to, and promtool. Their packages would start a service: they are unpacked, not installed.
unpacked_servers() {
    local folder=target/servers sudo=() package wanted=()
    command -v apt-get >/dev/null || return 0
    [ -x "$folder/usr/sbin/nginx" ] && [ -e "$folder/usr/lib/nginx/modules/ngx_rtmp_module.so" ] &&
        [ -e "$folder/usr/lib/nginx/modules/ngx_stream_module.so" ] ||
        wanted+=(nginx libnginx-mod-rtmp libnginx-mod-stream)
    [ -x "$folder/usr/bin/promtool" ] || wanted+=(prometheus)
    [ "${#wanted[@]}" -gt 0 ] || return 0
    say "unpacking ${wanted[*]} into $folder"
    mkdir -p "$folder"
    download() { (cd "$folder" && apt-get -qq download "${wanted[@]}" 2>/dev/null); }
    if ! download; then
        [ "$(id -u)" = 0 ] || sudo=(sudo)
        "${sudo[@]}" apt-get -qq update
        download || die "apt-get cannot download ${wanted[*]}, which tests need"
    fi
    for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder"; done
    rm -f "$folder"/*.deb
}

cuda_wanted() {
    local driver
    if [ -n "${CUDA-}" ]; then [ "$CUDA" != 0 ]; return; fi
    [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null || return 1
    driver=$(sed -n '1s/.* \([0-9]\{3,\}\)\.[0-9.]* .*/\1/p' /proc/driver/nvidia/version 2>/dev/null) || true
    if [ "${driver:-580}" -lt 580 ]; then
        say "NVIDIA driver $driver does not run CUDA 13 (580 or newer does): the CPU alone is set up"
        return 1
    fi
}

# fetch <cpu|cuda>...: downloads the wheels and unpacks these parts of them. They are unpacked aside
# and moved at the end, so that an interrupted set-up leaves nothing that looks whole; .cpu and
# .cuda in the folder say which parts are complete.
fetch() {
    local machine tag try python=python3 gigabytes=2 pip
    machine=$(uname -m)
    [[ $machine = x86_64 || $machine = aarch64 ]] ||
        die "no libtorch can be fetched for $machine: set LIBTORCH to a libtorch $version"
    pip=(--no-cache-dir --disable-pip-version-check --no-deps --require-hashes)
    pip+=(-r scripts/libtorch-cpu.txt)
    [[ " $* " != *" cuda "* ]] || { pip+=(-r scripts/libtorch-cuda.txt); gigabytes=9; }
    [ -t 1 ] || pip+=(--quiet) # the progress bar is for eyes
    # One wheel for all: its C++ libraries are the same whatever Python the system has.
    pip+=(--only-binary=:all: --python-version 3.12 --implementation cp --abi cp312)
    for tag in _2_28 _2_27 _2_25 _2_18 _2_17 2014; do pip+=(--platform "manylinux${tag}_$machine"); done
    $python -m pip --version >/dev/null 2>&1 || python=/usr/bin/python3
    $python -m pip --version >/dev/null 2>&1 || die "python3 with pip is needed to fetch libtorch"
    [ "$(df -Pk "$cache" | awk 'NR == 2 { print int($4 / 1e6) }')" -ge "$gigabytes" ] ||
        die "too little room in $cache: unpacking needs $gigabytes GB"

    say "fetching libtorch $version ($*) into $folder"
    rm -rf "$part"
    mkdir -p "$part/tmp"
    for try in 1 2 3; do
        TMPDIR=$part/tmp $python -m pip download "${pip[@]}" --dest "$part/wheels" && break
        [ $try -lt 3 ] || die "the download failed three times; run this again"
    done
    say "unpacking it"
    $python - "$part" "$@" <<'PYTHON'
import pathlib, re, sys, zipfile
part, wanted = pathlib.Path(sys.argv[1]), sys.argv[2:]
for wheel in sorted(part.glob("wheels/*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.match(r"torch/lib/lib(torch_python|shm)\.", name):
                continue  # for Python alone
            if name.startswith("torch/include/") or re.match(r"torch-[^/]*\.dist-info/(licenses/)?(LICENSE|NOTICE)", name):
                kind = "cpu"
            elif re.match(r"torch/lib/[^/]*\.so", name):
                kind = "cuda" if re.search("cuda|nvrtc|nvshmem", name) else "cpu"
            elif re.match(r"nvidia/\w+/lib/[^/]*\.so", name):
                kind = "cpu" if re.match("nvidia_cuda_(runtime|cupti)-", wheel.name) else "cuda"
            else:
                continue
            if kind in wanted:
                archive.extract(name, part / kind)
PYTHON
    if [ -d "$part/cpu" ]; then
        touch "$part/cpu/.cpu"
        rm -rf "$folder" # without its .cpu it is of no use
        mv "$part/cpu" "$folder"
    fi
    if [ -d "$part/cuda" ]; then
        cp -alf "$part/cuda/." "$folder/" # hard links: no second copy, and none that is half written
        touch "$folder/.cuda"
    fi
    rm -rf "$part"
}

point() { [ "$(readlink "$2")" = "$1" ] || ln -sfn "$1" "$2"; }

# use <folder>: makes .libtorch show this libtorch. The links lead to the real files, for build.rs
# takes the run-time path from them. There is none to libtorch_cuda.so: torch-sys would link it,
# and the program opens it by itself where there is a GPU.
use() {
    local name
    mkdir -p .libtorch/lib
    for name in include lib/libtorch_cpu.so lib/libc10.so lib/libtorch.so; do
        [ -e "$1/$name" ] || die "this is no libtorch: $1/$name is missing"
        point "$(readlink -f "$1/$name")" ".libtorch/$name"
    done
}

libtorch() {
    local there parts=()
    if [ -n "${LIBTORCH-}" ] && [ "$(readlink -f "$LIBTORCH")" != "$PWD/.libtorch" ]; then
        use "$LIBTORCH"
        say "libtorch: yours, $LIBTORCH"
        return
    fi
    there=$(readlink -e .libtorch/lib/libtorch_cpu.so) || there=""
    if [ -n "$there" ] && [[ $there != "$(readlink -m "$cache")"/* ]]; then
        say "libtorch: already there, ${there%/lib/*} (remove .libtorch to have one fetched)"
        return
    fi
    mkdir -p "$cache"
    exec 9>"$cache/lock" # held until this script ends: two set-ups must not unpack at once
    flock -n 9 || { say "waiting for another set-up to finish"; flock 9; }
    [ -e "$folder/.cpu" ] || parts=(cpu)
    if [ ! -e "$folder/.cuda" ] && cuda_wanted; then parts+=(cuda); fi
    if [ "${#parts[@]}" = 0 ]; then
        say "libtorch $version: already there"
    else
        fetch "${parts[@]}"
    fi
    use "$folder/torch"
}

rust
system_packages
if [ "${1-}" = test ]; then unpacked_servers; fi
libtorch
