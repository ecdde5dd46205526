"""How little heap a board needs for the package and a model: found by trying, on ESP32-C3's architecture under emulation.

    heap_needed(bytecode_files(), "model.swm")      # bytes of free heap with which import and load just succeed

That counts what is used at the worst moment, and holes in the heap, which no sum of sizes does.
"""

from pathlib import Path

from device.micropython import MicroPythonError, Target, native_module, package_files
from device.package import build

_SCRIPT = """
import gc
gc.collect()
ballast = bytearray(gc.mem_free() - HEAP)
gc.collect()
begin = gc.mem_alloc()
import signwave
gc.collect()
imported = gc.mem_alloc() - begin
model = signwave.Model("model.swm") if MODEL else None
gc.collect()
print("heap", imported, gc.mem_alloc() - begin)
"""


def source_files() -> dict[str, bytes]:
    """The package as it is in the repository: compiled on the board at import."""
    return package_files(native_module("rv32imc"))


def bytecode_files() -> dict[str, bytes]:
    """The package as it is installed."""
    package = build(["rv32imc"])
    return package.files | package.loader


def attempt(files: dict[str, bytes], model: str | Path | None, heap_bytes: int) -> tuple[int, int] | None:
    """(bytes that stay in use after import, after loading too) with so much free heap; None where it does not suffice."""
    data = {} if model is None else {"model.swm": Path(model).read_bytes()}
    script = _SCRIPT.replace("HEAP", str(heap_bytes)).replace("MODEL", str(model is not None))
    output = Target("rv32").run(script, files | data)
    if output.returncode:
        if "MemoryError" in output.stderr or "of RAM in one piece" in output.stderr:
            return None
        output.check()
    return tuple(int(part) for part in output.stdout.split()[-2:])


def heap_needed(files: dict[str, bytes], model: str | Path | None = None, step: int = 512, most: int = 160 * 1024) -> int:
    """The least free heap, in multiples of `step` bytes, with which import (and loading a model) succeeds.

    Raises MicroPythonError where `most` bytes do not suffice.
    """
    low, high = 0, most // step
    if attempt(files, model, high * step) is None:
        raise MicroPythonError(f"{most:,} bytes of heap do not suffice")
    while high - low > 1:
        middle = (low + high) // 2
        if attempt(files, model, middle * step) is None:
            low = middle
        else:
            high = middle
    return high * step
