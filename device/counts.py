"""How many instructions the C kernels take on a board's processor, counted under emulation: no time, no chance.

    counts, printed = count_calls("xtensawin", SCRIPT, files)       # any calls of the kernels
    model = count_model("xtensawin", swm_bytes, inputs)             # a whole model, frame by frame
    sum(model.front_end), sum(model.graph), [sum(layer) for layer in model.layers]

Each figure is the number of instructions that the processor retires in one C call, from loading its arguments to its return.
rv32imc: exact, from the processor's own counter (minstret) while QEMU executes one instruction a tick.
xtensawin: exact, from a QEMU plugin (toolchain/xtensa/count_plugin.c) that counts every instruction executed; but for the
handlers that spill and refill register windows, which user-mode emulation has not. A call chain as shallow as the
kernels' needs them a few times in a call, some 20 instructions each.
Instructions are not cycles: memory and branches cost more on silicon.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.micropython import (
    ARCHITECTURES,
    DEVICE,
    LOAD_MODEL,
    MicroPythonError,
    Output,
    Target,
    native_module,
    package_files,
    toolchain_dir,
)

CHIPS = ("rv32imc", "xtensawin")
_PLUGIN = DEVICE / "toolchain" / "xtensa" / "count_plugin.c"
_MARK = "#instructions "  # begins a printed line that holds a count

_PROLOGUE = f"""
from signwave import Model, backend
kernels = backend.kernels
def count(call, *args): print("{_MARK}%d" % call(*args))
"""

_MODEL = """
model = load()
graph, state, value, audio = model._graph, model._state, model._value, model._audio
block = bytearray(BLOCK)
def passes(each_layer):
    model.reset()
    with open("inputs.bin", "rb") as f:
        while f.readinto(block) == BLOCK:
            if model.hop: count(kernels.frontend_count, model._params, audio, block, value)
            else: value[:BLOCK] = block
            if not each_layer: count(kernels.graph_count, graph, state, value, 0, model.layers)
            else:
                for i in range(model.layers):
                    count(kernels.graph_count, graph, state, value, i, i)  # the way to the layer's record
                    count(kernels.graph_count, graph, state, value, i, i + 1)
passes(False)
passes(True)
print(len(state) + len(value) + (len(audio) if model.hop else 0), model.hop or 0)
"""


_TEXTS = """
from signwave.text import Text as Model, kernels
model = load()
text, graph, value = model._text, model._graph, model._value
with open("inputs.bin", "rb") as f:
    for length in LENGTHS:
        data = bytearray(length)
        f.readinto(data)
        count(kernels.rows_count, text, data, value)
        for i in range(model._layers):
            count(kernels.step_count, graph, value, i, i)  # the way to the layer's record
            count(kernels.step_count, graph, value, i, i + 1)
print(len(value))
"""


@dataclass
class ModelCounts:
    """Instructions by frame; `layers[i]` those of operation i. `ram_bytes`: the state and value buffers."""

    front_end: list[int]  # empty where the model has none
    graph: list[int]
    layers: list[list[int]]
    ram_bytes: int


def count_calls(chip: str, script: str, files: dict[str, bytes] | None = None, timeout_s: float = 300) -> tuple[list[int], str]:
    """Run a MicroPython script on "rv32imc" or "xtensawin"; the counts in the order of calls, and what else it printed.

    The script finds the board package, `kernels` (its native module with the counting functions), and `count`, by which it
    makes the calls to be counted: `count(kernels.graph_count, graph, state, value, 0, 1)` or `count(kernels.frontend_count,
    params, state, samples, out)`; they do the work of `graph_step` and `frontend_step`, which it must not call itself.
    Raises ValueError on another chip, MicroPythonError where the toolchain is missing or the script fails.
    """
    if chip not in CHIPS:
        raise ValueError(f"no instruction counts for '{chip}'; the chips are {', '.join(CHIPS)}")
    name = next(name for name, arch in ARCHITECTURES.items() if arch == chip)
    with tempfile.TemporaryDirectory(prefix="signwave-") as folder:
        marks = Path(folder) / "marks"
        target = Target(name) if name == "rv32" else _Xtensa(marks)
        if reason := target.missing():
            raise MicroPythonError(reason)
        files = {**package_files(native_module(chip, count=True)), **(files or {})}
        lines = target.run(_PROLOGUE + script, files, timeout_s, count=True).check().splitlines()
        counts = [int(line.removeprefix(_MARK)) for line in lines if line.startswith(_MARK)]
        if name == "xtensa":
            at = [int(line) for line in marks.read_text().split()]
            if len(at) != 2 * len(counts):
                raise MicroPythonError(f"the emulator's plugin saw {len(at)} marks in {len(counts)} calls; call only by count()")
            counts = [end - begin for begin, end in zip(at[::2], at[1::2], strict=True)]
    return counts, "".join(f"{line}\n" for line in lines if not line.startswith(_MARK))


def count_model(chip: str, model: bytes, inputs: bytes, block: int, timeout_s: float = 300) -> ModelCounts:
    """Count a model file frame by frame over `inputs`: frames of `block` bytes (16-bit samples of a hop, or features).

    Two passes: whole steps, then layer by layer, less the way to each layer's record. Raises as `count_calls` does.
    """
    files = {"model.swm": model, "inputs.bin": inputs}
    counts, printed = count_calls(chip, LOAD_MODEL + _MODEL.replace("BLOCK", str(block)), files, timeout_s)
    ram_bytes, hop = map(int, printed.split()[-2:])
    frames, front = len(inputs) // block, 1 if hop else 0
    whole, parts = np.split(np.array(counts), [(front + 1) * frames])
    whole, parts = whole.reshape(frames, -1), parts.reshape(frames, -1)[:, front:]
    layers = parts[:, 1::2] - parts[:, 0::2]
    return ModelCounts(whole[:, 0].tolist() if hop else [], whole[:, front].tolist(), layers.T.tolist(), ram_bytes)


def count_texts(chip: str, model: bytes, texts: list[bytes], timeout_s: float = 300) -> tuple[np.ndarray, int]:
    """Count a file that reads text: (text, 1 + operation) instructions, reading first; bytes of the value buffer."""
    files = package_files(native_module(chip, count=True, name="text")) | {"model.swm": model, "inputs.bin": b"".join(texts)}
    script = LOAD_MODEL + _TEXTS.replace("LENGTHS", repr([len(text) for text in texts]))
    counts, printed = count_calls(chip, script, files, timeout_s)
    table = np.array(counts).reshape(len(texts), -1)
    return np.concatenate([table[:, :1], table[:, 2::2] - table[:, 1::2]], axis=1), int(printed.split()[-1])


class _Xtensa(Target):
    """The emulated Xtensa with the plugin that writes its counts to the file `marks`."""

    def __init__(self, marks: Path):
        super().__init__("xtensa")
        self.marks = marks

    def _finish(self, command: list[str], timeout_s: float, **how) -> Output:
        plugin = f"{_built_plugin(command[0])},out={self.marks}"
        return super()._finish([command[0], "-plugin", plugin, *command[1:]], timeout_s, **how)


def _built_plugin(emulator: str) -> Path:
    """The plugin for this version of the emulator, built once. Raises MicroPythonError with the compiler's words."""
    said = subprocess.run([emulator, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    if not found:
        raise MicroPythonError(f"{emulator} --version did not say a version but: {said[:200] or 'nothing'}")
    release = int(found[1]), int(found[2])
    version = 1 if release < (9, 0) else 2 if release < (9, 1) else 3
    digest = hashlib.sha256(_PLUGIN.read_bytes() + bytes([version])).hexdigest()[:16]
    plugin = toolchain_dir() / "xtensa" / f"count_plugin-{digest}.so"
    if plugin.exists():
        return plugin
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        raise MicroPythonError("counting on xtensawin needs this computer's own C compiler, gcc; type: make toolchain")
    part = plugin.with_suffix(f".{os.getpid()}")
    options = ["-O2", "-shared", "-fPIC", "-fvisibility=hidden", f"-DPLUGIN_VERSION={version}"]
    done = subprocess.run([compiler, *options, str(_PLUGIN), "-o", str(part)], capture_output=True, text=True)
    if done.returncode:
        raise MicroPythonError(f"building the emulator's counting plugin failed:\n{done.stderr[-2000:]}")
    os.replace(part, plugin)
    return plugin
