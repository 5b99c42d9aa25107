# For scripts that need a Debian just installed: `. scripts/debian_chroot.sh`. They define say and die.

# sources <suite>: "URI SUITE COMPONENTS" of the host's Debian, with this suite in place of the host's.
sources() {
    apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
        awk -F '|' -v suite="$1" '
            $1 == "Debian" {
                name = $2
                sub(/-.*/, "", name) # bookworm-updates is of bookworm
                release = $4
                if (release ~ "^" name || release ~ /^(old)?stable/) sub(/^[a-z]+/, suite, release)
                else next
                print $3, release, $5
            }' | sort -u
}

# install_debian <root> <suite> <packages>: Debian in a folder, with this machine's package sources, proxies and certificates.
install_debian() {
    local root=$1 suite=$2 include=$3 main
    main=$(sources "$suite" | awk -v suite="$suite" '$2 == suite && $3 == "main"' | head -n1)
    [ -n "$main" ] || die "apt has no package source of Debian here (apt-get update?)"
    say "installing Debian $suite"
    debootstrap --variant=minbase --include="$include" \
        "$suite" "$root" "${main%% *}" >"$root.log" 2>&1 ||
        { tail -n 20 "$root.log" >&2; die "debootstrap failed"; }
    sources "$suite" | sed 's/^/deb /' >"$root/etc/apt/sources.list"
    # Proxies and certificates of this machine's network.
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/90host"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/pip.conf"
    if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
        cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
        chroot "$root" update-ca-certificates >"$root.log" 2>&1 ||
            { tail -n 20 "$root.log" >&2; die "this machine's certificates cannot be taken over"; }
    fi
}
