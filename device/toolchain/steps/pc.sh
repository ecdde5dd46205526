# The PC port. Needs the C library alone: no TLS, no foreign functions, no database, nothing frozen in.
make -s -j2 -C "$MPY_DIR_USED/ports/unix" BUILD="$PWD/build" PYTHON="$PYTHON" VARIANT=standard FROZEN_MANIFEST= \
    MICROPY_PY_BTREE=0 MICROPY_PY_SSL=0 MICROPY_PY_FFI=0
mv build/micropython .
rm -rf build
./micropython -c 'import sys; assert sys.implementation._mpy & 0xff == 6'
