// Signwave core: front end and integer graph of a .swm file, as export/FORMAT.md defines them.
// C99 on 32-bit integers alone: no float, no library calls, no allocation, no static data. Needs -fwrapv,
// -fno-strict-aliasing and an arithmetic >> (GCC, Clang). Buffers are the caller's: 4-byte aligned unless they hold int16_t or bytes.
// Functions return 0 (or a size) when all is well, else a negative SW_ERR_* code.
#ifndef SIGNWAVE_H
#define SIGNWAVE_H

#include <stdint.h>

enum {
    SW_OK = 0,
    SW_ERR_ALIGNMENT = -1,
    SW_ERR_LENGTH = -2,
    SW_ERR_COUNT = -3,
    SW_ERR_OPCODE = -4,
    SW_ERR_RECORD = -5,
    SW_ERR_LIMIT = -6,
    SW_ERR_RESERVED = -7,
    SW_ERR_CHAIN = -8,
    SW_ERR_BIAS = -9,
    SW_ERR_PADDING = -10,
    SW_ERR_STATE_LIMIT = -11,
    SW_ERR_STATE = -12,
    SW_ERR_VALUE = -13,
    SW_ERR_RANGE = -14,
    SW_ERR_FRONTEND = -15,
    SW_ERR_SAMPLES = -16,
    SW_ERR_OUT = -17,
};

// The text of an error code.
const char *sw_error(int32_t code);

// graph: the graph section's bytes. Full validation; sizes in bytes.
int32_t sw_graph_check(const uint8_t *graph, uint32_t len, uint32_t *state_size, uint32_t *value_size);

// Puts the state before the first frame.
int32_t sw_graph_reset(const uint8_t *graph, uint32_t len, uint8_t *state, uint32_t state_len);

// Runs operations [first, last) on one frame, in place on the value buffer.
// Stays inside its buffers even where the graph was never checked.
int32_t sw_graph_step(const uint8_t *graph, uint32_t len, uint8_t *state, uint32_t state_len,
    uint8_t *value, uint32_t value_len, uint32_t first, uint32_t last);

// params: the front-end section's bytes.
int32_t sw_frontend_check(const uint8_t *params, uint32_t len);
uint32_t sw_frontend_state_size(const uint8_t *params);
int32_t sw_frontend_reset(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len);

// One frame: n = hop new samples in, int8_t out[bands].
int32_t sw_frontend_step(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len,
    const int16_t *samples, uint32_t n, int8_t *out, uint32_t out_len);

#endif
