// A plugin for QEMU's Xtensa emulator: how many instructions are executed between marks in a program.
// At every mark, the no-op `or a1, a1, a1`, it adds a line to the file of its argument `out=FILE`: the instructions so
// far, the mark included. Declares what it uses of qemu-plugin.h, which few distributions bring; PLUGIN_VERSION is the
// interface's version: 1 up to QEMU 8, 2 for 9.0, 3 behind.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*executed_t)(unsigned vcpu, void *user);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id_t id, void (*f)(plugin_id_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, executed_t f, int flags, void *user);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
#if PLUGIN_VERSION < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t room);
#endif

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;

static uint64_t executed;
static FILE *out;

static void on_instruction(unsigned vcpu, void *user) {
    (void)vcpu;
    (void)user;
    executed++;
}

static void on_mark(unsigned vcpu, void *user) {
    on_instruction(vcpu, user);
    fprintf(out, "%llu\n", (unsigned long long)executed);
}

static int is_mark(const struct qemu_plugin_insn *insn) {
    if (qemu_plugin_insn_size(insn) != 3) {
        return 0;
    }
    #if PLUGIN_VERSION < 3
    const uint8_t *b = qemu_plugin_insn_data(insn);
    #else
    uint8_t b[3];
    qemu_plugin_insn_data(insn, b, sizeof(b));
    #endif
    return b[0] == 0x10 && b[1] == 0x11 && b[2] == 0x20;
}

static void on_translation(plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        qemu_plugin_register_vcpu_insn_exec_cb(insn, is_mark(insn) ? on_mark : on_instruction, 0, NULL);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w"))) {
        return -1;
    }
    setvbuf(out, NULL, _IOLBF, 0);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
