#pragma once
typedef int jmp_buf[13];  // setjmp.S says what is in it
int setjmp(jmp_buf) __attribute__((returns_twice));
void longjmp(jmp_buf, int) __attribute__((noreturn));
