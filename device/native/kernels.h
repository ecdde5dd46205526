// What the walk over a graph's records (graph.c) and the operations themselves (kernels.c) share.
#ifndef SIGNWAVE_KERNELS_H
#define SIGNWAVE_KERNELS_H

#include "signwave.h"

#define INLINE __attribute__((always_inline)) static inline
#define MAX_CHANNELS (512)
#define MAX_TAPS (64)

enum { CONV_I4 = 1, CONV_1B, DENSE_I8, SUM_WINDOW };

// A record's header; its arrays follow.
typedef struct {
    uint16_t opcode, shortcut;
    uint32_t length;
    uint16_t cin, cout, taps, dilation;
    uint8_t shift_a, shift_b;
    uint16_t zero;
} record_t;

INLINE uint32_t pad4(uint32_t n) {
    return (n + 3) & ~3u;
}

// One frame through one operation whose record is sound and whose position lies in the ring.
void sw_conv_i4(const record_t *r, uint32_t span, uint32_t *position, void *value);
void sw_conv_1b(const record_t *r, uint32_t span, uint32_t *position, void *value);
void sw_dense_i8(const record_t *r, uint32_t span, uint32_t *position, void *value);
void sw_sum_window(const record_t *r, uint32_t span, uint32_t *position, void *value);

#endif
