"""Builds `export._native`: the very C files that run on the boards, and loops over frames and clips around them.

setuptools does it through `cffi_modules=["export/build_native.py:ffibuilder"]`; `python export/build_native.py`
does it in place.
"""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent

DECLARATIONS = """
const char *sw_error(int32_t code);
int32_t sw_graph_check(const uint8_t *graph, uint32_t len, uint32_t *state_size, uint32_t *value_size);
int32_t sw_graph_reset(const uint8_t *graph, uint32_t len, uint8_t *state, uint32_t state_len);
int32_t sw_graph_step(const uint8_t *graph, uint32_t len, uint8_t *state, uint32_t state_len,
    uint8_t *value, uint32_t value_len, uint32_t first, uint32_t last);
int32_t sw_frontend_check(const uint8_t *params, uint32_t len);
uint32_t sw_frontend_state_size(const uint8_t *params);
int32_t sw_frontend_reset(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len);
int32_t sw_frontend_step(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len,
    const int16_t *samples, uint32_t n, int8_t *out, uint32_t out_len);
const char *sw_text_error(int32_t code);
int32_t sw_text_check(const uint8_t *text, uint32_t len);
int32_t sw_text_rows(const uint8_t *text, uint32_t len, const uint8_t *utf8, uint32_t n, uint8_t *value, uint32_t value_len);
int32_t sw_text_keys(const uint8_t *text, uint32_t len, const uint8_t *utf8, uint32_t n, uint32_t *keys, uint32_t room);
int32_t sw_bag_check(const uint8_t *graph, uint32_t len, uint32_t *value_size);
int32_t sw_bag_step(const uint8_t *graph, uint32_t len, uint8_t *value, uint32_t value_len, uint32_t first, uint32_t last);
int32_t run_frames(const uint8_t *graph, uint32_t len, uint8_t *state, uint32_t state_len,
    uint8_t *value, uint32_t value_len, const uint8_t *in, uint32_t in_size, uint8_t *out, uint32_t out_size,
    size_t frames, uint32_t last, int32_t every);
int32_t log_mel(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len,
    const int16_t *samples, uint32_t hop, size_t frames, int8_t *out, uint32_t bands);
"""

LOOPS = """
#include <string.h>
#include "text.h"

/* Frame by frame through operations [0, last); out takes every frame's result, or the last one's. */
static int32_t run_frames(const uint8_t *graph, uint32_t len, uint8_t *state, uint32_t state_len,
    uint8_t *value, uint32_t value_len, const uint8_t *in, uint32_t in_size, uint8_t *out, uint32_t out_size,
    size_t frames, uint32_t last, int32_t every) {
    for (size_t t = 0; t < frames; t++) {
        memcpy(value, in + t * in_size, in_size);
        int32_t rc = sw_graph_step(graph, len, state, state_len, value, value_len, 0, last);
        if (rc) {
            return rc;
        }
        if (every || t + 1 == frames) {
            memcpy(out + (every ? t * out_size : 0), value, out_size);
        }
    }
    return 0;
}

static int32_t log_mel(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len,
    const int16_t *samples, uint32_t hop, size_t frames, int8_t *out, uint32_t bands) {
    for (size_t t = 0; t < frames; t++) {
        int32_t rc = sw_frontend_step(params, len, state, state_len, samples + t * hop, hop, out + t * bands, bands);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
"""

ffibuilder = FFI()
ffibuilder.cdef(DECLARATIONS)
ffibuilder.set_source(
    "export._native",
    LOOPS,
    sources=[f"device/native/{name}.c" for name in ("graph", "kernels", "frontend", "text", "bag")],
    include_dirs=["device/native"],
    depends=[f"device/native/{name}.h" for name in ("signwave", "kernels", "text")],
    extra_compile_args=["-O3", "-fwrapv", "-fno-strict-aliasing"],
)

if __name__ == "__main__":
    import subprocess
    import sys

    # Through setup.py, so that objects go to build/ and nothing lies beside the sources.
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_ext", "--inplace"]
    sys.exit(subprocess.run(command, cwd=ROOT).returncode)
