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
INLINE void get_taps(const record_t *r, uint32_t span, uint32_t *position, uint32_t size, uint32_t *at) {
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

// Of a pair of outputs: all = sum of the first + 65536 * sum of the second, high = sum of the second.
typedef struct {
    uint32_t all[4], high[4];
} sums_t;

// Adds one tap's inputs times the weights of 8 outputs; gives the weights behind.
INLINE const uint32_t *add_tap(sums_t *s, const uint32_t *w, const uint8_t *x, uint32_t quads) {
    do {
        uint32_t n = quads < QUADS ? quads : QUADS, a = 0, b = 0, c = 0, d = 0;
        quads -= n;
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
        s->all[0] += a, s->all[1] += b, s->all[2] += c, s->all[3] += d;
        s->high[0] += a >> 16, s->high[1] += b >> 16, s->high[2] += c >> 16, s->high[3] += d >> 16;
    } while (quads);
    return w;
}

// Stores a frame as bytes X.
INLINE void store_frame(const uint32_t *x, uint32_t cin, uint8_t *slot) {
    for (uint32_t i = 0; i < cin / 4; i++) {
        ((uint32_t *)slot)[i] = x[i] ^ 0x80808080u;
    }
}

INLINE uint32_t sum_bytes(const uint8_t *x, uint32_t n) {
    uint32_t sum = 0;
    for (const uint32_t *p = (const uint32_t *)x, *end = p + n / 4; p < end; p++) {
        sum += (*p & 0x00ff00ffu) + (*p >> 8 & 0x00ff00ffu);
    }
    return (sum & 0xffff) + (sum >> 16);
}

void sw_conv_i4(const record_t *r, uint32_t span, uint32_t *position, void *value) {
    uint32_t cin = r->cin, cout = r->cout, taps = r->taps, shift_a = r->shift_a, shift_b = r->shift_b, at[MAX_TAPS];
    uint8_t *ring = (uint8_t *)(position + 1);
    const int16_t *mult = (const int16_t *)(r + 1);
    const int32_t *bias = (const int32_t *)((const uint8_t *)mult + pad4(2 * cout));
    const uint32_t *w = (const uint32_t *)(bias + cout);
    int16_t *y = value;
    store_frame(value, cin, ring + *position * cin);
    get_taps(r, span, position, cin, at);
    uint32_t eights = 0; // weight = field - 8
    for (uint32_t j = 0; j < taps; j++) {
        eights += 8 * sum_bytes(ring + at[j], cin);
    }
    limits_t limits = limits16();
    for (uint32_t left = cout; left; y += 8) {
        sums_t s = {{0, 0, 0, 0}, {0, 0, 0, 0}};
        for (uint32_t j = 0; j < taps; j++) {
            w = add_tap(&s, w, ring + at[j], cin / 4);
        }
        for (uint32_t i = 0; i < 8 && left; i++, left--) {
            uint32_t sum = i & 1 ? s.high[i / 2] : s.all[i / 2] - (s.high[i / 2] << 16);
            int32_t t = clamp((int32_t)(sum - eights + *bias++) >> shift_a, limits);
            y[i] = clamp((t * *mult++) >> shift_b, limits);
        }
    }
}

// conv_1b. Only set bits are looked at: each has a row of words with the weights of 32 outputs a word, and 32 counters, one
// bit of every one to a word, advance together.

#define BLOCKS (4)      // words of weights, for 32 outputs each, that share a list of set bits
#define ROOM (256)      // of that list, and one more than a counter holds
#define ROUND (16)      // words added at a time

// Branches over additions are fewer instructions than bits computed and shifted.
#define PACK(k, bit) \
    if (x[k] >= threshold[k]) { \
        bits = opaque(bits + (bit)); \
    }

// Eight bits in the low byte.
INLINE uint32_t pack8(const int16_t *x, const int16_t *threshold) {
    int32_t bits = 0;
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
        for (uint32_t k = 0; k < 4; k++, x += 8, threshold += 8) {
            word = word >> 8 | pack8(x, threshold) << 24;
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

// Where the search for set bits stands: `left` bits of a tap from `slot` on, then `taps` more; `row` belongs to the next bit.
typedef struct {
    const uint32_t *ring, *at, *slot, *row;
    uint32_t cin, left, taps, stride;
} search_t;

INLINE const uint32_t **append(const uint32_t **to, const uint32_t *row) {
    *to = row; // before the step, else the compiler takes two registers and moves between them
    __asm__("" : "+r"(to) : : "memory");
    return to + 1;
}

// Lists the rows of bits k and k + 1 where they are set.
#ifdef __xtensa__
#define LIST(k, row0, row1) \
    if (has_bit(bits, k)) { \
        to = append(to, row0); \
    } \
    if (has_bit(bits, k + 1)) { \
        to = append(to, row1); \
    }

// One instruction, for which the compiler takes two and a register.
INLINE uint32_t has_bit(uint32_t bits, uint32_t k) {
    __asm__ goto("bbci %0, %1, %l[no]" : : "r"(bits), "i"(k) : : no);
    return 1;
no:
    return 0;
}
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
    } while (0);
#endif

// Lists the rows of set bits, up to less than ROOM; gives the list's end.
static NOINLINE const uint32_t **list_rows(search_t *f, const uint32_t **to) {
    const uint32_t **full = to + ROOM - 32, *row = f->row, *slot = f->slot;
    uint32_t stride = f->stride, left = f->left;
    while (to < full && (left | f->taps)) {
        if (!left) {
            slot = f->ring + *f->at++;
            left = f->cin;
            f->taps--;
        }
        uint32_t bits = *slot++;
        const uint32_t *next = row + 32 * stride;
        if (RARELY(left < 32)) {
            next = row + left * stride;
            bits &= (1u << left) - 1; // what lies behind has no row, whatever the state holds
            left = 32;
        }
        left -= 32;
        for (; bits; bits >>= 8) {
            const uint32_t *half = row + 4 * stride;
            LIST(0, row, row + stride)
            LIST(2, row + 2 * stride, row + 3 * stride)
            LIST(4, half, half + stride)
            LIST(6, half + 2 * stride, half + 3 * stride)
            row = half + 4 * stride;
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
INLINE planes_t count(const uint32_t *const *rows, uint32_t b) {
    planes_t p = {0, 0, 0, 0, 0, 0, 0, 0};
    const uint32_t *row = *rows;
    do {
        uint32_t c = add8(&p, row, rows, b);
        row = rows[8];
        if (!row) {
            add16(&p, add_carry(&p.p3, c));
            break;
        }
        add16(&p, add(&p.p3, c, add8(&p, row, rows + 8, b)));
        rows += 16;
        row = *rows;
    } while (row);
    return p;
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
static NOINLINE void count_rows(const uint32_t **rows, const uint32_t **end, uint32_t blocks, planes_t *counts) {
    const uint32_t zero[BLOCKS] = {0, 0, 0, 0};
    const uint32_t **eights = rows + (end == rows ? 8 : (end - rows + 7) / 8 * 8);
    while (end < eights) {
        *end++ = zero;
    }
    *end = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        planes_t p = b == 0 ? count(rows, 0) : b == 1 ? count(rows, 1) : b == 2 ? count(rows, 2) : count(rows, 3);
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
    if (a < 0) {
        a = (a * q->slope[i]) >> 8;
    }
    #else
    if (a < 0) {
        if (RARELY(a < limits.low)) {
            a = opaque(limits.low);
        }
        a = (a * q->slope[i]) >> 8;
    } else if (RARELY(a > limits.high)) {
        a = opaque(limits.high);
    }
    #endif
    q->y[i] = clamp(q->y[i] + a, limits);
}

static NOINLINE void finish(outputs_t q, uint32_t n, const uint8_t *counts, int32_t minus, uint32_t shift) {
    limits_t limits = limits16();
    for (; n >= 4; n -= 4) {
        finish_one(&q, 0, 4 * counts[0] + minus, shift, limits);
        finish_one(&q, 1, 4 * counts[1] + minus, shift, limits);
        finish_one(&q, 2, 4 * counts[2] + minus, shift, limits);
        finish_one(&q, 3, 4 * counts[3] + minus, shift, limits);
        q.mult += 4, q.slope += 4, q.bias += 4, q.y += 4, counts += 4;
    }
    for (uint32_t i = 0; i < n; i++) {
        finish_one(&q, i, 4 * counts[i] + minus, shift, limits);
    }
}

// Up to 128 outputs. A list that is too long for the counters is cut; what its parts give but the last goes to the biases.
static NOINLINE void step_outputs(const search_t *from, const outputs_t *to, uint32_t n, uint32_t shift) {
    const uint32_t *list[ROOM + 1];
    planes_t counts[BLOCKS];
    search_t f = {from->ring, from->at, 0, from->row, from->cin, 0, from->taps, from->stride};
    outputs_t q = {to->mult, to->slope, to->bias, to->y};
    int32_t bias[32 * BLOCKS];
    for (int32_t minus = 0;;) {
        const uint32_t **end = list_rows(&f, list);
        minus -= 2 * (end - list);
        count_rows(list, end, (n + 31) / 32, counts);
        const uint8_t *count = (const uint8_t *)counts;
        if (!(f.left | f.taps)) {
            finish(q, n, count, minus, shift);
            return;
        }
        for (uint32_t i = 0; i < n; i++) {
            bias[i] = q.bias[i] + 4 * count[i] * q.mult[i];
        }
        q.bias = bias;
    }
}

void sw_conv_1b(const record_t *r, uint32_t span, uint32_t *position, void *value) {
    uint32_t cin = r->cin, cout = r->cout, words = (cin + 31) / 32, stride = (cout + 31) / 32, at[MAX_TAPS];
    const int16_t *threshold = (const int16_t *)(r + 1);
    const uint32_t *flip = (const uint32_t *)((const uint8_t *)threshold + pad4(2 * cin));
    outputs_t q;
    q.mult = (const int16_t *)(flip + words);
    q.slope = (const int16_t *)((const uint8_t *)q.mult + pad4(2 * cout));
    q.bias = (const int32_t *)((const uint8_t *)q.slope + pad4(2 * cout));
    q.y = value;
    search_t f = {position + 1, at, 0, (const uint32_t *)(q.bias + cout), cin, 0, r->taps, stride};
    pack(value, threshold, flip, cin, position + 1 + *position * words);
    get_taps(r, span, position, words, at);
    if (!r->shortcut) {
        for (uint32_t i = 0; i < cout; i++) {
            q.y[i] = 0;
        }
    }
    for (uint32_t o = 0; o < cout; o += 32 * BLOCKS) {
        uint32_t n = cout - o < 32 * BLOCKS ? cout - o : 32 * BLOCKS;
        step_outputs(&f, &q, n, r->shift_a);
        f.row += BLOCKS;
        q.mult += n, q.slope += n, q.bias += n, q.y += n;
    }
}

// dense_i8

// Four rows of weights times h; where fewer are left, the last one again.
INLINE void dot_rows(int32_t *sum, const int8_t *w, uint32_t rows, const uint8_t *h, uint32_t n) {
    const int8_t *wa = w, *wb = wa + (rows > 1 ? n : 0), *wc = wb + (rows > 2 ? n : 0), *wd = wc + (rows > 3 ? n : 0);
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (const uint8_t *end = h + n; h < end; h += 4, wa += 4, wb += 4, wc += 4, wd += 4) {
        int32_t h0 = h[0], h1 = h[1], h2 = h[2], h3 = h[3];
        a += wa[0] * h0 + wa[1] * h1 + wa[2] * h2 + wa[3] * h3;
        b += wb[0] * h0 + wb[1] * h1 + wb[2] * h2 + wb[3] * h3;
        c += wc[0] * h0 + wc[1] * h1 + wc[2] * h2 + wc[3] * h3;
        d += wd[0] * h0 + wd[1] * h1 + wd[2] * h2 + wd[3] * h3;
    }
    sum[0] = a, sum[1] = b, sum[2] = c, sum[3] = d;
}

void sw_dense_i8(const record_t *r, void *value) {
    uint32_t cin = r->cin, shift = r->shift_a;
    const int16_t *mult = (const int16_t *)(r + 1);
    const int32_t *bias = (const int32_t *)((const uint8_t *)mult + pad4(2 * cin)), *out_bias = bias + cin;
    const int8_t *w = (const int8_t *)(out_bias + r->cout);
    uint8_t h[MAX_CHANNELS];
    int16_t *y = value;
    for (uint32_t i = 0; i < cin; i++) {
        int32_t v = (y[i] * mult[i] + bias[i]) >> shift;
        h[i] = v < 0 ? 0 : v > 127 ? 127 : v;
    }
    limits_t limits = limits16();
    for (uint32_t left = r->cout; left; w += 4 * cin) {
        int32_t sum[4];
        dot_rows(sum, w, left, h, cin);
        for (uint32_t i = 0; i < 4 && left; i++, left--) {
            *y++ = clamp((sum[i] + *out_bias++) >> r->shift_b, limits);
        }
    }
}

void sw_sum_window(const record_t *r, uint32_t *position, void *value) {
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
