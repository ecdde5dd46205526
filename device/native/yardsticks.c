// What a layer of the same shape costs without this project's kernels: for benchmarks (COUNT=1), never on a board.
#include "yardsticks.h"

// XOR and a popcount of every word by itself, as binary networks are usually run on chips without a popcount instruction.
void sw_naive_layer(const uint32_t *w, const uint32_t *x, uint32_t inputs, uint32_t outputs, int32_t *y) {
    uint32_t words = (inputs + 31) / 32;
    for (uint32_t o = 0; o < outputs; o++) {
        uint32_t unlike = 0;
        for (uint32_t i = 0; i < words; i++) {
            uint32_t v = *w++ ^ x[i];
            v -= v >> 1 & 0x55555555u;
            v = (v & 0x33333333u) + (v >> 2 & 0x33333333u);
            v = (v + (v >> 4)) & 0x0f0f0f0fu;
            unlike += (v * 0x01010101u) >> 24;
        }
        y[o] = (int32_t)(inputs - 2 * unlike);
    }
}

// int8 by int8, one multiplication a weight.
void sw_int8_layer(const int8_t *w, const int8_t *x, uint32_t inputs, uint32_t outputs, int32_t *y) {
    for (uint32_t o = 0; o < outputs; o++) {
        int32_t sum = 0;
        for (uint32_t i = 0; i < inputs; i++) {
            sum += *w++ * x[i];
        }
        y[o] = sum;
    }
}
