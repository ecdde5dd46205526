// Integer graph (FORMAT.md, section 3). An operation's record in the file is the buffer its kernel takes.
#include "kernels.h"

#define MAX_OPS (64)
#define MAX_INPUTS (4096)
#define MAX_SPAN (256)
#define MAX_STATE (65536)

// What follows from a record's header.
typedef struct {
    uint32_t span, state_size;
} shape_t;

const char *sw_error(int32_t code) {
    // One string, since native modules hold no tables of pointers.
    const char *text = "ok\0"
        "buffer not 4-byte aligned\0"
        "graph truncated or too long\0"
        "graph: not 1 to 64 operations\0"
        "graph: unknown operation\0"
        "graph: wrong length of a record\0"
        "graph: a size is beyond the limits\0"
        "graph: reserved field not zero\0"
        "graph: types or channels do not chain\0"
        "graph: bias out of range\0"
        "graph: padding not zero\0"
        "graph: needs over 64 KiB of state\0"
        "state too small, misaligned or not reset\0"
        "value too small or misaligned\0"
        "operations out of range\0"
        "front end: parameters not valid\0"
        "samples: not one hop\0"
        "out: shorter than the bands\0"
        "unknown error\0";
    for (int32_t i = code > 0 || code < SW_ERR_OUT ? SW_ERR_OUT - 1 : code; i < 0; i++) {
        while (*text++) {
        }
    }
    return text;
}

// Limits of one record's header, and what its shape needs; no product can overflow within them.
static int32_t get_shape(const record_t *r, uint32_t left, shape_t *s) {
    uint32_t cin = r->cin, cout = r->cout, taps = r->taps, op = r->opcode, inputs = taps * cin;
    uint32_t words = (cin + 31) / 32, need = sizeof(record_t) + pad4(2 * cout) + 4 * cout;
    if (op - CONV_I4 > SUM_WINDOW - CONV_I4) {
        return SW_ERR_OPCODE;
    } else if (cin - 1 >= MAX_CHANNELS || cout - 1 >= MAX_CHANNELS || taps - 1 >= (op == SUM_WINDOW ? MAX_SPAN : MAX_TAPS)
        || (inputs > MAX_INPUTS && op != SUM_WINDOW) || r->dilation - 1u >= 64 || r->shift_a > 24 || r->shift_b > 24) {
        return SW_ERR_LIMIT;
    }
    s->span = (taps - 1) * r->dilation + 1;
    if (s->span > MAX_SPAN || ((op & 1) && (cin & 3))) { // conv_i4 and dense_i8 take 4 channels at a time
        return SW_ERR_LIMIT;
    }
    s->state_size = 0;
    if (op == CONV_I4) {
        s->state_size = 4 + s->span * cin;
        need += (cout + 7) / 8 * inputs * 4;
    } else if (op == CONV_1B) {
        s->state_size = 4 + s->span * words * 4;
        need += pad4(2 * cin) + 4 * words + pad4(2 * cout) + (cout + 31) / 32 * inputs * 4;
    } else if (op == DENSE_I8) {
        need += pad4(2 * cin) + 4 * cin + cout * cin - pad4(2 * cout);
    } else {
        s->state_size = 4 + 4 * cin + pad4(2 * s->span * cin);
        need = sizeof(record_t);
    }
    return r->length > left || r->length != need ? SW_ERR_RECORD : SW_OK;
}

// The record at *at, which moves on to the next; 0 and an error in *rc where there is none.
static const record_t *next_record(const uint8_t *graph, uint32_t len, uint32_t *at, shape_t *s, int32_t *rc) {
    uint32_t left = len - *at;
    const record_t *r = (const record_t *)(graph + *at);
    *rc = left < sizeof(record_t) ? SW_ERR_LENGTH : get_shape(r, left, s);
    if (*rc) {
        return 0;
    }
    *at += r->length;
    return r;
}

// What does not matter to where a kernel reads and writes, and so to graphs that run unchecked.
static int32_t check_fields(const record_t *r) {
    uint32_t same = r->cin == r->cout, op = r->opcode;
    if (r->shortcut > (op == CONV_1B && same) || r->zero || (!(op & 1) && r->shift_b) || (op == SUM_WINDOW && r->shift_a)) {
        return SW_ERR_RESERVED;
    } else if ((op == DENSE_I8 && r->taps != 1) || (op >= DENSE_I8 && r->dilation != 1) || (op == SUM_WINDOW && !same)) {
        return SW_ERR_LIMIT;
    }
    return SW_OK;
}

static int32_t get_count(const uint8_t *graph, uint32_t len) {
    if ((uintptr_t)graph & 3) {
        return SW_ERR_ALIGNMENT;
    }
    if (len < 4) {
        return SW_ERR_LENGTH;
    }
    uint32_t n = *(const uint32_t *)graph;
    return n - 1 < MAX_OPS ? (int32_t)n : SW_ERR_COUNT;
}

// Steps over an i16 array; bit 0 of *bad is set where its padding is not zero.
static const uint8_t *skip_i16(const uint8_t *p, uint32_t n, uint32_t *bad) {
    if ((n & 1) && ((const uint16_t *)p)[n]) {
        *bad |= 1;
    }
    return p + pad4(2 * n);
}

static const uint8_t *skip_bias(const uint8_t *p, uint32_t n, uint32_t *bad) {
    for (const uint8_t *end = p + 4 * n; p < end; p += 4) {
        if (*(const uint32_t *)p + 0x3fffffffu > 0x7ffffffeu) {
            *bad |= 2;
        }
    }
    return p;
}

// What follows the last output of a row of weights, in the row's last word.
static uint32_t beyond_outputs(uint32_t cout) {
    uint32_t mask = 0;
    for (uint32_t o = cout & 31; o & 31; o++) {
        mask |= 1u << (8 * (o & 3) + o / 4);
    }
    return mask;
}

static uint32_t is_padded(const record_t *r, const uint8_t *weights) {
    uint32_t cout = r->cout, inputs = r->taps * r->cin, bad = 0;
    if (r->opcode == CONV_1B) {
        uint32_t stride = (cout + 31) / 32, mask = beyond_outputs(cout);
        const uint32_t *row = (const uint32_t *)weights + stride - 1;
        for (; inputs; inputs--, row += stride) {
            bad |= *row & mask;
        }
    } else if (r->opcode == CONV_I4 && (cout & 7)) {
        const uint16_t *last = (const uint16_t *)weights + cout / 8 * inputs * 2;
        for (uint32_t i = 0; i < inputs * 2; i++) {
            bad |= (i & 7) >= (cout & 7) ? last[i] : 0;
        }
    }
    return !bad;
}

static int32_t check_arrays(const record_t *r) {
    const uint8_t *p = (const uint8_t *)(r + 1);
    uint32_t cin = r->cin, bad = 0;
    if (r->opcode == CONV_1B) {
        p = skip_i16(p, cin, &bad) + (cin + 31) / 32 * 4;
        if ((cin & 31) && ((const uint32_t *)p)[-1] >> (cin & 31)) {
            bad |= 1; // flips of no channel
        }
        p = skip_i16(p, r->cout, &bad);
    }
    if (r->opcode == DENSE_I8) {
        p = skip_i16(p, cin, &bad);
        p = skip_bias(p, cin, &bad);
        p = skip_bias(p, r->cout, &bad);
    } else if (r->opcode != SUM_WINDOW) {
        p = skip_i16(p, r->cout, &bad);
        p = skip_bias(p, r->cout, &bad);
    }
    return (bad & 1) || !is_padded(r, p) ? SW_ERR_PADDING : bad ? SW_ERR_BIAS : SW_OK;
}

int32_t sw_graph_check(const uint8_t *graph, uint32_t len, uint32_t *state_size, uint32_t *value_size) {
    int32_t n = get_count(graph, len), rc = SW_OK;
    uint32_t at = 4, state = 0, channels = 0, type = 0, cout = 0;
    for (int32_t i = 0; i < n; i++) {
        shape_t s;
        const record_t *r = next_record(graph, len, &at, &s, &rc);
        if (!r) {
            return rc;
        }
        rc = check_fields(r);
        if (!rc) {
            rc = check_arrays(r);
        }
        if (rc) {
            return rc;
        }
        // types: 1 = i8, 2 = i16, 4 = i32
        if (i && (r->cin != cout || type != (r->opcode == CONV_I4 ? 1 : 2))) {
            return SW_ERR_CHAIN;
        }
        type = r->opcode == SUM_WINDOW ? 4 : 2;
        cout = r->cout;
        state += s.state_size;
        channels = r->cin > channels ? r->cin : channels;
        channels = cout > channels ? cout : channels;
    }
    if (n < 0) {
        return n;
    } else if (at != len) {
        return SW_ERR_LENGTH;
    } else if (state > MAX_STATE) {
        return SW_ERR_STATE_LIMIT;
    }
    *state_size = state;
    *value_size = 4 * channels;
    return SW_OK;
}

int32_t sw_graph_reset(const uint8_t *graph, uint32_t len, uint8_t *state, uint32_t state_len) {
    int32_t n = get_count(graph, len), rc;
    uint32_t at = 4;
    if ((uintptr_t)state & 3) {
        return SW_ERR_STATE;
    }
    for (int32_t i = 0; i < n; i++) {
        shape_t s;
        const record_t *r = next_record(graph, len, &at, &s, &rc);
        if (!r) {
            return rc;
        } else if (s.state_size > state_len) {
            return SW_ERR_STATE;
        }
        // Slices are whole words, position first. Rings hold the frame of -1 (conv_1b) or the least x (conv_i4).
        const uint32_t *flip = (const uint32_t *)((const uint8_t *)(r + 1) + pad4(2 * r->cin));
        uint32_t *p = (uint32_t *)state, words = (r->cin + 31) / 32;
        for (uint32_t w = 0; w < s.state_size / 4; w++) {
            p[w] = r->opcode != CONV_1B || !w ? 0 : w <= words ? flip[w - 1] : p[w - words];
        }
        state += s.state_size;
        state_len -= s.state_size;
    }
    return n < 0 ? n : SW_OK;
}

int32_t sw_graph_step(const uint8_t *graph, uint32_t len, uint8_t *state, uint32_t state_len,
    uint8_t *value, uint32_t value_len, uint32_t first, uint32_t last) {
    int32_t n = get_count(graph, len), rc = SW_OK;
    uint32_t at = 4;
    if (n < 0) {
        return n;
    } else if (first > last || last > (uint32_t)n) {
        return SW_ERR_RANGE;
    } else if ((uintptr_t)state & 3) {
        return SW_ERR_STATE;
    } else if ((uintptr_t)value & 3) {
        return SW_ERR_VALUE;
    }
    for (uint32_t i = 0; i < last; i++) {
        shape_t s;
        const record_t *r = next_record(graph, len, &at, &s, &rc);
        if (!r) {
            return rc;
        } else if (s.state_size > state_len) {
            return SW_ERR_STATE;
        }
        uint32_t *slice = (uint32_t *)state;
        state += s.state_size;
        state_len -= s.state_size;
        if (i < first) {
            continue;
        }
        if (4u * r->cin > value_len || 4u * r->cout > value_len) {
            return SW_ERR_VALUE;
        } else if (s.state_size && *slice >= s.span) {
            return SW_ERR_STATE;
        }
        switch (r->opcode) {
            case CONV_I4:
                sw_conv_i4(r, s.span, slice, value);
                break;
            case CONV_1B:
                sw_conv_1b(r, s.span, slice, value);
                break;
            case DENSE_I8:
                sw_dense_i8(r, s.span, slice, value);
                break;
            default:
                sw_sum_window(r, s.span, slice, value);
        }
    }
    return SW_OK;
}
