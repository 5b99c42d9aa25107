#!/usr/bin/env bash
# Makes dist/nst-stream_VERSION_ARCH.deb and dist/nst-stream-VERSION-ARCH.tar.zst, both with libtorch's CPU libraries, and
# a Python wheel, which uses those of the package torch.
# To be run on Debian 12, so that the same file serves Debian 13: what it needs of the system is what is older.
#
#   NST_COMMIT=<commit>  what `nst-stream --version` names
set -euo pipefail
cd -P "$(dirname "$0")/.."
say() { echo "package: $*"; }
die() { echo "package: error: $*" >&2; exit 1; }

for tool in patchelf dpkg-deb dpkg-shlibdeps zstd gzip strip; do
    command -v $tool >/dev/null || die "no $tool: apt-get install patchelf dpkg-dev zstd binutils gzip"
done
cargo build --release --locked # with the commit's name: the program's own crate at the most is built again
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
release=$version-1
maintainer='the nst-stream authors <nst-stream@localhost.localdomain>'
arch=$(dpkg --print-architecture)
program=${CARGO_TARGET_DIR:-target}/release/nst-stream
torch=$(dirname "$(readlink -f .libtorch/lib/libtorch_cpu.so)")
root=target/package/deb
rm -rf "$root"
mkdir -p "$root"/DEBIAN "$root"/usr/{bin,lib/nst-stream,lib/systemd/system} \
    "$root"/usr/share/{man/man1,doc/nst-stream,lintian/overrides} dist
rm -f dist/nst-stream[_-]* dist/nst_stream-*.whl dist/SHA256SUMS # dist holds one version

say "the program and the libraries that it needs"
install -m 755 -s "$program" "$root/usr/bin/nst-stream"
# A libtorch with CUDA that the user adds comes before the one here: see README.md, CUDA.
patchelf --set-rpath '$ORIGIN/../local/lib/nst-stream/torch/lib:$ORIGIN/../lib/nst-stream' "$root/usr/bin/nst-stream"
# library NAME: from libtorch, or from the wheels that it is linked with.
library() {
    local found
    found=$(find "$torch" "$torch/../../nvidia" -name "$1" -print -quit 2>/dev/null)
    [ -n "$found" ] || die "libtorch has no $1"
    install -m 644 "$(readlink -f "$found")" "$root/usr/lib/nst-stream/$1"
}
for name in libtorch_cpu.so libc10.so libgomp.so.1 libcudart.so.13 libcupti.so.13; do library $name; done
strip --strip-unneeded "$root"/usr/lib/nst-stream/*.so*
for file in "$root"/usr/lib/nst-stream/*.so*; do patchelf --set-rpath '$ORIGIN' "$file"; done

say "manual pages, completions, documents, the service"
export LD_LIBRARY_PATH=$torch
"$program" man --output "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
install -d "$root"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
"$program" completions bash >"$root/usr/share/bash-completion/completions/nst-stream"
"$program" completions zsh >"$root/usr/share/zsh/vendor-completions/_nst-stream"
"$program" completions fish >"$root/usr/share/fish/vendor_completions.d/nst-stream.fish"
unset LD_LIBRARY_PATH
install -m 644 packaging/debian/nst-stream@.service "$root/usr/lib/systemd/system/"
install -m 644 packaging/debian/lintian-overrides "$root/usr/share/lintian/overrides/nst-stream"
doc=$root/usr/share/doc/nst-stream
install -m 644 packaging/debian/copyright README.md "$doc/"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
printf 'nst-stream (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' "$release" "$maintainer" \
    "$(date -R -d "@$(git log -1 --format=%ct 2>/dev/null || date +%s)")" | gzip -9n >"$doc/changelog.Debian.gz"
notices=$(find "$torch/../.." -path '*torch*dist-info*' \( -name 'LICENSE*' -o -name 'NOTICE*' \) 2>/dev/null | sort)
[ -n "$notices" ] || die "libtorch's licences are not beside it; remove .libtorch, and make setup fetches it with them"
cat $notices | gzip -9n >"$doc/NOTICES.torch.gz"
about=$(scripts/tool.sh cargo-about)
cargo fetch --quiet --locked # also of crates that are not built here: they are part of what cargo-about reads
"$about" generate --frozen --fail --config packaging/about.toml --output-file target/package/NOTICES.crates packaging/about.hbs
gzip -9nc target/package/NOTICES.crates >"$doc/NOTICES.crates.gz"

say "what it depends on"
mkdir -p target/package/debian
printf 'Source: nst-stream\n\nPackage: nst-stream\nArchitecture: any\n' >target/package/debian/control
libraries=$(cd target/package && dpkg-shlibdeps -O -l"$PWD/deb/usr/lib/nst-stream" --ignore-missing-info \
    deb/usr/bin/nst-stream deb/usr/lib/nst-stream/*.so* 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$libraries" ] || die "dpkg-shlibdeps says nothing"
size=$(du -sk --exclude=DEBIAN "$root" | cut -f1)
cat >"$root/DEBIAN/control" <<CONTROL
Package: nst-stream
Version: $release
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $size
Depends: $libraries, gstreamer1.0-plugins-base, gstreamer1.0-plugins-good, gstreamer1.0-plugins-bad, gstreamer1.0-plugins-ugly, gstreamer1.0-libav
Recommends: gstreamer1.0-rtsp, gstreamer1.0-x
Section: video
Priority: optional
Description: live neural style transfer for video
 Repaints a video, a camera or a network feed in the style of a picture, and
 writes it to a file, a window or a network feed, fast enough to watch live on
 a plain processor. Trains style models of your own from one picture.
 .
 This package brings the processor's part of libtorch; for NVIDIA graphics
 processors see README.md.
CONTROL
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$root" -type d -exec chmod 755 {} +

deb=dist/nst-stream_${release}_$arch.deb
say "$deb"
dpkg-deb --root-owner-group -Zxz -z6 --build "$root" "$deb" >/dev/null
archive=dist/nst-stream-$version-$(uname -m).tar.zst
say "$archive"
tar --owner=0 --group=0 --numeric-owner --sort=name --transform "s|^usr|nst-stream-$version|" -C "$root" -cf - \
    usr/bin usr/lib/nst-stream usr/share/man usr/share/doc usr/share/bash-completion usr/share/zsh usr/share/fish |
    zstd -q -f -T0 -15 -o "$archive"
python3 scripts/make_wheel.py "$program" target/package/NOTICES.crates
lintian --tag-display-limit 0 "$deb"
(cd dist && sha256sum "${deb#dist/}" "${archive#dist/}" "nst_stream-$version"-*.whl >SHA256SUMS)
ls -lh "$deb" "$archive" | awk '{ print "package: " $9 ": " $5 }'
