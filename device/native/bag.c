// The graph over a text's rows (FORMAT.md, 3.2, 3.5 and 3.6): once a text, so that shortness counts for more than speed.
#include "text.h"

#define MAX_OPS (64)
#define MAX_WORDS (16)          // of 512 bits
#define PLANES (13)             // of a counter's bits: 512 rows times 8
#define MAX_THRESHOLDS (4)

enum { BAG_1B = 5, CLASSES_1B };

const char *sw_text_error(int32_t code) {
    const char *text = "ok\0"
        "buffer not 4-byte aligned\0"
        "section truncated or too long\0"
        "text: identity or features not known here: update signwave\0"
        "text: ranges of code points not valid\0"
        "text: dictionary not in order\0"
        "graph: not bag_1b, conv_1b of one tap, classes_1b\0"
        "graph: wrong length of a record\0"
        "text or graph: a size is beyond the limits, or channels do not chain\0"
        "graph: reserved field not zero\0"
        "graph: bias out of range\0"
        "graph: padding not zero\0"
        "value too small, misaligned or without rows\0"
        "operations out of range\0"
        "the graph's rows are not as many as the dictionary's entries\0"
        "text: pieces not in order\0"
        "unknown error\0";
    for (int32_t i = code > 0 || code < SW_TEXT_PIECES ? SW_TEXT_PIECES - 1 : code; i < 0; i++) {
        while (*text++) {
        }
    }
    return text;
}

// The record at *at, which moves on to the next, if its opcode may stand there and its arrays lie within; else 0.
static const record_t *next_record(const uint8_t *graph, uint32_t len, uint32_t *at, uint32_t i, uint32_t n, int32_t *rc) {
    const record_t *r = (const record_t *)(graph + *at);
    uint32_t left = len - *at, need = sizeof(record_t);
    *rc = SW_TEXT_LENGTH;
    if (left < sizeof(record_t)) {
        return 0;
    }
    uint32_t cin = r->cin, cout = r->cout, stride = (cout + 31) / 32;
    *rc = SW_TEXT_CHAIN;
    if (r->opcode != (!i ? BAG_1B : i + 1 < n ? CONV_1B : CLASSES_1B)) {
        return 0;
    }
    *rc = SW_TEXT_LIMIT;
    if (cin - 1 >= (i ? MAX_CHANNELS : MAX_ENTRIES) || cout - 1 >= MAX_CHANNELS || r->shift_a > 24
        || r->taps - 1u >= (i + 1 < n ? 1 : MAX_THRESHOLDS)) {
        return 0;
    }
    if (!i) {
        need += ((cin + 15) / 16 + cin * stride) * 4;
    } else if (i + 1 < n) {
        need += pad4(2 * cin) + (cin + 31) / 32 * 4 + 2 * pad4(2 * cout) + 4 * cout + cin * stride * 4;
    } else {
        need += pad4(2 * cin * r->taps) + 2 * pad4(2 * cout) + cout * r->taps * ((cin + 31) / 32) * 4;
    }
    *rc = SW_TEXT_RECORD;
    if (r->length > left || r->length != need) {
        return 0;
    }
    *at += r->length;
    *rc = SW_OK;
    return r;
}

static int32_t get_count(const uint8_t *graph, uint32_t len) {
    if ((uintptr_t)graph & 3) {
        return SW_TEXT_ALIGNMENT;
    } else if (len < 4) {
        return SW_TEXT_LENGTH;
    }
    uint32_t n = *(const uint32_t *)graph;
    return n - 2 < MAX_OPS - 1 ? (int32_t)n : SW_TEXT_CHAIN;
}

// Steps over n numbers of `size` bytes; *bad gets what their padding holds.
static const uint8_t *skip(const uint8_t *p, uint32_t n, uint32_t size, uint32_t *bad) {
    const uint8_t *end = p + pad4(n * size);
    for (p += n * size; p < end; p++) {
        *bad |= *p;
    }
    return p;
}

// Bits of the last word of each of `rows` rows that belong to no channel; those of weights lie as counters want them.
static uint32_t beyond(const uint8_t *p, uint32_t rows, uint32_t n, uint32_t counted) {
    uint32_t mask = 0, bad = 0, stride = (n + 31) / 32;
    const uint32_t *last = (const uint32_t *)p + stride - 1;
    for (uint32_t o = n & 31; o & 31; o++) {
        mask |= 1u << (counted ? 8 * (o & 3) + o / 4 : o);
    }
    for (; rows; rows--, last += stride) {
        bad |= *last & mask;
    }
    return bad;
}

static int32_t check_record(const record_t *r) {
    const uint8_t *p = (const uint8_t *)(r + 1);
    uint32_t cin = r->cin, cout = r->cout, bad = 0;
    if (r->shortcut > (r->opcode == CONV_1B && cin == cout) || r->zero || r->shift_b || (r->opcode == BAG_1B && r->shift_a)
        || r->dilation != 1) {
        return SW_TEXT_RESERVED;
    }
    if (r->opcode == BAG_1B) {
        bad = cin & 3 ? p[cin / 4] >> 2 * (cin & 3) : 0;
        p = skip(p, (cin + 3) / 4, 1, &bad);
        bad |= beyond(p, cin, cout, 1);
    } else if (r->opcode == CLASSES_1B) {
        p = skip(p, r->taps * cin, 2, &bad);
        p = skip(skip(p, cout, 2, &bad), cout, 2, &bad);
        bad |= beyond(p, r->taps * cout, cin, 0);
    } else {
        p = skip(p, cin, 2, &bad);
        bad |= beyond(p, 1, cin, 0);
        p = skip(skip(p + (cin + 31) / 32 * 4, cout, 2, &bad), cout, 2, &bad);
        for (uint32_t i = 0; i < cout; i++, p += 4) {
            if (*(const uint32_t *)p + 0x3fffffffu > 0x7ffffffeu) {
                return SW_TEXT_BIAS;
            }
        }
        bad |= beyond(p, cin, cout, 1);
    }
    return bad ? SW_TEXT_PADDING : SW_OK;
}

int32_t sw_bag_check(const uint8_t *graph, uint32_t len, uint32_t *value_size) {
    int32_t n = get_count(graph, len), rc, entries = 0;
    uint32_t at = 4, cout = 0;
    if (n < 0) {
        return n;
    }
    for (int32_t i = 0; i < n; i++) {
        const record_t *r = next_record(graph, len, &at, i, n, &rc);
        if (!rc) {
            rc = check_record(r);
        }
        if (rc) {
            return rc;
        } else if (i && r->cin != cout) {
            return SW_TEXT_LIMIT;
        }
        entries = i ? entries : r->cin;
        cout = r->cout;
    }
    *value_size = 4 * cout > 4 + 2 * MAX_HITS ? 4 * cout : 4 + 2 * MAX_HITS;
    return at == len ? entries : SW_TEXT_LENGTH;
}

// Counters of outputs: bit i of all of them in plane[i]. In a word, output 4 i + k is bit 8 k + i (FORMAT.md, 3.2).
typedef struct {
    uint32_t plane[PLANES][MAX_WORDS];
} counters_t;

static void clear(counters_t *c) {
    uint32_t *p = &c->plane[0][0];
    for (uint32_t *end = p + PLANES * MAX_WORDS; p < end;) {
        *p++ = 0;
    }
}

// Adds the bits of a row, doubled `gain` times. Counters end before the last plane: see PLANES.
static void add_row(counters_t *c, const uint32_t *row, uint32_t words, uint32_t gain) {
    for (uint32_t w = 0; w < words; w++) {
        uint32_t carry = *row++;
        for (uint32_t *p = &c->plane[gain][w]; carry; p += MAX_WORDS) {
            uint32_t sum = *p;
            *p = sum ^ carry;
            carry &= sum;
        }
    }
}

static uint32_t count_of(const counters_t *c, uint32_t o) {
    uint32_t bit = 8 * (o & 3) + (o & 31) / 4, n = 0;
    for (uint32_t i = PLANES; i-- > 0;) {
        n = n << 1 | (c->plane[i][o / 32] >> bit & 1);
    }
    return n;
}

static int32_t bag_1b(const record_t *r, void *value) {
    const uint8_t *gains = (const uint8_t *)(r + 1);
    const uint32_t *weights = (const uint32_t *)(gains + (r->cin + 15) / 16 * 4);
    const uint16_t *row = (const uint16_t *)value + 2;
    uint32_t words = (r->cout + 31) / 32, n = *(const uint32_t *)value, all = 0;
    counters_t counts;
    if (n > MAX_HITS) {
        return SW_TEXT_VALUE;
    }
    clear(&counts);
    for (; n; n--) {
        uint32_t at = *row++;
        if (at >= r->cin) {
            return SW_TEXT_VALUE;
        }
        uint32_t gain = gains[at / 4] >> 2 * (at & 3) & 3;
        add_row(&counts, weights + at * words, words, gain);
        all += 1u << gain;
    }
    int16_t *y = value;
    for (uint32_t o = 0; o < r->cout; o++) {
        *y++ = 2 * count_of(&counts, o) - all;
    }
    return SW_OK;
}

static int32_t sat16(int32_t v) {
    return v < -32768 ? -32768 : v > 32767 ? 32767 : v;
}

static void conv_1b(const record_t *r, void *value) {
    uint32_t cin = r->cin, cout = r->cout, words = (cout + 31) / 32, m = 0;
    const int16_t *threshold = (const int16_t *)(r + 1);
    const uint32_t *flip = (const uint32_t *)((const uint8_t *)threshold + pad4(2 * cin));
    const int16_t *mult = (const int16_t *)(flip + (cin + 31) / 32);
    const int16_t *slope = (const int16_t *)((const uint8_t *)mult + pad4(2 * cout));
    const int32_t *bias = (const int32_t *)((const uint8_t *)slope + pad4(2 * cout));
    const uint32_t *row = (const uint32_t *)(bias + cout);
    int16_t *y = value;
    counters_t counts;
    clear(&counts);
    for (uint32_t i = 0; i < cin; i++, row += words) {
        if ((y[i] >= threshold[i]) != (flip[i / 32] >> (i & 31) & 1)) {
            add_row(&counts, row, words, 0);
            m++;
        }
    }
    for (uint32_t o = 0; o < cout; o++) {
        int32_t s = 4 * count_of(&counts, o) - 2 * m, a = sat16((s * mult[o] + bias[o]) >> r->shift_a);
        a = a < 0 ? (a * slope[o]) >> 8 : a;
        y[o] = sat16(r->shortcut ? y[o] + a : a);
    }
}

static uint32_t count_bits(uint32_t v) {
    v -= v >> 1 & 0x55555555u;
    v = (v & 0x33333333u) + (v >> 2 & 0x33333333u);
    return ((v + (v >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

static void classes_1b(const record_t *r, void *value) {
    uint32_t cin = r->cin, cout = r->cout, bits[MAX_THRESHOLDS * MAX_WORDS], words = 0;
    const int16_t *threshold = (const int16_t *)(r + 1), *x = value;
    const int16_t *mult = (const int16_t *)((const uint8_t *)threshold + pad4(2 * cin * r->taps));
    const int16_t *bias = (const int16_t *)((const uint8_t *)mult + pad4(2 * cout));
    const uint32_t *weight = (const uint32_t *)((const uint8_t *)bias + pad4(2 * cout));
    for (uint32_t k = 0; k < r->taps; k++) {
        uint32_t word = 0;
        for (uint32_t i = 0; i < cin; i++) {
            word |= (uint32_t)(x[i] >= *threshold++) << (i & 31);
            if ((i & 31) == 31 || i + 1 == cin) {
                bits[words++] = word;
                word = 0;
            }
        }
    }
    int32_t *y = value;
    for (uint32_t o = 0; o < cout; o++) {
        int32_t s = r->taps * cin;
        for (uint32_t w = 0; w < words; w++) {
            s -= 2 * count_bits(bits[w] ^ *weight++);
        }
        *y++ = ((s * mult[o]) >> r->shift_a) + bias[o];
    }
}

int32_t sw_bag_step(const uint8_t *graph, uint32_t len, uint8_t *value, uint32_t value_len, uint32_t first, uint32_t last) {
    int32_t n = get_count(graph, len), rc;
    uint32_t at = 4;
    if (n < 0) {
        return n;
    } else if (first > last || last > (uint32_t)n) {
        return SW_TEXT_STEPS;
    } else if (((uintptr_t)value & 3) || value_len < 4 + 2 * MAX_HITS) {
        return SW_TEXT_VALUE;
    }
    for (uint32_t i = 0; i < last; i++) {
        const record_t *r = next_record(graph, len, &at, i, n, &rc);
        if (!r) {
            return rc;
        } else if (i < first) {
            continue;
        } else if (r->opcode == CLASSES_1B && 4u * r->cout > value_len) {
            return SW_TEXT_VALUE; // 512 channels of i16 have room where rows have
        }
        if (!i) {
            rc = bag_1b(r, value);
        } else if (r->opcode == CONV_1B) {
            conv_1b(r, value);
        } else {
            classes_1b(r, value);
        }
        if (rc) {
            return rc;
        }
    }
    return SW_OK;
}
