// setjmp and longjmp for the windowed ABI.
//
// Calls rotate a window over 64 registers, so most of the callers' registers are not in memory. A call chain deep enough
// forces every older frame out to the stack, where the ABI gives each frame's registers a fixed place:
//   a0..a3 of a frame lie in the 16 bytes below its callee's stack pointer,
//   a4..a7 of a frame in the 16 bytes that end 16 below its caller's stack pointer.
// setjmp saves those places for its caller's frame; longjmp writes them back, so that its own `retw` loads the window
// that setjmp's caller had. Layout of jmp_buf, in bytes:
//   0  caller's a0..a3     16  caller's a4..a7     32  return address     36  caller's caller's a0..a3
#define FRAME 32

    // Four words from one place to another, by way of a3.
    .macro copy4 from, from_at, to, to_at
    .irp word, 0, 4, 8, 12
    l32i    a3, \from, \from_at + \word
    s32i    a3, \to, \to_at + \word
    .endr
    .endm

    .macro spill_windows
    movi    a10, 12             // 12 nested call8 use all 64 registers and more
    movi    a8, nest_calls
    callx8  a8
    .endm

    .text
    .align 4
    .global setjmp
    .type setjmp, @function
setjmp:
    entry   a1, FRAME
    spill_windows
    addi    a5, a1, -16
    copy4   a5, 0, a2, 0
    l32i    a7, a1, FRAME - 16 + 4      // the caller's caller's stack pointer
    addi    a5, a7, -32
    copy4   a5, 0, a2, 16
    s32i    a0, a2, 32
    copy4   a1, FRAME - 16, a2, 36
    movi    a2, 0
    retw

    .align 4
    .global longjmp
    .type longjmp, @function
longjmp:
    entry   a1, FRAME
    mov     a6, a3                      // the value to return; a3 is copy4's
    spill_windows
    l32i    a0, a2, 32
    addi    a5, a1, -16
    copy4   a2, 0, a5, 0
    l32i    a7, a2, 36 + 4              // as setjmp's caller had them: its caller's stack pointer ...
    addi    a5, a7, -32
    copy4   a2, 16, a5, 0
    l32i    a7, a2, 4                   // ... and its own
    addi    a5, a7, -16
    copy4   a2, 36, a5, 0
    mov     a2, a6
    retw
