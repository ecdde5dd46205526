// What the glue of both native modules shares.
#ifndef SIGNWAVE_GLUE_H
#define SIGNWAVE_GLUE_H

#include "py/dynruntime.h"

// The instructions retired so far (rv32), or the cycles (x64). Xtensa: a no-op that no compiler writes, where
// the emulator's plugin takes its count (device/counts.py), because user mode may not read the counter.
#ifdef SW_COUNT
static uint32_t count_now(void) {
    uint32_t v = 0;
    #if defined(__riscv)
    __asm__ volatile ("csrr %0, minstret" : "=r" (v));
    #elif defined(__xtensa__)
    __asm__ volatile ("_or a1, a1, a1");
    #else
    __asm__ volatile ("rdtsc" : "=a" (v) : : "edx");
    #endif
    return v;
}
#else
#define count_now() (0)
#endif

#endif
