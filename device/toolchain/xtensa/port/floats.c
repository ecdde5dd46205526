// Float helpers that GCC calls by name. Simple operations come back to the core's own instructions; division and the
// conversions to and from double are done on bits, denormal numbers taken for zero. For MicroPython's own use
// (time-outs, printing); signwave's kernels have no floats.
#include <stdint.h>

union bits {
    float f;
    uint32_t u;
};
static const uint32_t SIGN = 0x80000000u, INF = 0x7f800000u, NOT_A_NUMBER = 0x7fc00000u, FRACTION = 0x7fffff;

float __addsf3(float a, float b) { return a + b; }
float __subsf3(float a, float b) { return a - b; }
float __mulsf3(float a, float b) { return a * b; }
int __ltsf2(float a, float b) { return a < b ? -1 : 1; }
int __lesf2(float a, float b) { return a <= b ? 0 : 1; }
int __gtsf2(float a, float b) { return a > b ? 1 : -1; }
int __gesf2(float a, float b) { return a >= b ? 0 : -1; }
int __eqsf2(float a, float b) { return a == b ? 0 : 1; }
int __nesf2(float a, float b) { return a == b ? 0 : 1; }
int __unordsf2(float a, float b) { return a != a || b != b; }
float __floatsisf(int a) { return (float)a; }
int __fixsfsi(float a) { return (int)a; }

float __floatunsisf(unsigned a) {
    return a >> 31 ? 2.0f * (float)(int)(a >> 1 | (a & 1)) : (float)(int)a;
}

unsigned __fixunssfsi(float a) {
    return a >= 2147483648.0f ? (unsigned)(int)(a - 2147483648.0f) + SIGN : (unsigned)(int)a;
}

// Quotient of two normal numbers, rounded to nearest even.
static uint32_t divide_normal(uint32_t a, uint32_t b) {
    uint32_t n = (a & FRACTION) | 0x800000, d = (b & FRACTION) | 0x800000, q = 0;
    int exponent = (int)(a >> 23 & 255) - (int)(b >> 23 & 255) + 127;
    if (n < d) {
        n <<= 1;
        exponent--;
    }
    for (int i = 0; i < 25; i++) {
        q <<= 1;
        if (n >= d) {
            n -= d;
            q |= 1;
        }
        n <<= 1;
    }
    uint32_t m = q >> 1;
    m += (q & 1) && (n || (m & 1));
    if (m >> 24) {
        m >>= 1;
        exponent++;
    }
    return exponent >= 255 ? INF : exponent <= 0 ? 0 : (uint32_t)exponent << 23 | (m & FRACTION);
}

float __divsf3(float fa, float fb) {
    union bits a = {fa}, b = {fb}, r;
    uint32_t sign = (a.u ^ b.u) & SIGN, x = a.u & ~SIGN, y = b.u & ~SIGN;
    int a_zero = x < 0x800000, b_zero = y < 0x800000;
    if (x > INF || y > INF || (x == INF && y == INF) || (a_zero && b_zero)) {
        r.u = NOT_A_NUMBER;
    } else if (x == INF || b_zero) {
        r.u = sign | INF;
    } else if (y == INF || a_zero) {
        r.u = sign;
    } else {
        r.u = sign | divide_normal(x, y);
    }
    return r.f;
}

// Doubles travel as their bits: the core has none.
uint64_t __extendsfdf2(uint32_t a) {
    uint64_t sign = (uint64_t)(a >> 31) << 63, fraction = (uint64_t)(a & FRACTION) << 29;
    uint32_t exponent = a >> 23 & 255;
    if (exponent == 255) {
        return sign | 0x7ff0000000000000ull | fraction;
    }
    return exponent ? sign | (uint64_t)(exponent + 896) << 52 | fraction : sign;
}

uint32_t __truncdfsf2(uint64_t a) {
    uint32_t sign = (uint32_t)(a >> 63) << 31;
    int exponent = (a >> 52 & 2047) - 896;
    uint64_t fraction = a & 0xfffffffffffffull;
    if (exponent == 2047 - 896) {
        return sign | INF | (fraction ? 0x400000 : 0);
    }
    if (exponent <= 0 || exponent >= 255) {
        return exponent <= 0 ? sign : sign | INF;
    }
    uint32_t r = (uint32_t)exponent << 23 | (uint32_t)(fraction >> 29), rest = fraction & 0x1fffffff;
    return sign | (r + (rest > 0x10000000 || (rest == 0x10000000 && (r & 1))));
}

uint64_t __floatsidf(int a) {
    if (!a) {
        return 0;
    }
    uint64_t sign = a < 0 ? 1ull << 63 : 0;
    uint32_t u = a < 0 ? -(uint32_t)a : (uint32_t)a;
    int exponent = 31;
    while (!(u >> 31)) {
        u <<= 1;
        exponent--;
    }
    return sign | (uint64_t)(exponent + 1023) << 52 | (uint64_t)(u & 0x7fffffff) << 21;
}

int __finitef(float x) {
    union bits u = {x};
    return (u.u >> 23 & 255) != 255;
}

float copysignf(float x, float y) {
    union bits a = {x}, b = {y};
    a.u = (a.u & ~SIGN) | (b.u & SIGN);
    return a.f;
}

float fabsf(float x) {
    union bits a = {x};
    a.u &= ~SIGN;
    return a.f;
}

float nanf(const char *tag) {
    (void)tag;
    union bits a = {.u = NOT_A_NUMBER};
    return a.f;
}
