// The operations of FORMAT.md, sections 3.1 to 3.4, each on one frame, in place on the value buffer.
// They are shaped by counts of instructions on both chips; device/counts.py counts.
#include "kernels.h"

#define NOINLINE __attribute__((noinline))
#define RARELY(condition) __builtin_expect(condition, 0)

// A value that the compiler cannot look through: a constant stays in a register, a branch stays a branch.
INLINE int32_t opaque(int32_t v) {
    __asm__("" : "+r"(v));
    return v;
}

typedef struct {
    int32_t low, high;
} limits_t;

INLINE limits_t limits16(void) {
    return (limits_t){opaque(-32768), opaque(32767)};
}

// sat16 in one instruction (Xtensa), or in two branches that are hardly ever taken.
INLINE int32_t clamp(int32_t v, limits_t to) {
    #ifdef __xtensa__
    (void)to;
    __asm__("clamps %0, %1, 15" : "=a"(v) : "a"(v));
    #else
    if (RARELY(v < to.low)) {
        v = opaque(to.low);
    }
    if (RARELY(v > to.high)) {
        v = opaque(to.high);
    }
    #endif
    return v;
}

// Slots of the ring that each tap reads, newest first, in steps of `size`; the ring moves on.
static NOINLINE void get_taps(const record_t *r, uint32_t span, uint32_t *position, uint32_t size, uint32_t *at) {
    uint32_t p = *position;
    *position = p + 1 == span ? 0 : p + 1;
    for (uint32_t j = 0; j < r->taps; j++) {
        at[j] = p * size;
        p = p >= r->dilation ? p - r->dilation : p + span - r->dilation;
    }
}

// conv_i4. A word of weights holds four fields (weight + 8) of each of two outputs, 16 bits apart: shifted and masked, it
// multiplies an input X = x + 128 by the weights of both at once. As 16 * 15 * 255 < 65536, 16 inputs are summed before the
// halves are taken apart. The ring keeps bytes X.

#define FIELDS (0x000f000fu)
#define QUADS (4)

INLINE uint32_t dot_quad(uint32_t w, uint32_t x0, uint32_t x1, uint32_t x2, uint32_t x3) {
    return (w & FIELDS) * x0 + (w >> 4 & FIELDS) * x1 + (w >> 8 & FIELDS) * x2 + (w >> 12 & FIELDS) * x3;
}

// Sums of 8 outputs, whose weights begin at w; gives the weights behind. Of a pair of outputs, `all` is the sum of the first
// + 65536 * the sum of the second, `high` the sum of the second.
INLINE const uint32_t *sum_outputs(const uint32_t *w, const uint8_t *ring, const uint32_t *at, uint32_t taps,
    uint32_t quads, uint32_t *sums) {
    uint32_t all0 = 0, all1 = 0, all2 = 0, all3 = 0, high0 = 0, high1 = 0, high2 = 0, high3 = 0;
    for (; taps; taps--) {
        const uint8_t *x = ring + *at++;
        for (uint32_t left = quads; left;) {
            uint32_t n = left < QUADS ? left : QUADS, a = 0, b = 0, c = 0, d = 0;
            left -= n;
            do {
                uint32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
                a += dot_quad(w[0], x0, x1, x2, x3);
                b += dot_quad(w[1], x0, x1, x2, x3);
                c += dot_quad(w[2], x0, x1, x2, x3);
                d += dot_quad(w[3], x0, x1, x2, x3);
                x += 4;
                w += 4;
                __asm__("" : "+r"(x), "+r"(w)); // else both are computed anew behind the loop
            } while (--n);
            all0 += a, all1 += b, all2 += c, all3 += d;
            high0 += a >> 16, high1 += b >> 16, high2 += c >> 16, high3 += d >> 16;
        }
    }
    sums[0] = all0 - (high0 << 16), sums[1] = high0;
    sums[2] = all1 - (high1 << 16), sums[3] = high1;
    sums[4] = all2 - (high2 << 16), sums[5] = high2;
    sums[6] = all3 - (high3 << 16), sums[7] = high3;
    return w;
}

INLINE uint32_t sum_bytes(const uint8_t *x, uint32_t n) {
    uint32_t sum = 0;
    for (const uint32_t *p = (const uint32_t *)x, *end = p + n / 4; p < end; p++) {
        sum += (*p & 0x00ff00ffu) + (*p >> 8 & 0x00ff00ffu);
    }
    return (sum & 0xffff) + (sum >> 16);
}

void sw_conv_i4(const record_t *r, uint32_t span, uint32_t *position, void *value) {
    uint32_t cin = r->cin, taps = r->taps, shift_a = r->shift_a, shift_b = r->shift_b, at[MAX_TAPS];
    uint8_t *ring = (uint8_t *)(position + 1);
    uint32_t *slot = (uint32_t *)(ring + *position * cin);
    const int16_t *mult = (const int16_t *)(r + 1);
    const int32_t *bias = (const int32_t *)((const uint8_t *)mult + pad4(2 * r->cout));
    const uint32_t *w = (const uint32_t *)(bias + r->cout);
    int16_t *y = value;
    for (uint32_t i = 0; i < cin / 4; i++) {
        slot[i] = ((const uint32_t *)value)[i] ^ 0x80808080u;
    }
    get_taps(r, span, position, cin, at);
    int32_t eights = 0; // weight = field - 8
    for (uint32_t j = 0; j < taps; j++) {
        eights += 8 * sum_bytes(ring + at[j], cin);
    }
    limits_t limits = limits16();
    for (uint32_t left = r->cout; left;) {
        uint32_t sums[8];
        w = sum_outputs(w, ring, at, taps, cin / 4, sums);
        for (const uint32_t *p = sums; p < sums + 8 && left; p++, left--) {
            int32_t t = clamp(((int32_t)*p - eights + *bias++) >> shift_a, limits);
            *y++ = clamp((t * *mult++) >> shift_b, limits);
        }
    }
}

// conv_1b. Only set bits are looked at: each has a row of words with the weights of 32 outputs a word, and 32 counters, one
// bit of every one to a word, advance together.

#define BLOCKS (4)      // words of weights, for 32 outputs each, that share a list of set bits
#define ROOM (256)      // of that list, and one more than a counter holds

// Branches over additions are fewer instructions than bits computed and shifted.
#define PACK(k, bit) \
    if (x[k] >= threshold[k]) { \
        bits = opaque(bits + (bit)); \
    }

// Eight bits in the low byte.
INLINE uint32_t pack8(const int16_t *x, const int16_t *threshold) {
    int32_t bits = opaque(0);
    PACK(0, 1)
    PACK(1, 2)
    PACK(2, 4)
    PACK(3, 8)
    PACK(4, 16)
    PACK(5, 32)
    PACK(6, 64)
    PACK(7, -128)
    return bits;
}

static NOINLINE void pack(const int16_t *x, const int16_t *threshold, const uint32_t *flip, uint32_t cin, uint32_t *slot) {
    for (; cin >= 32; cin -= 32) {
        uint32_t word = 0;
        for (uint32_t k = 0; k < 2; k++, x += 16, threshold += 16) {
            word = word >> 8 | pack8(x, threshold) << 24;
            word = word >> 8 | pack8(x + 8, threshold + 8) << 24;
            __asm__("" : "+r"(x), "+r"(threshold)); // else both are kept twice
        }
        *slot++ = word ^ *flip++;
    }
    if (cin) {
        uint32_t word = 0;
        for (uint32_t k = 0; k < cin; k++) {
            word |= (uint32_t)(x[k] >= threshold[k]) << k;
        }
        *slot = word ^ *flip;
    }
}

// A layer, and where the search for set bits stands: `left` bits of a tap from `slot` on, which belong to the rows of weights
// from `row` on, then `taps` more.
typedef struct {
    const uint32_t *ring, *at, *slot, *row;
    uint32_t cin, left, taps, stride;
} search_t;

INLINE const uint32_t **append(const uint32_t **to, const uint32_t *row) {
    *to = row;
    __asm__("" : "+r"(to) : : "memory"); // else the step comes first, in a register of its own
    return to + 1;
}

// Lists the rows of bits k and k + 1 where they are set.
#ifdef __xtensa__
// One instruction, for which the compiler takes two and a register.
INLINE uint32_t has_bit(uint32_t bits, uint32_t k) {
    __asm__ goto("bbci %0, %1, %l[no]" : : "r"(bits), "i"(k) : : no);
    return 1;
no:
    return 0;
}

#define LIST(k, row0, row1) \
    do { \
        if (has_bit(bits, k)) { \
            to = append(to, row0); \
        } \
        if (has_bit(bits, k + 1)) { \
            to = append(to, row1); \
        } \
    } while (0)
#else
#define LIST(k, row0, row1) \
    do { \
        uint32_t two = bits & 3u << (k); \
        if (two) { \
            if (two != 2u << (k)) { \
                to = append(to, row0); \
            } \
            if (two != 1u << (k)) { \
                to = append(to, row1); \
            } \
        } \
    } while (0)
#endif

// Lists the rows of set bits, up to less than ROOM; gives the list's end.
static NOINLINE const uint32_t **list_rows(search_t *f, const uint32_t **to) {
    const uint32_t **full = to + ROOM - 32, *row = f->row, *slot = f->slot;
    uint32_t stride = f->stride, left = f->left;
    while (to < full) {
        if (!left) {
            if (!f->taps) {
                break;
            }
            f->taps--;
            slot = f->ring + *f->at++;
            left = f->cin;
        }
        uint32_t bits = *slot++;
        const uint32_t *next = row + 32 * stride;
        if (RARELY(left < 32)) {
            next = row + left * stride;
            bits &= (1u << left) - 1; // what lies behind has no row, whatever the state holds
            left = 32;
        }
        left -= 32;
        while (bits) {
            const uint32_t *half = row + 4 * stride;
            LIST(0, row, row + stride);
            LIST(2, row + 2 * stride, row + 3 * stride);
            LIST(4, half, half + stride);
            LIST(6, half + 2 * stride, half + 3 * stride);
            row = half + 4 * stride;
            bits >>= 8;
        }
        row = next;
    }
    f->row = row;
    f->slot = slot;
    f->left = left;
    return to;
}

// Bit i of p0 to p7 is counter i.
typedef struct {
    uint32_t p0, p1, p2, p3, p4, p5, p6, p7;
} planes_t;

// sum + a + b, bit by bit: the sum stays, the carry is given.
INLINE uint32_t add(uint32_t *sum, uint32_t a, uint32_t b) {
    uint32_t t = *sum ^ a, carry = (*sum & a) | (t & b);
    *sum = t ^ b;
    return carry;
}

INLINE uint32_t add_carry(uint32_t *sum, uint32_t a) {
    uint32_t carry = *sum & a;
    *sum ^= a;
    return carry;
}

// Adds word b of 8 rows, the first of which is `row`, to the lowest planes; gives the carries, of weight 8.
INLINE uint32_t add8(planes_t *p, const uint32_t *row, const uint32_t *const *rows, uint32_t b) {
    uint32_t c = add(&p->p0, row[b], rows[1][b]);
    uint32_t d = add(&p->p1, c, add(&p->p0, rows[2][b], rows[3][b]));
    c = add(&p->p0, rows[4][b], rows[5][b]);
    return add(&p->p2, d, add(&p->p1, c, add(&p->p0, rows[6][b], rows[7][b])));
}

// Adds carries of weight 16.
INLINE void add16(planes_t *p, uint32_t carry) {
    carry = add_carry(&p->p4, carry);
    carry = add_carry(&p->p5, carry);
    carry = add_carry(&p->p6, carry);
    p->p7 ^= carry;
}

// Counts word b of all rows, which come by eights, at least one, with a null behind: a tree of carry-save adders (Harley and
// Seal; see Warren, 2012, 5-1). Eight planes and what is on its way are just what Xtensa has registers for.
INLINE void count(planes_t *p, const uint32_t *row, const uint32_t *const *rows, uint32_t b) {
    do {
        uint32_t c = add8(p, row, rows, b);
        row = rows[8];
        if (!row) {
            add16(p, add_carry(&p->p3, c));
            break;
        }
        add16(p, add(&p->p3, c, add8(p, row, rows + 8, b)));
        rows += 16;
        row = *rows;
    } while (row);
}

// Exchanges the bits of a under mask << n with the bits of b under mask.
INLINE void swap_bits(uint32_t *a, uint32_t *b, uint32_t mask, uint32_t n) {
    uint32_t t = ((*a >> n) ^ *b) & mask;
    *b ^= t;
    *a ^= t << n;
}

// Byte k of word i becomes counter 8 k + i: four transposes of 8 by 8 bits (Warren, 2012, 7-3).
INLINE void transpose(planes_t *p) {
    swap_bits(&p->p0, &p->p1, 0x55555555u, 1);
    swap_bits(&p->p2, &p->p3, 0x55555555u, 1);
    swap_bits(&p->p4, &p->p5, 0x55555555u, 1);
    swap_bits(&p->p6, &p->p7, 0x55555555u, 1);
    swap_bits(&p->p0, &p->p2, 0x33333333u, 2);
    swap_bits(&p->p1, &p->p3, 0x33333333u, 2);
    swap_bits(&p->p4, &p->p6, 0x33333333u, 2);
    swap_bits(&p->p5, &p->p7, 0x33333333u, 2);
    swap_bits(&p->p0, &p->p4, 0x0f0f0f0fu, 4);
    swap_bits(&p->p1, &p->p5, 0x0f0f0f0fu, 4);
    swap_bits(&p->p2, &p->p6, 0x0f0f0f0fu, 4);
    swap_bits(&p->p3, &p->p7, 0x0f0f0f0fu, 4);
}

// Counts of a list for up to BLOCKS blocks of 32 outputs. In a word of weights, bit 8 k + i belongs to output 4 i + k: so
// bytes come out in the order of outputs.
static NOINLINE void count_rows(const uint32_t **rows, uint32_t n, uint32_t blocks, planes_t *counts) {
    const uint32_t zero[BLOCKS] = {0, 0, 0, 0}; // not static: the chips' module loaders find no data
    for (; n == 0 || n & 7; n++) {
        rows[n] = zero;
    }
    rows[n] = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        planes_t p = {opaque(0), opaque(0), opaque(0), opaque(0), opaque(0), opaque(0), opaque(0), opaque(0)};
        if (b == 0) {
            count(&p, *rows, rows, 0); // an offset that is known costs nothing
        } else if (b == 1) {
            count(&p, *rows, rows, 1);
        } else if (b == 2) {
            count(&p, *rows, rows, 2);
        } else {
            count(&p, *rows, rows, 3);
        }
        transpose(&p);
        *counts++ = p;
    }
}

typedef struct {
    const int16_t *mult, *slope;
    const int32_t *bias;
    int16_t *y;
} outputs_t;

// Output i from s = 4 n - 2 m; y holds what the result is added to.
INLINE void finish_one(const outputs_t *q, uint32_t i, int32_t s, uint32_t shift, limits_t limits) {
    int32_t a = opaque((s * q->mult[i] + q->bias[i]) >> shift);
    #ifdef __xtensa__
    a = clamp(a, limits);
    #else
    if (RARELY(a > limits.high)) {
        a = opaque(limits.high);
    }
    #endif
    if (a < 0) {
        #ifndef __xtensa__
        if (RARELY(a < limits.low)) {
            a = opaque(limits.low);
        }
        #endif
        a = (a * q->slope[i]) >> 8;
    }
    q->y[i] = clamp(q->y[i] + a, limits);
}

// n outputs, four a round; the first round begins in the middle where n is not a multiple of 4 (Duff, 1983).
static NOINLINE void finish(const record_t *r, outputs_t *to, uint32_t n, const uint8_t *counts, int32_t minus) {
    uint32_t skip = -n & 3, shift = r->shift_a;
    const uint8_t *end = counts + n;
    outputs_t q = {to->mult - skip, to->slope - skip, to->bias - skip, to->y - skip};
    limits_t limits = limits16();
    counts -= skip;
    switch (skip) {
        do {
            case 0: finish_one(&q, 0, 4 * counts[0] + minus, shift, limits); // fall through
            case 1: finish_one(&q, 1, 4 * counts[1] + minus, shift, limits); // fall through
            case 2: finish_one(&q, 2, 4 * counts[2] + minus, shift, limits); // fall through
            case 3: finish_one(&q, 3, 4 * counts[3] + minus, shift, limits);
            q.mult += 4, q.slope += 4, q.bias += 4, q.y += 4, counts += 4;
            __asm__("" : "+r"(q.mult), "+r"(q.slope), "+r"(q.bias), "+r"(q.y), "+r"(counts)); // one jump a round
        } while (counts != end);
    }
    to->mult = q.mult;
    to->slope = q.slope;
    to->y = q.y;
}

void sw_conv_1b(const record_t *r, uint32_t span, uint32_t *position, void *value) {
    uint32_t cin = r->cin, left = r->cout, words = (cin + 31) / 32, at[MAX_TAPS];
    const int16_t *threshold = (const int16_t *)(r + 1);
    const uint32_t *flip = (const uint32_t *)((const uint8_t *)threshold + pad4(2 * cin));
    outputs_t q;
    q.mult = (const int16_t *)(flip + words);
    q.slope = (const int16_t *)((const uint8_t *)q.mult + pad4(2 * left));
    q.y = value;
    const int32_t *bias = (const int32_t *)((const uint8_t *)q.slope + pad4(2 * left));
    const uint32_t *w = (const uint32_t *)(bias + left);
    search_t f;
    f.ring = position + 1;
    f.cin = cin;
    f.stride = (left + 31) / 32;
    pack(value, threshold, flip, cin, position + 1 + *position * words);
    get_taps(r, span, position, words, at);
    for (uint32_t i = 0; i < left && !r->shortcut; i++) {
        q.y[i] = 0;
    }
    while (left) {
        const uint32_t *list[ROOM + 1];
        planes_t counts[BLOCKS];
        int32_t sum[32 * BLOCKS], minus = 0;
        uint32_t n = left < 32 * BLOCKS ? left : 32 * BLOCKS;
        f.at = at;
        f.row = w;
        f.left = 0;
        f.taps = r->taps;
        q.bias = bias;
        for (;;) {
            uint32_t m = list_rows(&f, list) - list;
            minus -= 2 * m;
            count_rows(list, m, (n + 31) / 32, counts);
            if (!(f.left | f.taps)) {
                break;
            }
            // The list was full. What is in it goes to the biases.
            for (uint32_t i = 0; i < n; i++) {
                sum[i] = q.bias[i] + 4 * ((const uint8_t *)counts)[i] * q.mult[i];
            }
            q.bias = sum;
        }
        finish(r, &q, n, (const uint8_t *)counts, minus);
        bias += n;
        left -= n;
        w += BLOCKS;
    }
}

// dense_i8. In (u0 + 65536 u2) * (h2 + 65536 h0), the upper half is u0 h0 + u2 h2: two products for one multiplication.
// Bytes u = weight + 128, h of 7 bits: neither half overflows.

#define EVEN (0x00ff00ffu)

INLINE uint32_t dot_four(uint32_t w, const uint32_t *h) {
    w ^= 0x80808080u;
    return ((w & EVEN) * h[0] >> 16) + ((w >> 8 & EVEN) * h[1] >> 16);
}

INLINE uint32_t hidden(int32_t v) {
    if (v < 0) {
        v = opaque(0);
    }
    if (RARELY(v > 127)) {
        v = opaque(127);
    }
    return v;
}

void sw_dense_i8(const record_t *r, uint32_t span, uint32_t *position, void *value) {
    (void)span, (void)position;
    uint32_t cin = r->cin, shift = r->shift_a, sum = 0, h[MAX_CHANNELS / 2];
    const int16_t *mult = (const int16_t *)(r + 1);
    const int32_t *bias = (const int32_t *)((const uint8_t *)mult + pad4(2 * cin)), *out_bias = bias + cin;
    const uint32_t *w = (const uint32_t *)(out_bias + r->cout);
    int16_t *y = value;
    for (uint32_t *p = h, *end = h + cin / 2; p < end; p += 2) {
        uint32_t h0 = hidden((y[0] * mult[0] + bias[0]) >> shift), h1 = hidden((y[1] * mult[1] + bias[1]) >> shift);
        uint32_t h2 = hidden((y[2] * mult[2] + bias[2]) >> shift), h3 = hidden((y[3] * mult[3] + bias[3]) >> shift);
        p[0] = h2 | h0 << 16;
        p[1] = h3 | h1 << 16;
        sum += p[0] + p[1];
        y += 4, mult += 4, bias += 4;
    }
    int32_t offset = 128 * ((sum & 0xffff) + (sum >> 16));
    limits_t limits = limits16();
    y = value;
    // Two rows at once, since they share the loads of h; the last one twice where it is alone.
    for (int32_t left = r->cout; left > 0; left -= 2) {
        const uint32_t *w2 = left > 1 ? w + cin / 4 : w;
        int32_t a = *out_bias - offset, b = out_bias[left > 1] - offset;
        for (const uint32_t *p = h, *end = h + cin / 2; p < end; p += 2) {
            a += dot_four(*w++, p);
            b += dot_four(*w2++, p);
        }
        y[0] = clamp(a >> r->shift_b, limits);
        y[left > 1] = clamp(b >> r->shift_b, limits);
        w = w2;
        out_bias += 2, y += 2;
    }
}

__attribute__((cold)) // small rather than fast
void sw_sum_window(const record_t *r, uint32_t span, uint32_t *position, void *value) {
    uint32_t n = r->cin, p = *position;
    int32_t *sum = (int32_t *)(position + 1), *y = value;
    int16_t *slot = (int16_t *)(sum + n) + p * n;
    const int16_t *x = value;
    *position = p + 1 == span ? 0 : p + 1;
    for (uint32_t i = n; i-- > 0;) { // backwards: results are wider than what they replace
        int32_t v = x[i];
        sum[i] += v - slot[i];
        slot[i] = v;
        y[i] = sum[i];
    }
}
