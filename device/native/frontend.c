// Integer log-mel front end (FORMAT.md, section 4): block floating point radix-4 FFT, 32-bit products.
#include "signwave.h"

#define INLINE __attribute__((always_inline)) static inline
#define FFT_BINS (256)
#define WINDOW (512)
#define MAX_BANDS (64)
#define BEGINS (16)

// The section's fixed part; edges follow.
typedef struct {
    uint16_t identity;
    uint16_t hop;
    uint32_t rate_hz;
    uint16_t bands;
    int16_t offset;
    uint16_t edge[];
} params_t;

// Bands -2 and -1, bands and bands + 1 take what belongs to none. `y` before and `z` behind `band` are larger
// than a walk over all bins can stray, so that a spoilt `share` stays inside the state.
typedef struct {
    int32_t y[WINDOW];              // pre-emphasised samples, oldest first
    uint32_t band[MAX_BANDS + 4];   // band j at j + 2
    int16_t z[2 * FFT_BINS];        // re, im
    int16_t sine[258];              // quarter wave, Q14
    uint8_t share[FFT_BINS];        // part[k], + BEGINS if bin k begins a band
    int32_t newest;                 // x[511]
    uint32_t top;                   // band of bin 255, plus 2
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
    (void)params; // the same for every identity 1
    return sizeof(state_t);
}

static void make_sine(int16_t *sine) {
    for (int32_t i = 0; i <= 256; i++) {
        int32_t z = i << 7;
        int32_t q = (z * z) >> 15;
        int32_t a = 1309 - ((74 * q) >> 15);
        a = 10589 - ((a * q) >> 15);
        a = 25738 - ((a * q) >> 15);
        sine[i] = (a * z) >> 15;
    }
}

// Division by subtraction: the quotient is below 16.
static uint32_t make_shares(const params_t *p, uint8_t *share) {
    uint32_t band = 1; // plus 2: below the first edge
    share[0] = 0;
    for (uint32_t k = 1; k < FFT_BINS; k++) {
        uint32_t begins = 0, part = 0;
        if (band < p->bands + 3u && 16 * k >= p->edge[band - 1]) {
            band++;
            begins = BEGINS;
        }
        if (band > 1 && band < p->bands + 3u) {
            uint32_t width = p->edge[band - 1] - p->edge[band - 2];
            uint32_t rest = (16 * k - p->edge[band - 2]) * 16;
            for (; rest >= width; rest -= width) {
                part++;
            }
        }
        share[k] = part | begins;
    }
    return band;
}

int32_t sw_frontend_reset(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len) {
    int32_t rc = sw_frontend_check(params, len);
    if (rc) {
        return rc;
    }
    if (((uintptr_t)state & 3) || state_len < sizeof(state_t)) {
        return SW_ERR_STATE;
    }
    state_t *st = (state_t *)state;
    for (uint32_t n = 0; n < WINDOW; n++) {
        st->y[n] = 0;
    }
    st->newest = 0;
    make_sine(st->sine);
    st->top = make_shares((const params_t *)params, st->share);
    return SW_OK;
}

// Takes hop samples in; gives the OR of all magnitudes in the window.
static uint32_t take(state_t *st, const int16_t *x, uint32_t hop) {
    int32_t m = 0;
    int32_t *y = st->y;
    const int32_t *old = y + hop;
    for (int32_t *end = y + WINDOW - hop; y < end; y += 2, old += 2) {
        int32_t a = old[0], b = old[1];
        y[0] = a;
        y[1] = b;
        m |= a ^ (a >> 31);
        m |= b ^ (b >> 31);
    }
    int32_t last = st->newest;
    for (int32_t *end = st->y + WINDOW; y < end; y += 2, x += 2) {
        int32_t a = x[0], b = x[1];
        int32_t c = ((a - last) << 5) + last; // 32 a - 31 last
        int32_t d = ((b - a) << 5) + a;
        y[0] = c;
        y[1] = d;
        m |= c ^ (c >> 31);
        m |= d ^ (d >> 31);
        last = b;
    }
    st->newest = last;
    return m;
}

typedef struct {
    int32_t c, n;
} twiddle_t;

// W(t) of FORMAT.md, t up to 256, 512 or 767.
INLINE twiddle_t twiddle256(const int16_t *sine, uint32_t t) {
    return (twiddle_t) {sine[256 - t], sine[t]};
}

INLINE twiddle_t twiddle512(const int16_t *sine, uint32_t t) {
    return t <= 256 ? twiddle256(sine, t) : (twiddle_t) {-sine[t - 256], sine[512 - t]};
}

INLINE twiddle_t twiddle767(const int16_t *sine, uint32_t t) {
    return t <= 512 ? twiddle512(sine, t) : (twiddle_t) {-sine[768 - t], -sine[t - 512]};
}

// z = (re + j im) * w; `outside` collects bits above 13 of any part beyond [-2^13, 2^13).
INLINE void put_turned(int16_t *z, int32_t re, int32_t im, twiddle_t w, uint32_t *outside) {
    int32_t a = (re * w.c + im * w.n) >> 14;
    int32_t b = (im * w.c - re * w.n) >> 14;
    z[0] = a;
    z[1] = b;
    *outside |= (a + 8192) | (b + 8192);
}

INLINE void put(int16_t *z, int32_t re, int32_t im, uint32_t *outside) {
    z[0] = re;
    z[1] = im;
    *outside |= (re + 8192) | (im + 8192);
}

typedef struct {
    int32_t re, im;
} complex_t;

// One radix-4 butterfly on points `step` numbers apart; w = 0 where all twiddles are 1.
INLINE void butterfly(int16_t *z, uint32_t step, complex_t a, complex_t b, complex_t c, complex_t d,
    uint32_t s, const twiddle_t *w, uint32_t *outside) {
    complex_t t0 = {a.re + c.re, a.im + c.im}, t1 = {a.re - c.re, a.im - c.im};
    complex_t t2 = {b.re + d.re, b.im + d.im}, t3 = {b.im - d.im, d.re - b.re};
    put(z, (t0.re + t2.re) >> s, (t0.im + t2.im) >> s, outside);
    if (w) {
        put_turned(z + step, (t1.re + t3.re) >> s, (t1.im + t3.im) >> s, w[0], outside);
        put_turned(z + 2 * step, (t0.re - t2.re) >> s, (t0.im - t2.im) >> s, w[1], outside);
        put_turned(z + 3 * step, (t1.re - t3.re) >> s, (t1.im - t3.im) >> s, w[2], outside);
    } else {
        put(z + step, (t1.re + t3.re) >> s, (t1.im + t3.im) >> s, outside);
        put(z + 2 * step, (t0.re - t2.re) >> s, (t0.im - t2.im) >> s, outside);
        put(z + 3 * step, (t1.re - t3.re) >> s, (t1.im - t3.im) >> s, outside);
    }
}

INLINE complex_t get(const int16_t *z) {
    return (complex_t) {z[0], z[1]};
}

// Normalised, windowed point; sa and sb lead to the window's two square roots.
INLINE complex_t get_windowed(const int32_t *y, int32_t sa, int32_t sb, uint32_t up, uint32_t down) {
    int32_t a = (y[0] << up) >> down, b = (y[1] << up) >> down;
    return (complex_t) {(a * ((sa * sa) >> 13)) >> 15, (b * ((sb * sb) >> 13)) >> 15};
}

// Window and first stage (h = 64, s = 1) in one.
static uint32_t first_stage(state_t *st, uint32_t up, uint32_t down) {
    const int16_t *sine = st->sine;
    const int32_t *y = st->y;
    int16_t *z = st->z;
    uint32_t outside = 0;
    for (uint32_t i = 0; i < 64; i++, y += 2, z += 2) {
        const int16_t *rise = sine + 2 * i, *fall = sine + 256 - 2 * i;
        complex_t a = get_windowed(y, rise[0], rise[1], up, down);
        complex_t b = get_windowed(y + 128, rise[128], rise[129], up, down);
        complex_t c = get_windowed(y + 256, fall[0], fall[-1], up, down);
        complex_t d = get_windowed(y + 384, fall[-128], fall[-129], up, down);
        twiddle_t w[3] = {twiddle256(sine, 4 * i), twiddle512(sine, 8 * i), twiddle767(sine, 12 * i)};
        butterfly(z, 128, a, b, c, d, 1, w, &outside);
    }
    return outside;
}

INLINE void butterfly_at(int16_t *p, uint32_t step, uint32_t s, const twiddle_t *w, uint32_t *outside) {
    butterfly(p, step, get(p), get(p + step), get(p + 2 * step), get(p + 3 * step), s, w, outside);
}

// A stage of quarter size h: the points at i of every group share their twiddles.
INLINE uint32_t stage(int16_t *z, const int16_t *sine, uint32_t h, uint32_t s) {
    const int16_t *end = z + 2 * FFT_BINS;
    uint32_t outside = 0, step = 2 * h, turn = 256 / h;
    for (int16_t *p = z; p < end; p += 4 * step) {
        butterfly_at(p, step, s, 0, &outside);
    }
    for (uint32_t i = 1; i < h; i++) {
        uint32_t r = turn * i;
        twiddle_t w[3] = {twiddle256(sine, r), twiddle512(sine, 2 * r), twiddle767(sine, 3 * r)};
        for (int16_t *p = z + 2 * i; p < end; p += 4 * step) {
            butterfly_at(p, step, s, w, &outside);
        }
    }
    return outside;
}

INLINE uint32_t shift_of(uint32_t outside) {
    return outside >> 14 ? 2 : 1;
}

// Normalise and transform; gives the sum of the stages' shifts.
static uint32_t transform(state_t *st, int32_t b) {
    uint32_t s2 = shift_of(first_stage(st, b < 0 ? -b : 0, b < 0 ? 0 : b));
    uint32_t s3 = shift_of(stage(st->z, st->sine, 16, s2));
    uint32_t s4 = shift_of(stage(st->z, st->sine, 4, s3));
    stage(st->z, st->sine, 1, s4);
    return 1 + s2 + s3 + s4;
}

INLINE uint32_t power_of(int32_t re, int32_t im) {
    re >>= 3;
    im >>= 3;
    return (uint32_t)(re * re + im * im);
}

// Power between two bands' centres: all of it, and the upper band's share.
typedef struct {
    uint32_t *band;
    uint32_t all, upper;
} segment_t;

INLINE void flush(segment_t *s) {
    s->band[0] += s->upper;
    s->band[-1] += s->all - s->upper;
    s->all = s->upper = 0;
}

// Bins of the real signal, k upwards and 256 - k downwards together, and their shares of the bands.
static void add_bins(state_t *st) {
    const int16_t *z = st->z, *sine = st->sine, *end = z + 2 * 255 + 128, *p = z, *q = end;
    const uint8_t *share = st->share;
    segment_t low = {st->band + 1, 0, 0}, high = {st->band + (st->top & 127), 0, 0};
    for (uint32_t j = 0; j < MAX_BANDS + 4; j++) {
        st->band[j] = 0;
    }
    for (uint32_t k = 1; k < 128; k++) {
        // Digit reversal: a step of k is one of 64 slots, up to the carry; 256 - k lies at 255 - slot of k - 1.
        q -= 128;
        p = k & 3 ? p + 128 : z + 2 * ((k & 12) << 2 | (k >> 2 & 12) | k >> 6);
        twiddle_t w = twiddle256(sine, 2 * k);
        int32_t er = p[0] + q[0], ei = p[1] - q[1];
        int32_t dr = p[1] + q[1], di = q[0] - p[0];
        int32_t wr = (dr * w.c + di * w.n) >> 14, wi = (di * w.c - dr * w.n) >> 14;
        uint32_t power = power_of(er + wr, ei + wi), part = share[k];
        if (part & BEGINS) {
            flush(&low);
            low.band++;
            part -= BEGINS;
        }
        low.all += power;
        low.upper += (power * part) >> 4;
        power = power_of(er - wr, wi - ei);
        part = share[256 - k];
        high.all += power;
        high.upper += (power * (part & 15)) >> 4;
        if (part & BEGINS) {
            flush(&high);
            high.band--;
        }
        if (!(k & 3)) {
            q = end - (p - z);
        }
    }
    // Bin 128 has no twin: slot 2, W(256) = -j.
    flush(&low);
    flush(&high);
    low.band += share[128] >> 4;
    low.all = power_of(2 * z[4], -2 * z[5]);
    low.upper = (low.all * (share[128] & 15)) >> 4;
    flush(&low);
}

INLINE uint32_t bits_of(uint32_t v) {
    uint32_t n = v >> 16 ? 16 : 0;
    n += v >> n >> 8 ? 8 : 0;
    n += v >> n >> 4 ? 4 : 0;
    n += v >> n >> 2 ? 2 : 0;
    return n + (v >> n & 2 ? 2 : v >> n);
}

INLINE int32_t log_band(uint32_t energy, int32_t bias) {
    if (energy == 0) {
        return -128;
    }
    uint32_t n = bits_of(energy) - 1;
    int32_t f = (energy << (31 - n)) >> 23 & 255;
    int32_t v = (int32_t)(256 * n) + f + ((f * (256 - f) * 22) >> 14) + bias;
    v >>= 5;
    return v < -128 ? -128 : v > 127 ? 127 : v;
}

int32_t sw_frontend_step(const uint8_t *params, uint32_t len, uint8_t *state, uint32_t state_len,
    const int16_t *samples, uint32_t n, int8_t *out, uint32_t out_len) {
    const params_t *p = get_params(params, len);
    if (!p) {
        return refuse(params);
    } else if (((uintptr_t)state & 3) || state_len < sizeof(state_t)) {
        return SW_ERR_STATE;
    } else if (((uintptr_t)samples & 1) || n != p->hop) {
        return SW_ERR_SAMPLES;
    } else if (out_len < p->bands) {
        return SW_ERR_OUT;
    }
    state_t *st = (state_t *)state;
    uint32_t m = take(st, samples, p->hop);
    if (m == 0) {
        for (uint32_t j = 0; j < p->bands; j++) {
            out[j] = -128;
        }
        return SW_OK;
    }
    int32_t b = (int32_t)bits_of(m) - 14;
    int32_t exp = 2 * ((int32_t)transform(st, b) - 4) + 2 * b;
    add_bins(st);
    for (uint32_t j = 0; j < p->bands; j++) {
        out[j] = log_band(st->band[j + 2], 256 * exp + p->offset);
    }
    return SW_OK;
}
