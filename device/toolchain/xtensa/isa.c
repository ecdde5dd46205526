// Describes an ESP32-like core to GCC and binutils, which load this as a shared object (XTENSA_GNU_CONFIG).
// The instruction tables come from QEMU's core of the same family and are compiled in beside this file.
// Only options that ESP32, S2 and S3 share matter; what a module must not use (hardware division of floats,
// big-endian, wide branches) is off.
#define XCHAL_HAVE_BE 0
#define XCHAL_MAX_INSTRUCTION_SIZE 3
#define XCHAL_INST_FETCH_WIDTH 4
#define XCHAL_DATA_WIDTH 4

// Register windows: what separates this family from the ESP8266, for which the compiler package is made.
#define XCHAL_HAVE_WINDOWED 1
#define XCHAL_NUM_AREGS 64
#define XTHAL_ABI_WINDOWED 0
#define XTHAL_ABI_CALL0 1
#define XSHAL_ABI XTHAL_ABI_WINDOWED

// Integer instructions.
#define XCHAL_HAVE_DENSITY 1
#define XCHAL_HAVE_CONST16 0
#define XCHAL_HAVE_L32R 1
#define XSHAL_USE_ABSOLUTE_LITERALS 0
#define XCHAL_HAVE_ABS 1
#define XCHAL_HAVE_ADDX 1
#define XCHAL_HAVE_MAC16 1
#define XCHAL_HAVE_MUL16 1
#define XCHAL_HAVE_MUL32 1
#define XCHAL_HAVE_MUL32_HIGH 0
#define XCHAL_HAVE_DIV32 1
#define XCHAL_HAVE_NSA 1
#define XCHAL_HAVE_MINMAX 1
#define XCHAL_HAVE_SEXT 1
#define XCHAL_HAVE_CLAMPS 1
#define XCHAL_HAVE_DEPBITS 0
#define XCHAL_HAVE_BOOLEANS 1
#define XCHAL_HAVE_LOOPS 1
#define XCHAL_HAVE_WIDE_BRANCHES 0
#define XCHAL_HAVE_PREDICTED_BRANCHES 0

// Single-precision floats: the port computes with them, signwave's kernels do not.
#define XCHAL_HAVE_FP 1
#define XCHAL_HAVE_FP_DIV 0
#define XCHAL_HAVE_FP_RECIP 0
#define XCHAL_HAVE_FP_SQRT 0
#define XCHAL_HAVE_FP_RSQRT 0
#define XCHAL_HAVE_FP_POSTINC 1

// System options that the description must name.
#define XCHAL_HAVE_THREADPTR 1
#define XCHAL_HAVE_RELEASE_SYNC 1
#define XCHAL_HAVE_S32C1I 1
#define XCHAL_HAVE_MMU 0
#define XCHAL_HAVE_DEBUG 1
#define XCHAL_NUM_IBREAK 2
#define XCHAL_NUM_DBREAK 2
#define XCHAL_DEBUGLEVEL 6
#define XCHAL_ICACHE_SIZE 0
#define XCHAL_DCACHE_SIZE 0
#define XCHAL_ICACHE_LINESIZE 4
#define XCHAL_DCACHE_LINESIZE 4
#define XCHAL_ICACHE_LINEWIDTH 2
#define XCHAL_DCACHE_LINEWIDTH 2
#define XCHAL_DCACHE_IS_WRITEBACK 0
#define XTENSA_MARCH_LATEST 260003
#define XTENSA_MARCH_EARLIEST 260003

#define XTENSA_CONFIG_DEFINITION
#include "xtensa-dynconfig.h"

__attribute__((visibility("default"))) XTENSA_CONFIG_INSTANCE_LIST;
int plugin_is_GPL_compatible;  // GCC refuses to load a plug-in without it
const char *const xtensa_config_strings[] = {"__XTENSA_ESP32_DYNCONFIG__=1", 0};
