// Integer log-mel front end (FORMAT.md, section 4): an FFT of fixed scale, 32-bit products.
#include "signwave.h"

#pragma GCC optimize ("live-range-shrinkage")

#define INLINE __attribute__((always_inline)) static inline
#define FFT_BINS (256)
#define WINDOW (512)
#define MAX_BANDS (64)
#define ENERGIES (MAX_BANDS + 4)
#define SINES (382)
#define ROOT (11585) // 2^14 times the root of 1/2
#define BEGINS (-128)

// The section's fixed part; edges follow.
typedef struct {
    uint16_t identity;
    uint16_t hop;
    uint32_t rate_hz;
    uint16_t bands;
    int16_t offset;
    uint16_t edge[];
} params_t;

// All y from -reach to reach - 1, reach = 2^n, span = 2^(n + 1) - 1: one addition and one comparison a sample tell.
typedef struct {
    uint32_t reach, span;
} range_t;

// What the walk over the bins needs of bin k: part[k], + BEGINS if it begins a band; where the transform leaves point k.
typedef struct {
    int8_t share;
    uint8_t place;
} bin_t;

typedef struct {
    bin_t low, high;    // of bins k and 256 - k
} pair_t;

typedef struct {
    int32_t z[WINDOW];      // pre-emphasised samples, oldest first; then points (re, im)
    int16_t sine[SINES];    // 2^14 sin(pi * i / 256)
    pair_t pair[129];
    int32_t newest;         // x[511]
    range_t range;          // of `kept`
    uint32_t top;           // band of bin 255, plus 2
    int32_t kept[];         // the samples that the next window begins with: WINDOW - hop
} state_t;

INLINE const params_t *get_params(const uint8_t *params, uint32_t len) {
    const params_t *p = (const params_t *)params;
    if (((uintptr_t)params & 3) || len < sizeof(params_t)) {
        return 0;
    }
    if (p->identity != 1 || p->hop < 32 || p->hop > WINDOW || (p->hop & 1)
        || p->bands < 4 || p->bands > MAX_BANDS || (p->bands & 3)
        || len != sizeof(params_t) + 2 * (p->bands + 2u)) {
        return 0;
    }
    return p;
}

INLINE int32_t refuse(const uint8_t *params) {
    return (uintptr_t)params & 3 ? SW_ERR_ALIGNMENT : SW_ERR_FRONTEND;
}

int32_t sw_frontend_check(const uint8_t *params, uint32_t len) {
    const params_t *p = get_params(params, len);
    if (!p) {
        return refuse(params);
    }
    if (p->rate_hz == 0 || p->edge[0] < 16 || p->edge[p->bands + 1] > 4080) {
        return SW_ERR_FRONTEND;
    }
    for (uint32_t j = 0; j <= p->bands; j++) {
        if (p->edge[j + 1] < p->edge[j] + 16u) {
            return SW_ERR_FRONTEND;
        }
    }
    return SW_OK;
}

uint32_t sw_frontend_state_size(const uint8_t *params) {
    return sizeof(state_t) + 4 * (WINDOW - ((const params_t *)params)->hop);
}

// A quarter by a polynomial, the rest by symmetry.
static void make_sine(int16_t *sine) {
    for (int32_t i = 0; i <= 128; i++) {
        int32_t z = i << 8;
        int32_t q = (z * z) >> 15;
        int32_t a = 1309 - ((74 * q) >> 15);
        a = 10589 - ((a * q) >> 15);
        a = 25738 - ((a * q) >> 15);
        sine[i] = sine[256 - i] = (a * z) >> 15;
    }
    for (int32_t i = 257; i < SINES; i++) {
        sine[i] = -sine[i - 256];
    }
}

// Division by subtraction: the quotient is below 16. Gives the band of the last bin, plus 2.
static uint32_t make_pairs(const params_t *p, pair_t *pair) {
    uint32_t band = 1; // plus 2: below the first edge
    for (uint32_t k = 0; k < FFT_BINS; k++) {
        int32_t share = 0;
        if (band < p->bands + 3u && 16 * k >= p->edge[band - 1]) {
            band++;
            share = BEGINS;
        }
        if (band > 1 && band < p->bands + 3u) {
            uint32_t width = p->edge[band - 1] - p->edge[band - 2];
            uint32_t rest = (16 * k - p->edge[band - 2]) * 16;
            for (; rest >= width; rest -= width) {
                share++;
            }
        }
        uint32_t j = k + 109;
        bin_t bin = {share, (j & 3) << 6 | (j << 1 & 56) | (j >> 5 & 7)};
        if (k <= 128) {
            pair[k].low = bin;
        } else {
            pair[256 - k].high = bin;
        }
    }
    return band;
}

int32_t sw_frontend_reset(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len) {
    int32_t rc = sw_frontend_check(params, len);
    if (rc) {
        return rc;
    }
    if (((uintptr_t)state & 3) || state_len < sw_frontend_state_size(params)) {
        return SW_ERR_STATE;
    }
    const params_t *p = (const params_t *)params;
    state_t *st = (state_t *)state;
    for (uint32_t n = 0; n < (uint32_t)WINDOW - p->hop; n++) {
        st->kept[n] = 0;
    }
    st->newest = 0;
    st->range.reach = st->range.span = 1; // not as a constant: in native modules of Xtensa those in memory go astray
    make_sine(st->sine);
    st->top = make_pairs(p, st->pair);
    return SW_OK;
}

INLINE void widen(range_t *range, int32_t y) {
    while (__builtin_expect((uint32_t)y + range->reach > range->span, 0)) {
        range->reach *= 2;
        range->span = 2 * range->span + 1;
    }
}

// Appends n pre-emphasised samples to y, and to `copy` where asked.
INLINE void emphasise(const int16_t *x, uint32_t n, int32_t *newest, range_t *widest, int32_t *y, int32_t *copy, int copies) {
    int32_t last = *newest, decay = 31744;
    range_t range = *widest;
    __asm__("" : "+r" (decay)); // a product costs less than the shifts that compilers prefer
    for (const int16_t *end = x + n; x < end; x += 2, y += 2) {
        int32_t a = x[0], b = x[1];
        int32_t c = (a << 15) - last * decay, d = (b << 15) - a * decay;
        y[0] = c;
        y[1] = d;
        if (copies) {
            copy[0] = c;
            copy[1] = d;
            copy += 2;
        }
        widen(&range, c);
        widen(&range, d);
        last = b;
    }
    *newest = last;
    *widest = range;
}

// Takes hop samples in and fills the window; gives the span of all.
static uint32_t take(state_t *st, const int16_t *x, uint32_t hop) {
    uint32_t keep = WINDOW - hop, tail = hop < keep ? hop : keep, spare = hop - tail;
    int32_t *y = st->z, *kept = st->kept;
    for (const int32_t *end = kept + keep; kept < end; kept += 2, y += 2) {
        int32_t a = kept[0], b = kept[1];
        y[0] = a;
        y[1] = b;
    }
    range_t range = st->range, next = {1, 1};
    emphasise(x, spare, &st->newest, &range, y, 0, 0);
    kept = st->kept;
    for (const int32_t *end = kept + (keep - tail); kept < end; kept++) { // with hops below 256 only
        *kept = kept[hop];
        widen(&next, *kept);
    }
    emphasise(x + spare, tail, &st->newest, &next, y + spare, kept, 1);
    st->range = next;
    return next.span | range.span;
}

typedef struct {
    int32_t re, im;
} complex_t;

INLINE complex_t plus(complex_t a, complex_t b) {
    return (complex_t) {a.re + b.re, a.im + b.im};
}

INLINE complex_t minus(complex_t a, complex_t b) {
    return (complex_t) {a.re - b.re, a.im - b.im};
}

// a + j b
INLINE complex_t plus_j(complex_t a, complex_t b) {
    return (complex_t) {a.re - b.im, a.im + b.re};
}

// a - j b
INLINE complex_t minus_j(complex_t a, complex_t b) {
    return (complex_t) {a.re + b.im, a.im - b.re};
}

// The upper halves of both parts: a shift by 16 that costs nothing.
INLINE complex_t get_upper(const int32_t *z) {
    const int16_t *half = (const int16_t *)z;
    return (complex_t) {half[1], half[3]};
}

INLINE void put(int32_t *z, complex_t a) {
    z[0] = a.re;
    z[1] = a.im;
}

// exp(j pi i / 256) where `sine` leads to entry i.
INLINE complex_t twiddle(const int16_t *sine) {
    return (complex_t) {sine[128], sine[0]};
}

// a * conj(w)
INLINE complex_t turned(complex_t a, complex_t w) {
    return (complex_t) {a.re * w.re + a.im * w.im, a.im * w.re - a.re * w.im};
}

// a * w
INLINE complex_t turned_back(complex_t a, complex_t w) {
    return (complex_t) {a.re * w.re - a.im * w.im, a.im * w.re + a.re * w.im};
}

// One part of a radix-4 butterfly over windowed points 128 numbers apart: a + b + c + d, a - b + c - d, c - a and b - d.
typedef struct {
    int32_t sum, alternate, ca, bd;
} quarters_t;

// The window is 1 - cosine, at the four points: 1 - cosine, 1 + sine, 1 + cosine, 1 - sine of the first one's angle.
INLINE quarters_t get_windowed(const int32_t *z, const int16_t *sine, uint32_t shift) {
    int32_t a = z[0], b = z[128], c = z[256], d = z[384];
#ifdef __XTENSA__
    __asm__("ssr %4\n\tsra %0, %0\n\tsra %1, %1\n\tsra %2, %2\n\tsra %3, %3" : "+r" (a), "+r" (b), "+r" (c), "+r" (d) : "r" (shift));
#else
    a >>= shift, b >>= shift, c >>= shift, d >>= shift;
#endif
    a *= sine[128] - 16384, c *= sine[128] + 16384, b *= sine[0] + 16384, d *= sine[0] - 16384;
    int32_t e0 = c - a, e2 = b - d;
    return (quarters_t) {e0 + e2, e0 - e2, c + a, b + d};
}

// Window and first stage, of radix 4: X[4m - 1] to X[4m + 2] in this order, each times 2^16.
static void first_stage(int32_t *z, const int16_t *sine, uint32_t shift) {
    const int16_t *s = sine, *s2 = sine;
    for (const int16_t *end = sine + 128; s < end; s += 2, s2 += 4, z += 2) {
        quarters_t re = get_windowed(z, s, shift), im = get_windowed(z + 1, s + 1, shift);
        put(z + 128, (complex_t) {re.sum, im.sum});
        complex_t x = {re.alternate >> 14, im.alternate >> 14}, w = twiddle(s);
        put(z + 384, turned(x, twiddle(s2)));
        x.re = (im.bd - re.ca) >> 14, x.im = (-im.ca - re.bd) >> 14;
        put(z + 256, turned(x, w));
        x.re = (-re.ca - im.bd) >> 14, x.im = (re.bd - im.ca) >> 14;
        put(z, turned_back(x, w));
    }
}

// Stores 2^16 / 4 * a * exp(-j pi d i / 256), where w has the turns of i for d = 0 to 4, or a itself if w is 0.
INLINE void put_turned(int32_t *z, complex_t a, const complex_t *w, int32_t d) {
    put(z, !w ? a : d == 0 ? (complex_t) {a.re << 14, a.im << 14} : d > 0 ? turned(a, w[d]) : turned_back(a, w[-d]));
}

// Radix-8 butterfly on points `step` numbers apart: X[8m - 3] to X[8m + 4] in this order, turned by w.
INLINE void butterfly(int32_t *z, uint32_t step, const complex_t *w) {
    complex_t a = get_upper(z), b = get_upper(z + 4 * step), s0 = plus(a, b), d0 = minus(a, b);
    a = get_upper(z + 2 * step), b = get_upper(z + 6 * step);
    complex_t s2 = plus(a, b), d2 = minus(a, b), e0 = plus(s0, s2), e1 = minus(s0, s2);
    complex_t o0 = minus_j(d0, d2), o1 = plus_j(d0, d2);
    a = get_upper(z + step), b = get_upper(z + 5 * step);
    complex_t s1 = plus(a, b), d1 = minus(a, b);
    a = get_upper(z + 3 * step), b = get_upper(z + 7 * step);
    complex_t s3 = plus(a, b), d3 = minus(a, b), f = minus(d1, d3), g = plus(d1, d3);

    complex_t e2 = plus(s1, s3), e3 = minus(s1, s3);
    complex_t x0 = plus(e0, e2);
    x0.re += 4, x0.im += 4; // eight points that are 1/2 too low on average
    put_turned(z + 3 * step, x0, w, 0);
    put_turned(z + 7 * step, minus(e0, e2), w, 4);
    put_turned(z + 5 * step, minus_j(e1, e3), w, 2);
    put_turned(z + step, plus_j(e1, e3), w, -2);
    complex_t p = {((f.re + g.im) * ROOT) >> 14, ((f.im - g.re) * ROOT) >> 14};
    put_turned(z + 4 * step, plus(o0, p), w, 1);
    put_turned(z, minus(o0, p), w, -3);
    complex_t q = {((g.im - f.re) * ROOT) >> 14, ((f.im + g.re) * -ROOT) >> 14};
    put_turned(z + 6 * step, plus(o1, q), w, 3);
    put_turned(z + 2 * step, minus(o1, q), w, -1);
}

static void transform(int32_t *z, const int16_t *sine, uint32_t shift) {
    const int32_t *end = z + 2 * FFT_BINS;
    first_stage(z, sine, shift);
    for (uint32_t i = 0; i < 64; i += 8) {
        complex_t w[5] = {{0, 0}, twiddle(sine + i), twiddle(sine + 2 * i), twiddle(sine + 3 * i), twiddle(sine + 4 * i)};
        for (int32_t *p = z + i / 4; p < end; p += 128) {
            butterfly(p, 16, w);
        }
    }
    for (; z < end; z += 16) {
        butterfly(z, 2, 0);
    }
}

INLINE uint32_t leading_zeros(uint32_t v) {
#ifdef __XTENSA__
    return __builtin_clz(v); // one instruction
#else
    uint32_t n = 0;
    for (; !(v >> 24); v <<= 8) {
        n += 8;
    }
    for (; !(v >> 31); v <<= 1) {
        n++;
    }
    return n;
#endif
}

// The logarithm in 1/256 octaves, less what `bias` leaves out, in 1/8 octaves.
INLINE int32_t log_band(uint32_t energy, int32_t bias) {
    energy |= 1;
    uint32_t n = leading_zeros(energy);
    int32_t f = (energy << n) >> 23 & 255;
    int32_t v = (f + ((f * (256 - f) * 22) >> 14) + bias - (int32_t)(256 * n)) >> 5;
    return v < -128 ? -128 : v > 127 ? 127 : v;
}

INLINE uint32_t power_of(int32_t re, int32_t im) {
    return (uint32_t)(re * re + im * im);
}

// Power between two bands' centres: all of it, and the upper band's share.
typedef struct {
    uint32_t all, upper;
} segment_t;

INLINE void add(segment_t *s, uint32_t power, uint32_t part) {
    s->all += power;
    s->upper += (power >> 4) * part;
}

INLINE void store(uint32_t *energy, uint32_t j, uint32_t e) {
    if (j < ENERGIES) {
        energy[j] = e;
    }
}

// Bins of the real signal, k upwards and 256 - k downwards together, and their shares of the bands: energy[j + 2] is
// that of band j. Bands -2, -1, bands and bands + 1 take what belongs to none.
static void add_bins(const state_t *st, uint32_t *energy) {
    const int32_t *z = st->z;
    const int16_t *sine = st->sine;
    const pair_t *pair = st->pair, *middle = pair + 128;
    segment_t low = {0, 0}, high = {0, 0};
    uint32_t below = 0, above = 0, j = 0, i = st->top; // so far in the bands at the segments' far ends
    for (;;) {
        int32_t part = (++pair)->low.share;
        if (part < 0) {
            store(energy, j, below + low.all - low.upper);
            j++;
            below = low.upper;
            low.all = low.upper = 0;
            part &= 15;
        }
        const int32_t *p = z + 2 * pair->low.place, *q = z + 2 * pair->high.place;
        if (pair == middle) { // bin 128 has no twin, and o * W(256) = -j o
            add(&low, power_of(p[0] >> 1, -p[1] >> 1), part);
            break;
        }
        complex_t e = {(p[0] + q[0]) >> 2, (p[1] - q[1]) >> 2}, o = {p[1] + q[1], q[0] - p[0]};
        o = turned(o, twiddle(++sine));
        o = (complex_t) {o.re >> 16, o.im >> 16};
        add(&low, power_of(e.re + o.re, e.im + o.im), part);
        part = pair->high.share;
        add(&high, power_of(e.re - o.re, o.im - e.im), part & 15);
        if (part < 0) {
            store(energy, i, above + high.upper);
            i--;
            above = high.all - high.upper;
            high.all = high.upper = 0;
        }
    }
    store(energy, j, below + low.all - low.upper + high.all - high.upper);
    store(energy, j + 1, above + low.upper + high.upper);
}

int32_t sw_frontend_step(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len,
    const int16_t *samples, uint32_t n, int8_t *out, uint32_t out_len) {
    const params_t *p = get_params(params, len);
    if (!p) {
        return refuse(params);
    } else if (((uintptr_t)state & 3) || state_len < sw_frontend_state_size(params)) {
        return SW_ERR_STATE;
    } else if (((uintptr_t)samples & 1) || n != p->hop) {
        return SW_ERR_SAMPLES;
    } else if (out_len < p->bands) {
        return SW_ERR_OUT;
    }
    state_t *st = (state_t *)state;
    uint32_t span = take(st, samples, p->hop), shift = 0;
    if (span == 1) {
        for (uint32_t j = 0; j < p->bands; j++) {
            out[j] = -128;
        }
        return SW_OK;
    }
    while (span >> shift >> 13) {
        shift++;
    }
    transform(st->z, st->sine, shift);
    uint32_t energy[ENERGIES];
    add_bins(st, energy);
    int32_t bias = 256 * (2 * (int32_t)shift - 24 + 31) + p->offset;
    for (uint32_t j = 0, bands = p->bands; j < bands; j++) {
        out[j] = log_band(energy[j + 2], bias);
    }
    return SW_OK;
}
