// Two layers to compare with: weights w[outputs][inputs], bits packed 32 to a word in the first.
#ifndef SIGNWAVE_YARDSTICKS_H
#define SIGNWAVE_YARDSTICKS_H

#include <stdint.h>

void sw_naive_layer(const uint32_t *w, const uint32_t *x, uint32_t inputs, uint32_t outputs, int32_t *y);
void sw_int8_layer(const int8_t *w, const int8_t *x, uint32_t inputs, uint32_t outputs, int32_t *y);

#endif
