// Program start. a0 = 0 ends the chain of frames for whoever unwinds it.
    .text
    .align 4
    .global _start
_start:
    movi    a0, 0
    movi    a8, cmain
    callx8  a8
