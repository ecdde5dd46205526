// The port: system calls, the heap, and one job. Standard input brings u32 length, that many bytes of archive
// (files for the script, kept at a fixed address, see link.ld) and then the script, which is run.
#include <string.h>
#include "py/compile.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stackctrl.h"

enum { SYS_READ = 12, SYS_WRITE = 13, SYS_EXIT = 118 };  // Linux on Xtensa numbers them so
enum { STDIN = 0, STDOUT = 1, STDERR = 2 };
#define HEAP_BYTES (4 << 20)
#define SCRIPT_BYTES (1 << 20)
#define ARCHIVE_BYTES (32 << 20)

static uint32_t heap[HEAP_BYTES / 4];
static char script[SCRIPT_BYTES];
__attribute__((section(".archive"), aligned(16))) static char archive[ARCHIVE_BYTES];
static void *stack_top;

static long system_call(long number, long a, long b, long c) {
    register long a2 __asm__("a2") = number;
    register long a6 __asm__("a6") = a;
    register long a3 __asm__("a3") = b;
    register long a4 __asm__("a4") = c;
    __asm__ volatile("syscall" : "+r"(a2) : "r"(a6), "r"(a3), "r"(a4) : "memory");
    return a2;
}

__attribute__((noreturn)) static void end(int status) {
    for (;;) {
        system_call(SYS_EXIT, status, 0, 0);
    }
}

static void write_all(int file, const char *text, size_t n) {
    while (n > 0) {
        long done = system_call(SYS_WRITE, file, (long)text, n);
        if (done <= 0) {
            return;
        }
        text += done;
        n -= done;
    }
}

__attribute__((noreturn)) static void die(const char *text) {
    write_all(STDERR, text, strlen(text));
    end(3);
}

static size_t read_upto(char *to, size_t n) {
    size_t at = 0;
    long got;
    while (at < n && (got = system_call(SYS_READ, STDIN, (long)(to + at), n - at)) > 0) {
        at += got;
    }
    return at;
}

mp_uint_t mp_hal_stdout_tx_strn(const char *text, size_t n) {
    write_all(STDOUT, text, n);
    return n;
}

int mp_hal_stdin_rx_chr(void) {
    return 4;  // no console: end of file
}

void nlr_jump_fail(void *value) {
    (void)value;
    die("an exception outside every handler\n");
}

static void print_error(void *env, const char *text, size_t n) {
    (void)env;
    write_all(STDERR, text, n);
}

// setjmp.S: nested calls, each with a live value, force the register windows out to the stack.
__attribute__((noinline)) int nest_calls(int n) {
    volatile int x = n;
    return n <= 0 ? x : nest_calls(n - 1) + x;
}

void gc_collect(void) {
    gc_collect_start();
    nest_calls(12);  // references in registers must be in memory to be seen
    volatile uint32_t here = 0;
    uintptr_t sp = ((uintptr_t)&here & ~15u) - 64;
    gc_collect_root((void **)sp, ((uintptr_t)stack_top - sp) / sizeof(uint32_t));
    gc_collect_end();
}

static int exit_status(mp_obj_t exception) {
    const mp_obj_type_t *type = mp_obj_get_type(exception);
    if (!mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(type), MP_OBJ_FROM_PTR(&mp_type_SystemExit))) {
        const mp_print_t to_stderr = {NULL, print_error};
        mp_obj_print_exception(&to_stderr, exception);
        return 1;
    }
    mp_obj_t value = mp_obj_exception_get_value(exception);
    mp_int_t status = 1;
    return value == mp_const_none ? 0 : mp_obj_get_int_maybe(value, &status) ? status : 1;
}

static int run_script(size_t n) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        return exit_status(MP_OBJ_FROM_PTR(nlr.ret_val));
    }
    mp_lexer_t *lexer = mp_lexer_new_from_str_len(MP_QSTR__lt_stdin_gt_, script, n, 0);
    qstr name = lexer->source_name;
    mp_parse_tree_t tree = mp_parse(lexer, MP_PARSE_FILE_INPUT);
    mp_call_function_0(mp_compile(&tree, name, false));
    nlr_pop();
    return 0;
}

void cmain(void) {
    volatile int here;
    stack_top = (void *)(((uintptr_t)&here + 256) & ~15u);
    uint32_t length = 0;
    if (read_upto((char *)&length, 4) != 4 || length > ARCHIVE_BYTES || read_upto(archive, length) != length) {
        die("the archive on standard input is incomplete or larger than 32 MiB\n");
    }
    size_t n = read_upto(script, SCRIPT_BYTES);
    if (n == SCRIPT_BYTES) {
        die("the script is longer than 1 MiB\n");
    }
    mp_stack_ctrl_init();
    mp_stack_set_limit(200 * 1024);
    gc_init(heap, (char *)heap + HEAP_BYTES);
    mp_init();
    int status = run_script(n);
    mp_deinit();
    end(status);
}
