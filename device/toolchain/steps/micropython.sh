# MicroPython's sources: Debian's source package through the computer's own mirror, else the project's own repository.
. "$TOOLCHAIN_SOURCE/debian.sh"

from_debian() {
    debian_open && debian source --download-only micropython || return 1
    tar xf micropython_*.orig.tar.xz --strip-components=1 && rm -f micropython_*
}

if ! from_debian; then
    echo "not through apt; cloning"
    rm -f micropython_*
    git clone --quiet --depth 1 --branch v1.25.0 https://github.com/micropython/micropython.git clone
    find clone -mindepth 1 -maxdepth 1 ! -name .git -exec mv -t . {} +
    rm -rf clone
fi
test -f py/dynruntime.mk
