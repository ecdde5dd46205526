# MicroPython as a Linux program for windowed Xtensa, run by QEMU's user-mode emulation.
export PATH=$TOOLCHAIN/xtensa-gcc/bin:$PATH
make -s -j2 -C "$TOOLCHAIN_SOURCE/xtensa/port" MPY_DIR="$MPY_DIR_USED" BUILD="$PWD/build" PYTHON="$PYTHON"
mv build/micropython.elf .
rm -rf build
