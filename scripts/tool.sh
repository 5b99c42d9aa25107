#!/usr/bin/env bash
# Builds a tool that releases are made with from crates.io into target/tools, once: scripts/tool.sh cargo-deny
# Prints where it is. It is built in a hurry, for it runs for seconds.
set -euo pipefail
cd -P "$(dirname "$0")/.."
features=()
case ${1-} in
    cargo-deny) version=0.20.2 ;;
    cargo-about) version=0.9.3 features=(--features cli) ;;
    cargo-cyclonedx) version=0.5.9 ;;
    *) echo "usage: scripts/tool.sh cargo-deny|cargo-about|cargo-cyclonedx" >&2; exit 2 ;;
esac
root=${CARGO_TARGET_DIR:-target}/tools
if ! grep -qs "^\"$1 $version " "$root/.crates.toml"; then
    echo "tool: building $1 $version into $root" >&2
    CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root "$root" --target-dir "$root/build" "${features[@]}" "$1@$version" >&2
fi
echo "$root/bin/$1"
