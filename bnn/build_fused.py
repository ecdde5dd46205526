"""Builds `bnn._fused`, the loops of `bnn.fused`; setuptools does it through `cffi_modules`."""

from cffi import FFI

STRUCT = """
struct maps {
    size_t clips, frames, channels, taps, dilation;
};
"""
FUNCTIONS = """
void NAME_columns(const struct maps *maps, const float *x, const float *at, NUMBER *columns, int32_t binary);
void NAME_moments(const struct maps *maps, const NUMBER *y, double *sums, float *room);
void NAME_activate(const struct maps *maps, const float *x, const NUMBER *y, const float *of, float shortcut, float *out);
void NAME_gradient_sums(const struct maps *maps, const float *gradient, const NUMBER *y, const float *of, double *sums,
    float *room);
void NAME_gradient(const struct maps *maps, const float *gradient, const NUMBER *y, const float *of, NUMBER *out);
void NAME_gather(const struct maps *maps, const float *x, const float *at, const NUMBER *columns, float *out, double *sums,
    float *room);
void NAME_spread(const struct maps *maps, const float *gradient, const float *x, const float *at, float shortcut, float *out);
"""
SOURCE = """
#include <stdint.h>
#include <string.h>

#define ROWS 128

/* Compiled for several levels of x86-64, of which the loader takes the best that the processor has. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
#define CLONED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONED
#endif

typedef uint16_t bfloat16; /* the upper half of a float */

static inline float load_bfloat16(bfloat16 half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline bfloat16 store_bfloat16(float value) { /* to the nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bfloat16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#define NUMBER float
#define LOAD(x) (x)
#define STORE(x) (x)
#define NAME(x) float32_##x
#include "fused.h"

#define NUMBER bfloat16
#define LOAD load_bfloat16
#define STORE store_bfloat16
#define NAME(x) bfloat16_##x
#include "fused.h"
"""


def declared(name: str, number: str) -> str:
    """The functions for one type of number."""
    return FUNCTIONS.replace("NAME", name).replace("NUMBER", number)


ffibuilder = FFI()
ffibuilder.cdef(STRUCT + declared("float32", "float") + declared("bfloat16", "uint16_t"))
ffibuilder.set_source(
    "bnn._fused",
    STRUCT + SOURCE,
    include_dirs=["bnn"],
    depends=["bnn/fused.h"],
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math"],
)
