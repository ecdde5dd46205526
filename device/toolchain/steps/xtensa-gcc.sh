# A compiler for windowed Xtensa out of Debian's gcc-xtensa-lx106. That one is made for the ESP8266's core, which has no
# register windows, but reads a core's description from the shared object that XTENSA_GNU_CONFIG names.
# It is built here: feature flags (xtensa/isa.c) and the instruction tables that QEMU carries.
# The packages are of a newer Debian than this computer may run, so they bring their own C library and loader.
. "$TOOLCHAIN_SOURCE/debian.sh"
debian_open || { echo "the Xtensa compiler comes from Debian's packages: set it up on Debian"; exit 1; }

mkdir download
(cd download
    debian source --download-only qemu
    debian download gcc-xtensa-lx106 binutils-xtensa-lx106 libc6 libstdc++6 libgcc-s1 zlib1g libzstd1 \
        libgmp10 libmpfr6 libmpc3 libisl23
    for package in *.deb; do dpkg-deb -x "$package" ../root; done)
mkdir qemu
tar xf download/qemu_*.orig.tar.xz -C qemu --strip-components=1 --wildcards \
    '*/target/xtensa/xtensa-isa*' '*/target/xtensa/core-de233_fpu/*' '*/include/hw/xtensa/*'

# Paths that differ between hosts, under names that the commands in bin/ know.
ln -s "$(find root -name cc1 -printf '%h' -quit )" gcc
ln -s "$(find root/usr/lib* root/lib* -name 'ld-linux*.so*' -print -quit 2> /dev/null)" loader
ln -s "$(find root -name libstdc++.so.6 -printf '%h' -quit)" lib

mkdir -p empty/qemu
: > empty/qemu/osdep.h
printf '#include "isa.c"\n#include "core-de233_fpu/xtensa-modules.c.inc"\n' > core.c
gcc -shared -fPIC -O1 -w -DATTRIBUTE_UNUSED= -include stdint.h -include stddef.h -include string.h -include stdlib.h \
    -I"$TOOLCHAIN_SOURCE/xtensa" -Iempty -Iqemu/target/xtensa -Iqemu/include -Igcc/plugin/include -o core.so core.c
rm -rf download qemu empty core.c
cp -r "$TOOLCHAIN_SOURCE/xtensa/bin" bin
chmod +x bin/*
printf 'int f(int a) { return a + 1; }\n' > try.c
bin/xtensa-esp32-elf-gcc -O2 -c try.c -o try.o
rm try.*
