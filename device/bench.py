"""Exact instruction counts of a model on a board's processor, from emulation: the same on every computer and every run.

    table = bench("model.swm")
    table["instructions_per_second_of_audio"]

Counted inside the C calls with the processor's own counter of retired instructions, while the emulator executes one
instruction a tick. Instructions are not cycles: memory and branches cost more on silicon.
"""

import json
from pathlib import Path

import numpy as np

from device.micropython import LOAD_MODEL, MicroPythonError, Target, native_module, package_files
from export import format as swm
from export.graph import Conv1b, ConvI8, DenseI8, Operation

# Two passes over the same frames: whole steps, then layer by layer less the way to each layer's record.
_SCRIPT = """
import json
from signwave import Model, backend
kernels, model = backend.kernels, load()
graph, state, value = model._graph, model._state, model._value
front_end, whole, layers = 0, 0, [0] * model.layers
block = bytearray(BLOCK)
for each_layer in (False, True):
    model.reset()
    with open("inputs.bin", "rb") as f:
        for _ in range(FRAMES):
            f.readinto(block)
            if model.hop and not each_layer:
                front_end += kernels.frontend_count(model._params, model._audio, block, value)
            elif model.hop:
                kernels.frontend_step(model._params, model._audio, block, value)
            else:
                value[:BLOCK] = block
            if not each_layer:
                whole += kernels.graph_count(graph, state, value, 0, model.layers)
                continue
            for i in range(model.layers):
                way = kernels.graph_count(graph, state, value, i, i)
                layers[i] += kernels.graph_count(graph, state, value, i, i + 1) - way
ram = len(state) + len(value) + (len(model._audio) if model.hop else 0)
print(json.dumps([front_end, whole, layers, ram]))
"""


def bench(path: str | Path, chip: str = "rv32imc", frames: int = 50, seed: int = 0) -> dict:
    """Instruction counts on ESP32-C3's architecture, averaged over `frames` frames of seeded noise and tones.

    instructions_per_second_of_audio: front end and graph together (None where the model has no front end);
    front_end_instructions_per_frame, graph_instructions_per_frame, frames_per_second;
    layers: list of {name, binary_macs, int8_macs, instructions}, all per frame;
    code_bytes: the native module's size; ram_bytes: state and value buffers, all that is needed beside the model's bytes.
    Raises FormatError on a bad file, MicroPythonError where the toolchain is missing, ValueError on another chip.
    """
    if chip != "rv32imc":
        raise ValueError(f"no exact counts for '{chip}': only rv32imc's emulator counts instructions exactly")
    model, target = swm.read(path), Target("rv32")
    if reason := target.missing():
        raise MicroPythonError(reason)
    inputs = _inputs(model, frames, seed)
    block = len(inputs) // frames
    script = LOAD_MODEL + _SCRIPT.replace("BLOCK", str(block)).replace("FRAMES", str(frames))
    files = {**package_files(native_module(chip, count=True)), "model.swm": Path(path).read_bytes(), "inputs.bin": inputs}
    output = target.run(script, files, timeout_s=300, count=True)
    front_end, whole, layers, ram_bytes = json.loads(output.check())
    rate = model.front_end.frames_per_second if model.front_end else None
    return {
        "chip": chip,
        "instructions_per_second_of_audio": round((front_end + whole) / frames * rate) if rate else None,
        "front_end_instructions_per_frame": round(front_end / frames),
        "graph_instructions_per_frame": round(whole / frames),
        "frames_per_second": rate,
        "layers": [_layer(op, n / frames) for op, n in zip(model.ops, layers, strict=True)],
        "code_bytes": native_module(chip).stat().st_size,
        "ram_bytes": ram_bytes,
    }


def _inputs(model: swm.Model, frames: int, seed: int) -> bytes:
    """Bytes of `frames` hops of audio whose loudness changes, or of feature frames."""
    rng = np.random.default_rng(seed)
    if model.front_end is None:
        kind = np.int8 if model.ops[0].reads == "i8" else np.int16
        return rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, (frames, model.ops[0].cin)).astype(kind).tobytes()
    hop = model.front_end.hop
    loud = np.exp(rng.uniform(np.log(30), np.log(12000), (frames, 1)))
    noise = rng.uniform(-1, 1, (frames, hop)) + np.sin(np.arange(frames * hop) * 0.2).reshape(frames, hop)
    return (loud * noise).astype("<i2").tobytes()


def _layer(op: Operation, instructions: float) -> dict:
    macs = op.taps * op.cin * op.cout
    return {
        "name": op.name,
        "binary_macs": macs if isinstance(op, Conv1b) else 0,
        "int8_macs": macs if isinstance(op, ConvI8 | DenseI8) else 0,
        "instructions": round(instructions),
    }
