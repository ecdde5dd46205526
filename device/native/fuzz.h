// What the parts of the fuzz target share.
#ifndef SIGNWAVE_FUZZ_H
#define SIGNWAVE_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "text.h"

#define MUST(claim) \
    do { \
        if (!(claim)) { \
            fprintf(stderr, "fuzz.c:%d: broken: %s\n", __LINE__, #claim); \
            abort(); \
        } \
    } while (0)

// An input begins so. A section (of a graph or a front end, or shapes to make a graph from) follows, then what fills buffers.
typedef struct {
    uint8_t kind;
    uint8_t skew;                    // bytes by which section, state, value are misaligned: 2 bits each
    uint8_t first, last;             // range of operations
    uint16_t state_len, value_len;   // of the buffers while nothing was checked
    uint32_t seed;                   // of the noise behind the input; bit 0: words of a state are small, bit 1: noise is extreme
    uint32_t section;                // bytes
} input_t;

// The input's rest, then noise; where it is extreme, words of 32 equal bits.
typedef struct {
    const uint8_t *data;
    size_t left;
    uint32_t noise, extreme;
} source_t;

// Exactly `len` bytes: sanitizers see the first one beyond.
typedef struct {
    uint8_t *p, *whole;
    uint32_t len;
} buffer_t;

// Fills n bytes.
void take(source_t *from, void *to, size_t n);

buffer_t new_buffer(uint32_t len, uint32_t skew);
buffer_t filled_buffer(uint32_t len, uint32_t skew, source_t *from);

// fuzztext.c: a section of text, with the input's rest as what is read; a graph that begins with bag_1b.
void fuzz_text(const uint8_t *section, uint32_t len, const input_t *in, source_t *from);
void fuzz_bag(const uint8_t *section, uint32_t len, const input_t *in, source_t *from);

#endif
