// Features as on boards of this size, less what needs a console, a clock or hardware.
#include <stdint.h>
#include <stddef.h>
#include <alloca.h>
#define MICROPY_CONFIG_ROM_LEVEL    (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)
#define MICROPY_NLR_SETJMP          (1)
#define MICROPY_EMIT_XTENSAWIN      (1)
#define MICROPY_EMIT_INLINE_XTENSA  (1)
#define MICROPY_PERSISTENT_CODE_LOAD (1)
#define MICROPY_READER_VFS          (1)
#define MICROPY_ENABLE_GC           (1)
#define MICROPY_LONGINT_IMPL        (MICROPY_LONGINT_IMPL_MPZ)
#define MICROPY_FLOAT_IMPL          (MICROPY_FLOAT_IMPL_FLOAT)
#define MICROPY_USE_INTERNAL_PRINTF (1)
#define MICROPY_PY_SYS_PLATFORM     "xtuser"
#define MICROPY_PY_SYS_STDIO_BUFFER (0)
#define MICROPY_PY_SYS_STDFILES     (0)
#define MICROPY_PY_SELECT           (0)
#define MICROPY_PY_TIME             (0)
#define MICROPY_PY_ASYNCIO          (0)
#define MICROPY_PY_MACHINE          (0)
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC (1)
#define MICROPY_PY_BUILTINS_INPUT   (0)
#define MICROPY_PY_BUILTINS_HELP    (0)
#define MICROPY_KBD_EXCEPTION       (0)
#define MICROPY_VFS                 (1)
#define MICROPY_VFS_ROM             (1)
#define MICROPY_VFS_ROM_IOCTL       (0)
#define MICROPY_VFS_FAT             (0)
#define MICROPY_VFS_LFS1            (0)
#define MICROPY_VFS_LFS2            (0)
#define MICROPY_HW_BOARD_NAME       "user-mode emulation"
#define MICROPY_HW_MCU_NAME         "windowed Xtensa"
#define MP_SSIZE_MAX (0x7fffffff)
#define UINT_FMT "%u"
#define INT_FMT "%d"
#define HEX_FMT "%x"
typedef int mp_int_t;
typedef unsigned int mp_uint_t;
typedef int mp_off_t;
#define MP_NEED_LOG2 (1)
#define MP_STATE_PORT MP_STATE_VM
