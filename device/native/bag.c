// The graph over a text's rows (FORMAT.md, 3.5 and 3.6): once a text, so that shortness counts for more than speed.
#include "text.h"

#define MAX_WORDS (32)          // of 16 bits: 512 channels
#define PLANES (13)             // of a counter's bits: 512 rows times 8
#define OPERATIONS (2)

enum { BAG_1B = 5, DENSE_I4 = 7 };

const char *sw_text_error(int32_t code) {
    const char *text = "ok\0"
        "buffer not 4-byte aligned\0"
        "section truncated or too long\0"
        "text: identity or features not known here: update signwave\0"
        "text: ranges of code points not valid\0"
        "text: dictionary not in order\0"
        "graph: not bag_1b and dense_i4\0"
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
static const record_t *next_record(const uint8_t *graph, uint32_t len, uint32_t *at, uint32_t i, int32_t *rc) {
    const record_t *r = (const record_t *)(graph + *at);
    uint32_t left = len - *at, need = sizeof(record_t);
    *rc = SW_TEXT_LENGTH;
    if (left < sizeof(record_t)) {
        return 0;
    }
    uint32_t cin = r->cin, cout = r->cout;
    *rc = SW_TEXT_CHAIN;
    if (r->opcode != (i ? DENSE_I4 : BAG_1B)) {
        return 0;
    }
    *rc = SW_TEXT_LIMIT;
    if (cin - 1 >= (i ? MAX_CHANNELS : MAX_ENTRIES) || cout - 1 >= MAX_CHANNELS || r->shift_a > 24 || r->taps != 1
        || (i && (cin & 3))) {
        return 0;
    }
    if (i) {
        need += 6 * cin + 4 * cout + (cout + 7) / 8 * cin * 4;
    } else {
        need += (cin + 15) / 16 * 4 + pad4(2 * cin * ((cout + 15) / 16));
    }
    *rc = SW_TEXT_RECORD;
    if (r->length > left || r->length != need) {
        return 0;
    }
    *at += r->length;
    *rc = SW_OK;
    return r;
}

// SW_OK where the graph has its two operations.
static int32_t check_count(const uint8_t *graph, uint32_t len) {
    if ((uintptr_t)graph & 3) {
        return SW_TEXT_ALIGNMENT;
    } else if (len < 4) {
        return SW_TEXT_LENGTH;
    }
    return *(const uint32_t *)graph == OPERATIONS ? SW_OK : SW_TEXT_CHAIN;
}

// Steps over n numbers of `size` bytes; *bad gets what their padding holds.
static const uint8_t *skip(const uint8_t *p, uint32_t n, uint32_t size, uint32_t *bad) {
    const uint8_t *end = p + pad4(n * size);
    for (p += n * size; p < end; p++) {
        *bad |= *p;
    }
    return p;
}

static int32_t check_bag(const record_t *r) {
    const uint8_t *p = (const uint8_t *)(r + 1);
    uint32_t cin = r->cin, words = (r->cout + 15) / 16, bad = cin & 3 ? p[cin / 4] >> 2 * (cin & 3) : 0;
    p = skip(p, (cin + 3) / 4, 1, &bad);
    const uint16_t *last = (const uint16_t *)p + words - 1;
    for (uint32_t i = 0; i < cin && (r->cout & 15); i++, last += words) {
        bad |= *last >> (r->cout & 15);
    }
    skip(p, cin * words, 2, &bad);
    return bad ? SW_TEXT_PADDING : r->shift_a ? SW_TEXT_RESERVED : SW_OK;
}

static int32_t check_dense(const record_t *r) {
    const int32_t *bias = (const int32_t *)((const uint8_t *)(r + 1) + 2 * r->cin);
    for (uint32_t n = r->cin + r->cout; n; n--) {
        if (*bias++ + 0x3fffffffu > 0x7ffffffeu) {
            return SW_TEXT_BIAS;
        }
    }
    const uint16_t *last = (const uint16_t *)bias + r->cout / 8 * r->cin * 2;
    for (uint32_t i = 0; i < r->cin * 2u && (r->cout & 7); i++) {
        if ((i & 7) >= (r->cout & 7) && last[i]) {
            return SW_TEXT_PADDING;
        }
    }
    return SW_OK;
}

int32_t sw_bag_check(const uint8_t *graph, uint32_t len, uint32_t *value_size) {
    int32_t rc = check_count(graph, len), entries = 0;
    uint32_t at = 4, cout = 0;
    for (uint32_t i = 0; i < OPERATIONS && !rc; i++) {
        const record_t *r = next_record(graph, len, &at, i, &rc);
        if (rc) {
            return rc;
        } else if (r->shortcut || r->zero || r->shift_b || r->dilation != 1) {
            return SW_TEXT_RESERVED;
        } else if (i && r->cin != cout) {
            return SW_TEXT_LIMIT;
        }
        rc = i ? check_dense(r) : check_bag(r);
        entries = i ? entries : r->cin;
        cout = r->cout;
    }
    *value_size = 4 * cout > 4 + 2 * MAX_HITS ? 4 * cout : 4 + 2 * MAX_HITS;
    return rc ? rc : at == len ? entries : SW_TEXT_LENGTH;
}

// Counters of channels: bit i of all of them in plane[i].
typedef struct {
    uint16_t plane[PLANES][MAX_WORDS];
} counters_t;

// Adds the bits of a row, doubled `gain` times. Counters end before the last plane: see PLANES.
static void add_row(counters_t *c, const uint16_t *row, uint32_t words, uint32_t gain) {
    for (uint32_t w = 0; w < words; w++) {
        uint32_t carry = *row++;
        for (uint16_t *p = &c->plane[gain][w]; carry; p += MAX_WORDS) {
            uint32_t sum = *p;
            *p = sum ^ carry;
            carry &= sum;
        }
    }
}

static uint32_t count_of(const counters_t *c, uint32_t o) {
    uint32_t n = 0;
    for (uint32_t i = PLANES; i-- > 0;) {
        n = n << 1 | (c->plane[i][o / 16] >> (o & 15) & 1);
    }
    return n;
}

static int32_t bag_1b(const record_t *r, void *value) {
    const uint8_t *gains = (const uint8_t *)(r + 1);
    const uint16_t *weights = (const uint16_t *)(gains + (r->cin + 15) / 16 * 4), *row = (const uint16_t *)value + 2;
    uint32_t words = (r->cout + 15) / 16, n = *(const uint32_t *)value, all = 0;
    counters_t counts;
    if (n > MAX_HITS) {
        return SW_TEXT_VALUE;
    }
    for (uint32_t *p = (uint32_t *)&counts, *end = (uint32_t *)(&counts + 1); p < end;) {
        *p++ = 0;
    }
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

static void dense_i4(const record_t *r, void *value) {
    uint32_t cin = r->cin, cout = r->cout;
    const int16_t *mult = (const int16_t *)(r + 1), *x = value;
    const int32_t *bias = (const int32_t *)(mult + cin), *out_bias = bias + cin;
    const uint16_t *weights = (const uint16_t *)(out_bias + cout);
    uint8_t h[MAX_CHANNELS];
    int32_t sum = 0, *y = value;
    for (uint32_t i = 0; i < cin; i++) {
        int32_t v = (x[i] * mult[i] + bias[i]) >> r->shift_a;
        h[i] = v < 0 ? 0 : v > 127 ? 127 : v;
        sum += h[i];
    }
    for (uint32_t o = 0; o < cout; o++) {
        const uint16_t *w = weights + o / 8 * cin * 2 + (o & 7);
        int32_t s = out_bias[o] - 8 * sum; // fields are weight + 8
        for (uint32_t i = 0; i < cin; i += 4, w += 8) {
            s += (*w & 15) * h[i] + (*w >> 4 & 15) * h[i + 1] + (*w >> 8 & 15) * h[i + 2] + (*w >> 12) * h[i + 3];
        }
        *y++ = s;
    }
}

int32_t sw_bag_step(const uint8_t *graph, uint32_t len, uint8_t *value, uint32_t value_len, uint32_t first, uint32_t last) {
    int32_t rc = check_count(graph, len);
    uint32_t at = 4;
    if (rc) {
        return rc;
    } else if (first > last || last > OPERATIONS) {
        return SW_TEXT_STEPS;
    } else if (((uintptr_t)value & 3) || value_len < 4 + 2 * MAX_HITS) {
        return SW_TEXT_VALUE;
    }
    for (uint32_t i = 0; i < last && !rc; i++) {
        const record_t *r = next_record(graph, len, &at, i, &rc);
        if (!r || i < first) {
            continue;
        } else if (!i) {
            rc = bag_1b(r, value); // 512 channels of i16 have room where rows have
        } else if (4u * r->cout > value_len) {
            rc = SW_TEXT_VALUE;
        } else {
            dense_i4(r, value);
        }
    }
    return rc;
}
