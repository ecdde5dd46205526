"""Chooses the kernels at import: the native module of this board's architecture, else the portable ones.

`kernels` is the chosen module, `name` what it is ("kernels_rv32imc" or "portable"), `reason` why, as a sentence.
"""

import sys

# By the number that MicroPython gives an architecture; bits above the low four are flags.
ARCHITECTURES = (
    None, "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensa", "xtensawin",
    "rv32imc", "rv64imc",
)  # fmt: skip


def _native():
    """The native module and None, or None and the reason why there is none."""
    if sys.implementation.name != "micropython":
        return None, "this is not MicroPython"
    number = (getattr(sys.implementation, "_mpy", 0) >> 10) & 15
    arch = ARCHITECTURES[number] if number < len(ARCHITECTURES) else None
    if arch is None:
        return None, "this firmware loads no native code"
    module = "kernels_" + arch
    try:
        return getattr(__import__("signwave." + module), module), None
    except ImportError:
        return None, module + ".mpy is not installed beside signwave"
    except ValueError as error:
        return None, f"{module}.mpy does not fit this firmware ({error})"
    except MemoryError:
        return None, "no executable RAM is left for " + module + ".mpy"


kernels, reason = _native()
if kernels:
    name = kernels.__name__.split(".")[-1]
    reason = "native kernels for this architecture"
else:
    from . import kernels

    name = "portable"
    reason = "portable kernels, slow: " + reason
