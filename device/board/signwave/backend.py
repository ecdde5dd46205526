"""Chooses the kernels at import: the native module of this board's architecture, else the portable ones.

`kernels` is the chosen module, `name` what it is ("kernels_rv32imc" or "portable"), `reason` why, as a sentence.
"""

import sys

# By the number that MicroPython gives an architecture; bits above the low four are flags.
ARCHITECTURES = (
    None, "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensa", "xtensawin",
    "rv32imc", "rv64imc",
)  # fmt: skip


def choose(kind):
    """(kernels of a kind, "kernels" or "text", their name, why as a sentence)."""
    if sys.implementation.name != "micropython":
        return _portable(kind, "this is not MicroPython")
    number = (getattr(sys.implementation, "_mpy", 0) >> 10) & 15
    arch = ARCHITECTURES[number] if number < len(ARCHITECTURES) else None
    module = f"{kind}_{arch}"
    if arch is None:
        return _portable(kind, "this firmware loads no native code")
    try:
        return getattr(__import__("signwave." + module), module), module, "native kernels for this architecture"
    except ImportError:
        why = module + ".mpy is not installed beside signwave"
    except ValueError as error:
        why = f"{module}.mpy does not fit this firmware ({error})"
    except MemoryError:
        why = "no executable RAM is left for " + module + ".mpy"
    return _portable(kind, why)


def _portable(kind, why):
    module = __name__[: -len("backend")] + ("kernels" if kind == "kernels" else "textkernels")
    return __import__(module, None, None, ("",)), "portable", "portable kernels, slow: " + why


kernels, name, reason = choose("kernels")
