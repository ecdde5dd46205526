# Firmware for QEMU's RISC-V board, with the heap that an ESP32-C3 has after boot.
# GCC 12 links its 64-bit libraries unless the older ISA naming is asked for.
make -s -j2 -C "$MPY_DIR_USED/ports/qemu" BUILD="$PWD/build" PYTHON="$PYTHON" BOARD=VIRT_RV32 FROZEN_MANIFEST= \
    RV32_ARCH="rv32imac -misa-spec=2.2" MICROPY_HEAP_SIZE=180224
mv build/firmware.elf .
rm -rf build
