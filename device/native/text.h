// Typed text: from bytes to the rows of a dictionary (text.c), and the graph over them (bag.c), as export/FORMAT.md defines
// both. A core of its own, which boards that only hear need not carry; what signwave.h says of buffers and results holds here.
#ifndef SIGNWAVE_TEXT_H
#define SIGNWAVE_TEXT_H

#include "kernels.h"

#define MAX_HITS (512)          // rows of a text
#define MAX_ENTRIES (16384)     // of a dictionary

enum {
    SW_TEXT_ALIGNMENT = -1,
    SW_TEXT_LENGTH = -2,
    SW_TEXT_FIELD = -3,
    SW_TEXT_RANGES = -4,
    SW_TEXT_DICTIONARY = -5,
    SW_TEXT_CHAIN = -6,
    SW_TEXT_RECORD = -7,
    SW_TEXT_LIMIT = -8,
    SW_TEXT_RESERVED = -9,
    SW_TEXT_BIAS = -10,
    SW_TEXT_PADDING = -11,
    SW_TEXT_VALUE = -12,
    SW_TEXT_STEPS = -13,
    SW_TEXT_ENTRIES = -14,
    SW_TEXT_PIECES = -15,
};

// The text of an error code.
const char *sw_text_error(int32_t code);

// text: bytes of the section "text". Entries of its dictionary, or an error.
int32_t sw_text_check(const uint8_t *text, uint32_t len);

// Reads n bytes; value begins with u32 count, u16 row[count] then. Inside its buffers even where the section was never checked.
int32_t sw_text_rows(const uint8_t *text, uint32_t len, const uint8_t *utf8, uint32_t n, uint8_t *value, uint32_t value_len);

// The features themselves: how many there are; the first `room` of them in keys.
int32_t sw_text_keys(const uint8_t *text, uint32_t len, const uint8_t *utf8, uint32_t n, uint32_t *keys, uint32_t room);

// graph: bytes of a graph section that begins with bag_1b. Rows of the bag, or an error; bytes of the value buffer.
int32_t sw_bag_check(const uint8_t *graph, uint32_t len, uint32_t *value_size);

// Operations [first, last) in place on value, from the rows of sw_text_rows on. Inside its buffers as above.
int32_t sw_bag_step(const uint8_t *graph, uint32_t len, uint8_t *value, uint32_t value_len, uint32_t first, uint32_t last);

#endif
