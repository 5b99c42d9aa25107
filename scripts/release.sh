#!/usr/bin/env bash
# Makes dist/ what a release is: the licences of all crates checked, packages and wheel (scripts/package.sh), a list of all
# that is in them (nst-stream-VERSION.cdx.json, CycloneDX), the recipe of the container, and SHA256SUMS of these.
# What is not committed is refused: `nst-stream --version` names the commit.
#
#   NST_COMMIT=<commit>  what `nst-stream --version` names
set -euo pipefail
cd -P "$(dirname "$0")/.."
say() { echo "release: $*"; }
die() { echo "release: error: $*" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
changes=$(git status --porcelain) || die "this is no clone; a release is made of a commit"
[ -z "$changes" ] || die "there are changes without a commit (git status)"
grep -q "^## $version " CHANGELOG.md || die "CHANGELOG.md has no '## $version (date)'"
! grep -q '^## Unreleased' CHANGELOG.md || die "CHANGELOG.md has entries under 'Unreleased': they belong to $version or to a later commit"
cargo metadata --locked --format-version 1 --no-deps >/dev/null || die "Cargo.lock is not of this Cargo.toml: cargo build, then commit it"

say "licences, versions and sources of the crates"
deny=$(scripts/tool.sh cargo-deny)
cargo fetch --quiet --locked
"$deny" --locked --offline check licenses bans sources

scripts/package.sh

say "what is in them"
sbom=nst-stream-$version.cdx.json
cyclonedx=$(scripts/tool.sh cargo-cyclonedx)
# It writes beside Cargo.toml.
trap 'rm -f nst-stream.sbom.json' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) "$cyclonedx" cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps \
    --override-filename nst-stream.sbom
python3 scripts/complete_sbom.py nst-stream.sbom.json "dist/$sbom"
cp packaging/Containerfile dist/

(cd dist && sha256sum nst-stream[_-]* nst_stream-*.whl Containerfile >SHA256SUMS)
say "dist/:"
(cd dist && sha256sum --check --quiet SHA256SUMS && ls -lh | awk 'NR > 1 { print "release:   " $9 ": " $5 }')
