# A view of one Debian release beside the computer's own apt set-up, at the computer's own mirror:
# sources and packages are fetched and checked (signatures, hashes) by apt, and nothing is installed.
# Sourced by the steps; needs $TOOLCHAIN.

release=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# debian_open: makes `debian` usable; fails where this is not Debian or its mirror cannot be found.
debian_open() {
    command -v apt-get > /dev/null && [ -e "$keyring" ] || { echo "no apt with Debian's keys here"; return 1; }
    local mirror=${DEBIAN_MIRROR:-} view=$TOOLCHAIN/debian
    [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        | grep -m1 -E '/debian/?$') || { echo "no Debian mirror among apt's sources; set DEBIAN_MIRROR"; return 1; }
    mkdir -p "$view/lists/partial" "$view/cache/archives/partial"
    printf 'Types: deb deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$mirror" "$release" "$keyring" > "$view/view.sources"
    debian_options=("-oDir::State::Lists=$view/lists" "-oDir::Etc::sourcelist=$view/view.sources"
        -oDir::Etc::sourceparts=- "-oDir::Cache=$view/cache" -oAPT::Sandbox::User=root)
    debian update
}

# debian COMMAND...: apt-get in that view, e.g. `debian download libc6`.
debian() { apt-get -qq "${debian_options[@]}" "$@"; }
