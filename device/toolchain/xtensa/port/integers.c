// 64-bit arithmetic and bit helpers that GCC calls by name: Debian has no libgcc for windowed Xtensa.
#include <stdint.h>

union halves {
    struct {
        uint32_t low, high;
    };
    uint64_t all;
};

static uint64_t divide(uint64_t n, uint64_t d, uint64_t *remainder) {
    uint64_t q = 0, r = 0;
    for (int i = 63; i >= 0; i--) {
        r = r << 1 | (n >> i & 1);
        if (r >= d) {
            r -= d;
            q |= (uint64_t)1 << i;
        }
    }
    *remainder = r;
    return q;
}

static uint64_t magnitude(int64_t a) {
    return a < 0 ? -(uint64_t)a : (uint64_t)a;
}

uint64_t __udivdi3(uint64_t a, uint64_t b) {
    uint64_t r;
    return divide(a, b, &r);
}

uint64_t __umoddi3(uint64_t a, uint64_t b) {
    uint64_t r;
    divide(a, b, &r);
    return r;
}

int64_t __divdi3(int64_t a, int64_t b) {
    uint64_t r, q = divide(magnitude(a), magnitude(b), &r);
    return (a < 0) != (b < 0) ? -q : q;
}

int64_t __moddi3(int64_t a, int64_t b) {
    uint64_t r;
    divide(magnitude(a), magnitude(b), &r);
    return a < 0 ? -r : r;
}

// 32 x 32 -> 64 from 16-bit halves; the core described in isa.c has no high product.
static uint64_t multiply_words(uint32_t a, uint32_t b) {
    uint32_t al = a & 0xffff, ah = a >> 16, bl = b & 0xffff, bh = b >> 16;
    uint32_t low = al * bl, cross = ah * bl + (low >> 16), cross2 = al * bh + (cross & 0xffff);
    union halves r = {{(low & 0xffff) | cross2 << 16, ah * bh + (cross >> 16) + (cross2 >> 16)}};
    return r.all;
}

uint64_t __muldi3(uint64_t a, uint64_t b) {
    union halves x = {.all = a}, y = {.all = b}, r = {.all = multiply_words(x.low, y.low)};
    r.high += x.high * y.low + x.low * y.high;
    return r.all;
}

uint64_t __ashldi3(uint64_t a, int n) {
    union halves u = {.all = a};
    if (n >= 32) {
        u.high = u.low << (n - 32);
        u.low = 0;
    } else if (n) {
        u.high = u.high << n | u.low >> (32 - n);
        u.low <<= n;
    }
    return u.all;
}

uint64_t __lshrdi3(uint64_t a, int n) {
    union halves u = {.all = a};
    if (n >= 32) {
        u.low = u.high >> (n - 32);
        u.high = 0;
    } else if (n) {
        u.low = u.low >> n | u.high << (32 - n);
        u.high >>= n;
    }
    return u.all;
}

int64_t __ashrdi3(int64_t a, int n) {
    union halves u = {.all = a};
    int32_t high = u.high;
    if (n >= 32) {
        u.low = high >> (n - 32);
        u.high = high >> 31;
    } else if (n) {
        u.low = u.low >> n | u.high << (32 - n);
        u.high = high >> n;
    }
    return u.all;
}

uint32_t __bswapsi2(uint32_t a) {
    return a >> 24 | (a >> 8 & 0xff00) | (a << 8 & 0xff0000) | a << 24;
}

uint64_t __bswapdi2(uint64_t a) {
    union halves u = {.all = a}, r = {{__bswapsi2(u.high), __bswapsi2(u.low)}};
    return r.all;
}

int __popcountsi2(uint32_t x) {
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f;
    return x * 0x01010101u >> 24;
}
