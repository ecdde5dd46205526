// Integer graph (FORMAT.md, section 3). An operation's record in the file is the buffer its kernel takes.
#include "signwave.h"

#define INLINE __attribute__((always_inline)) static inline
#define MAX_OPS (64)
#define MAX_CHANNELS (512)
#define MAX_INPUTS (4096)
#define MAX_TAPS (64)
#define MAX_SPAN (256)
#define MAX_STATE (65536)
// Words of MAX_INPUTS bits: the worst case is 63 taps of 65 channels, 3 words each.
#define MAX_WORDS (192)

enum { CONV_I8 = 1, CONV_1B, DENSE_I8, SUM_WINDOW };

typedef struct {
    uint16_t opcode, shortcut;
    uint32_t length;
    uint16_t cin, cout, taps, dilation;
    uint8_t shift_a, shift_b;
    uint16_t zero;
} record_t;

// What follows from a record's header.
typedef struct {
    uint32_t words;         // of one tap's bits
    uint32_t row;           // bytes of one output's weights
    uint32_t span;
    uint32_t state_size;
} shape_t;

const char *sw_error(int32_t code) {
    // One string, since native modules hold no tables of pointers.
    const char *text = "ok\0"
        "buffer not 4-byte aligned\0"
        "graph truncated, or longer than its records\0"
        "graph: count of operations not 1 to 64\0"
        "graph: unknown operation\0"
        "graph: length of a record does not fit its shape\0"
        "graph: a size is beyond the limits\0"
        "graph: a reserved field is not zero\0"
        "graph: types or channels do not chain\0"
        "graph: a bias is out of range\0"
        "graph: padding is not zero\0"
        "graph: needs more than 64 KiB of state\0"
        "state buffer too small, misaligned or not reset\0"
        "value buffer too small or misaligned\0"
        "operations out of range\0"
        "front end: parameters not valid\0"
        "samples: not one hop of 16-bit integers\0"
        "out: shorter than the bands\0"
        "unknown error\0";
    for (int32_t i = code > 0 || code < SW_ERR_OUT ? SW_ERR_OUT - 1 : code; i < 0; i++) {
        while (*text++) {
        }
    }
    return text;
}

INLINE uint32_t pad4(uint32_t n) {
    return (n + 3) & ~3u;
}

INLINE int32_t sat16(int32_t v) {
    return v < -32768 ? -32768 : v > 32767 ? 32767 : v;
}

// Limits of one record's header, and what its shape needs; no product can overflow within them.
static int32_t get_shape(const record_t *r, uint32_t left, shape_t *s) {
    uint32_t cin = r->cin, cout = r->cout, taps = r->taps, arrays = 0;
    uint32_t window = r->opcode == SUM_WINDOW;
    if (r->opcode < CONV_I8 || r->opcode > SUM_WINDOW) {
        return SW_ERR_OPCODE;
    }
    if (cin - 1 >= MAX_CHANNELS || cout - 1 >= MAX_CHANNELS || taps - 1 >= (window ? MAX_SPAN : MAX_TAPS)
        || (!window && taps * cin > MAX_INPUTS) || r->dilation - 1u >= 64 || r->shift_a > 24 || r->shift_b > 24) {
        return SW_ERR_LIMIT;
    }
    s->span = (taps - 1) * r->dilation + 1;
    s->words = (cin + 31) >> 5;
    if (s->span > MAX_SPAN) {
        return SW_ERR_LIMIT;
    }
    if (r->opcode == CONV_I8) {
        s->row = taps * cin;
        s->state_size = 4 + s->span * cin;
        arrays = pad4(2 * cout) + 4 * cout;
    } else if (r->opcode == CONV_1B) {
        s->row = taps * s->words * 4;
        s->state_size = 4 + s->span * s->words * 4;
        arrays = pad4(2 * cin) + 2 * pad4(2 * cout) + 4 * cout;
    } else if (r->opcode == DENSE_I8) {
        s->row = cin;
        s->state_size = 0;
        arrays = pad4(2 * cin) + 4 * cin + 4 * cout;
    } else {
        s->row = 0;
        s->state_size = 4 + 4 * cin + pad4(2 * taps * cin);
    }
    if ((r->opcode & 1) && (cin & 3)) {
        return SW_ERR_LIMIT; // conv_i8 and dense_i8 take 4 channels at a time
    }
    if (r->length > left || r->length != sizeof(record_t) + arrays + cout * s->row) {
        return SW_ERR_RECORD;
    }
    return SW_OK;
}

static int32_t check_fields(const record_t *r) {
    uint32_t same = r->cin == r->cout, op = r->opcode;
    if (r->shortcut > (op == CONV_1B && same) || r->zero) {
        return SW_ERR_RESERVED;
    }
    if ((op == CONV_1B || op == SUM_WINDOW) && r->shift_b) {
        return SW_ERR_RESERVED;
    }
    if (op == SUM_WINDOW && r->shift_a) {
        return SW_ERR_RESERVED;
    }
    if ((op == DENSE_I8 && r->taps != 1) || ((op == DENSE_I8 || op == SUM_WINDOW) && r->dilation != 1)
        || (op == SUM_WINDOW && !same)) {
        return SW_ERR_LIMIT;
    }
    return SW_OK;
}

// The record at *at, which moves on to the next; 0 and an error in *rc where there is none.
static const record_t *next_record(const uint8_t *graph, uint32_t len, uint32_t *at, shape_t *s, int32_t *rc) {
    uint32_t left = len - *at;
    const record_t *r = (const record_t *)(graph + *at);
    if (left < sizeof(record_t)) {
        *rc = SW_ERR_LENGTH;
        return 0;
    }
    *rc = get_shape(r, left, s);
    if (!*rc) {
        *rc = check_fields(r);
    }
    if (*rc) {
        return 0;
    }
    *at += r->length;
    return r;
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

static int32_t check_arrays(const record_t *r, const shape_t *s) {
    const uint8_t *p = (const uint8_t *)(r + 1);
    uint32_t bad = 0;
    if (r->opcode == CONV_1B) {
        p = skip_i16(p, r->cin, &bad);
        p = skip_i16(p, r->cout, &bad);
    }
    if (r->opcode == CONV_I8 || r->opcode == CONV_1B) {
        p = skip_i16(p, r->cout, &bad);
        p = skip_bias(p, r->cout, &bad);
    } else if (r->opcode == DENSE_I8) {
        p = skip_i16(p, r->cin, &bad);
        p = skip_bias(p, r->cin, &bad);
        p = skip_bias(p, r->cout, &bad);
    }
    if (r->opcode == CONV_1B && (r->cin & 31)) {
        uint32_t n = r->cout * r->taps;
        for (const uint32_t *w = (const uint32_t *)p + s->words - 1; n; n--, w += s->words) {
            bad |= *w >> (r->cin & 31) ? 1 : 0;
        }
    }
    return bad & 1 ? SW_ERR_PADDING : bad ? SW_ERR_BIAS : SW_OK;
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
        rc = check_arrays(r, &s);
        if (rc) {
            return rc;
        }
        // types: 1 = i8, 2 = i16, 4 = i32
        if (i && (r->cin != cout || type != (r->opcode == CONV_I8 ? 1 : 2))) {
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
        // Slices are whole words, position first.
        uint32_t fill = 0, *p = (uint32_t *)state;
        for (uint32_t w = s.state_size >> 2; w; w--) {
            *p++ = fill;
            fill = r->opcode == CONV_I8 ? 0x80808080u : 0;
        }
        state += s.state_size;
        state_len -= s.state_size;
    }
    return n < 0 ? n : SW_OK;
}

// Slots of the ring that each tap reads, newest first, in steps of `size`; the ring moves on.
INLINE void get_taps(const record_t *r, uint32_t span, uint32_t *position, uint32_t size, uint32_t *at) {
    uint32_t p = *position;
    *position = p + 1 == span ? 0 : p + 1;
    for (uint32_t j = 0; j < r->taps; j++) {
        at[j] = p * size;
        p = p >= r->dilation ? p - r->dilation : p + span - r->dilation;
    }
}

typedef struct {
    int32_t a, b;
} pair_t;

// Two rows of weights at once, since they share the loads of x. n is a multiple of 4.
INLINE pair_t dot_i8(pair_t sum, const int8_t *wa, const int8_t *wb, const int8_t *x, uint32_t n) {
    for (const int8_t *end = x + n; x < end; x += 4, wa += 4, wb += 4) {
        int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
        sum.a += wa[0] * x0 + wa[1] * x1 + wa[2] * x2 + wa[3] * x3;
        sum.b += wb[0] * x0 + wb[1] * x1 + wb[2] * x2 + wb[3] * x3;
    }
    return sum;
}

static void conv_i8(const record_t *r, const shape_t *s, uint32_t *position, void *value) {
    uint32_t cin = r->cin, cout = r->cout, taps = r->taps, at[MAX_TAPS];
    int8_t *ring = (int8_t *)(position + 1);
    uint32_t *slot = (uint32_t *)(ring + *position * cin);
    for (uint32_t i = 0; i < cin / 4; i++) {
        slot[i] = ((uint32_t *)value)[i];
    }
    get_taps(r, s->span, position, cin, at);
    const int16_t *mult = (const int16_t *)(r + 1);
    const int32_t *bias = (const int32_t *)((const uint8_t *)mult + pad4(2 * cout));
    const int8_t *w = (const int8_t *)(bias + cout);
    int16_t *y = value;
    for (uint32_t o = 0; o < cout; o += 2, w += 2 * s->row) {
        uint32_t two = o + 1 < cout; // else the last one twice
        const int8_t *wa = w, *wb = two ? w + s->row : w;
        pair_t sum = {bias[o], bias[o + two]};
        for (uint32_t j = 0; j < taps; j++, wa += cin, wb += cin) {
            sum = dot_i8(sum, wa, wb, ring + at[j], cin);
        }
        y[o] = sat16((sat16(sum.a >> r->shift_a) * mult[o]) >> r->shift_b);
        y[o + two] = sat16((sat16(sum.b >> r->shift_a) * mult[o + two]) >> r->shift_b);
    }
}

#if defined(__POPCNT__)
INLINE uint32_t count_differences(const uint32_t *a, const uint32_t *b, uint32_t n) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += __builtin_popcount(a[i] ^ b[i]);
    }
    return sum;
}
#else
// (carry, sum) = a + b + sum, bit by bit.
#define ADD(carry, sum, a, b) \
    do { \
        uint32_t a_ = (a), t_ = sum ^ a_, b_ = (b); \
        carry = (sum & a_) | (t_ & b_); \
        sum = t_ ^ b_; \
    } while (0)

// Bits of every nibble (0 to 4).
INLINE uint32_t nibbles(uint32_t v) {
    v -= v >> 1 & 0x55555555u;
    return (v & 0x33333333u) + (v >> 2 & 0x33333333u);
}

// Bits of every byte, of nibbles that do not exceed 15.
INLINE uint32_t bytes(uint32_t v) {
    return (v & 0x0f0f0f0fu) + (v >> 4 & 0x0f0f0f0fu);
}

INLINE uint32_t halves(uint32_t v) {
    return (v & 0x00ff00ffu) + (v >> 8 & 0x00ff00ffu);
}

// popcount(a XOR b) over n words, n <= MAX_WORDS. Words go through a tree of carry-save adders (Harley and Seal;
// see Warren, 2012, 5-1), so that one count of bits serves 8 of them; `ones`, `twos`, `fours` carry over.
INLINE uint32_t count_differences(const uint32_t *a, const uint32_t *b, uint32_t n) {
    uint32_t ones = 0, twos = 0, fours = 0, eights = 0;
    uint32_t c, d, e, f;
    for (; n >= 8; n -= 8, a += 8, b += 8) {
        ADD(c, ones, a[0] ^ b[0], a[1] ^ b[1]);
        ADD(d, ones, a[2] ^ b[2], a[3] ^ b[3]);
        ADD(e, twos, c, d);
        ADD(c, ones, a[4] ^ b[4], a[5] ^ b[5]);
        ADD(d, ones, a[6] ^ b[6], a[7] ^ b[7]);
        ADD(f, twos, c, d);
        ADD(c, fours, e, f);
        eights += bytes(nibbles(c)); // of a byte: at most 8 a round, 24 rounds
    }
    if (n & 4) {
        ADD(c, ones, a[0] ^ b[0], a[1] ^ b[1]);
        ADD(d, ones, a[2] ^ b[2], a[3] ^ b[3]);
        ADD(e, twos, c, d);
        eights += bytes(nibbles(fours & e));
        fours ^= e;
        a += 4;
        b += 4;
    }
    if (n & 3) {
        ADD(c, ones, a[0] ^ b[0], n & 2 ? a[1] ^ b[1] : 0);
        d = (n & 3) == 3 ? a[2] ^ b[2] : 0;
        e = ones & d;
        ones ^= d;
        ADD(f, twos, c, e);
        eights += bytes(nibbles(fours & f));
        fours ^= f;
    }
    uint32_t low = bytes(nibbles(ones) + 2 * nibbles(twos)) + 4 * bytes(nibbles(fours));
    low = halves(low) + 8 * halves(eights);
    return (low + (low >> 16)) & 0xffff;
}
#endif

static void pack(const int16_t *x, const int16_t *threshold, uint32_t cin, uint32_t *slot) {
    uint32_t word = 0;
    for (uint32_t i = 0; i < cin; i++) {
        word |= (uint32_t)(x[i] >= threshold[i]) << (i & 31);
        if ((i & 31) == 31 || i + 1 == cin) {
            *slot++ = word;
            word = 0;
        }
    }
}

static void conv_1b(const record_t *r, const shape_t *s, uint32_t *position, void *value) {
    uint32_t cin = r->cin, cout = r->cout, words = s->words, n = 0, at[MAX_TAPS], bits[MAX_WORDS];
    const int16_t *threshold = (const int16_t *)(r + 1);
    const int16_t *mult = (const int16_t *)((const uint8_t *)threshold + pad4(2 * cin));
    const int16_t *slope = (const int16_t *)((const uint8_t *)mult + pad4(2 * cout));
    const int32_t *bias = (const int32_t *)((const uint8_t *)slope + pad4(2 * cout));
    const uint32_t *w = (const uint32_t *)(bias + cout), *ring = position + 1;
    int16_t *y = value;
    pack(y, threshold, cin, position + 1 + *position * words);
    get_taps(r, s->span, position, words, at);
    for (uint32_t j = 0; j < r->taps; j++) {
        for (uint32_t i = 0; i < words; i++) {
            bits[n++] = ring[at[j] + i];
        }
    }
    for (uint32_t o = 0; o < cout; o++, w += n) {
        int32_t sum = (int32_t)(r->taps * cin - 2 * count_differences(w, bits, n));
        int32_t a = sat16((sum * mult[o] + bias[o]) >> r->shift_a);
        if (a < 0) {
            a = (a * slope[o]) >> 8;
        }
        y[o] = sat16(r->shortcut ? y[o] + a : a);
    }
}

static void dense_i8(const record_t *r, void *value) {
    uint32_t cin = r->cin, cout = r->cout;
    const int16_t *mult = (const int16_t *)(r + 1);
    const int32_t *bias = (const int32_t *)((const uint8_t *)mult + pad4(2 * cin));
    const int32_t *out_bias = bias + cin;
    const int8_t *w = (const int8_t *)(out_bias + cout);
    int8_t h[MAX_CHANNELS];
    int16_t *y = value;
    for (uint32_t i = 0; i < cin; i++) {
        int32_t v = (y[i] * mult[i] + bias[i]) >> r->shift_a;
        h[i] = v < 0 ? 0 : v > 127 ? 127 : v;
    }
    for (uint32_t o = 0; o < cout; o += 2, w += 2 * cin) {
        uint32_t two = o + 1 < cout;
        pair_t sum = dot_i8((pair_t) {out_bias[o], out_bias[o + two]}, w, two ? w + cin : w, h, cin);
        y[o] = sat16(sum.a >> r->shift_b);
        y[o + two] = sat16(sum.b >> r->shift_b);
    }
}

static void sum_window(const record_t *r, uint32_t *position, void *value) {
    uint32_t n = r->cin, p = *position;
    int32_t *sum = (int32_t *)(position + 1), *y = value;
    int16_t *slot = (int16_t *)(sum + n) + p * n;
    const int16_t *x = value;
    *position = p + 1 == r->taps ? 0 : p + 1;
    for (uint32_t i = n; i-- > 0;) { // backwards: results are wider than what they replace
        int32_t v = x[i];
        sum[i] += v - slot[i];
        slot[i] = v;
        y[i] = sum[i];
    }
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
            case CONV_I8:
                conv_i8(r, &s, slice, value);
                break;
            case CONV_1B:
                conv_1b(r, &s, slice, value);
                break;
            case DENSE_I8:
                dense_i8(r, value);
                break;
            default:
                sum_window(r, slice, value);
        }
    }
    return SW_OK;
}
