"""Exact instruction counts of a model on a board's processor, from emulation: the same on every computer and every run.

    table = bench("model.swm", "xtensawin")
    table["instructions_per_second_of_audio"]        # or, of a file that reads: bench_text(...)["instructions_per_text"]

Binary layers add up set bits alone, so counts depend on what is heard: `inputs` says on what.
Instructions are not cycles: memory and branches cost more on silicon.
"""

from pathlib import Path

import numpy as np

from device.counts import count_calls, count_model, count_texts
from device.micropython import code_size, native_module
from export import format as swm
from export.graph import Conv1b, ConvI4, DenseI8, Operation, SumWindow

STACK = 1024  # bytes that the text core takes of it at most

# What the same layer costs otherwise: XOR and a popcount word by word, and multiplications of int8 by int8.
_YARDSTICKS = """
x = bytearray(4096)
for inputs, outputs in SHAPES:
    w, y = bytearray((inputs + 3) * outputs), bytearray(4 * outputs)
    for is_int8 in (False, True):
        count(kernels.yardstick_count, is_int8, inputs, outputs, w, x, y)
"""


def bench(path: str | Path, chip: str = "rv32imc", frames: int = 50, seed: int = 0) -> dict:
    """Instruction counts on a chip of `device.counts.CHIPS`, averaged over `frames` frames of made-up syllables.

    instructions_per_second_of_audio: front end and graph together (None where the model has no front end);
    front_end_instructions_per_frame, graph_instructions_per_frame, frames_per_second; layers: list of {name, binary_macs,
    int_macs, instructions, naive, int8}, all per frame, the last two being what naive popcount and an int8 layer of the
    same shape take (None where there is no such layer); naive_per_second_of_audio and int8_per_second_of_audio: the whole
    network so built, behind the same front end;
    code_bytes: what the native module takes of executable RAM;
    ram_bytes: state and value buffers, all that is needed beside the model's bytes.
    Raises FormatError on a bad file, MicroPythonError where the toolchain is missing, ValueError on another chip.
    """
    model = swm.read(path)
    inputs = _inputs(model, frames, seed)
    counts = count_model(chip, Path(path).read_bytes(), inputs, len(inputs) // frames)
    layers = [_layer(op, n) for op, n in zip(model.ops, counts.layers, strict=True)]
    for layer, (naive, int8) in zip(layers, _yardsticks(chip, model.ops), strict=True):
        layer["naive"], layer["int8"] = naive, int8
    front_end, graph = np.mean(counts.front_end) if counts.front_end else 0.0, np.mean(counts.graph)
    rate = model.front_end.frames_per_second if model.front_end else None

    def second(kind: str) -> int | None:
        return rate and round((front_end + sum(layer[kind] or layer["instructions"] for layer in layers)) * rate)

    return {
        "chip": chip,
        "inputs": "made-up syllables and pauses" if model.front_end else "random features",
        "instructions_per_second_of_audio": rate and round((front_end + graph) * rate),
        "naive_per_second_of_audio": second("naive"),
        "int8_per_second_of_audio": second("int8"),
        "front_end_instructions_per_frame": round(front_end),
        "graph_instructions_per_frame": round(graph),
        "frames_per_second": rate,
        "layers": layers,
        "code_bytes": code_size(native_module(chip)),
        "ram_bytes": counts.ram_bytes,
    }


def bench_text(path: str | Path, chip: str = "rv32imc", characters: int = 40, texts: int = 20, seed: int = 0) -> dict:
    """Instruction counts of a file that reads text, averaged over `texts` of as many characters as a command has.

    They are words of the golden text and of the labels, in any order. instructions_per_text: all; read_instructions: bytes to
    rows; layers: list of {name, instructions}; rows_per_text; code_bytes: the native module; ram_bytes: beside the model's
    bytes, the value buffer and what the kernels take of the stack. Raises as `bench` does.
    """
    model = swm.read(path)
    rng = np.random.default_rng(seed)
    words = f"{model.reading() and model.golden.text} {' '.join(model.labels)}".replace("_", " ").split()
    inputs = [" ".join(rng.choice(words, characters)).encode()[:characters] for _ in range(texts)]
    counts, value_bytes = count_texts(chip, Path(path).read_bytes(), inputs)
    layers = [{"name": op.name, "instructions": round(np.mean(n))} for op, n in zip(model.ops, counts[:, 1:].T, strict=True)]
    return {
        "chip": chip,
        "characters": characters,
        "instructions_per_text": round(counts.sum(1).mean()),
        "most_instructions": int(counts.sum(1).max()),
        "read_instructions": round(counts[:, 0].mean()),
        "rows_per_text": round(np.mean([len(model.text.rows(text)) for text in inputs]), 1),
        "layers": layers,
        "code_bytes": code_size(native_module(chip, name="text")),
        "ram_bytes": value_bytes + STACK,
    }


def _yardsticks(chip: str, ops: list[Operation]) -> list[tuple[int | None, int | None]]:
    """(naive popcount, int8) instructions of each operation's shape; None where one does not apply."""
    shapes = sorted({(op.taps * op.cin, op.cout) for op in ops if not isinstance(op, SumWindow)})
    counts, _ = count_calls(chip, _YARDSTICKS.replace("SHAPES", repr(shapes)))
    found = dict(zip(shapes, zip(counts[::2], counts[1::2], strict=True), strict=True))
    by_shape = [found.get((op.taps * op.cin, op.cout), (None, None)) for op in ops]
    return [(naive if isinstance(op, Conv1b) else None, int8) for op, (naive, int8) in zip(ops, by_shape, strict=True)]


def _inputs(model: swm.Model, frames: int, seed: int) -> bytes:
    """Bytes of `frames` hops of a buzzing voice in syllables and pauses over faint noise, or of random feature frames."""
    rng = np.random.default_rng(seed)
    if model.front_end is None:
        kind = np.int8 if model.ops[0].reads == "i8" else np.int16
        return rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, (frames, model.ops[0].cin)).astype(kind).tobytes()
    n, rate = frames * model.front_end.hop, model.front_end.rate_hz
    t = np.arange(n) / rate
    syllable = np.floor(t * 4).astype(int)  # four a second, every third one silent
    formants = rng.uniform((300, 900, 2200), (800, 2200, 3200), (syllable[-1] + 1, 3))[syllable]
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * t)) / rate
    voice = sum(
        np.sin(k * phase) * np.exp(-(((130 * k - formants) / 250) ** 2)).sum(axis=1) for k in range(1, int(rate / 2 / 160))
    )
    loud = np.sin(np.pi * (t * 4 % 1)) * (syllable % 3 != 2)
    return np.clip(3000 * voice * loud + rng.normal(0, 20, n), -32768, 32767).astype("<i2").tobytes()


def _layer(op: Operation, instructions: list[int]) -> dict:
    macs = op.taps * op.cin * op.cout
    return {
        "name": op.name,
        "binary_macs": macs if isinstance(op, Conv1b) else 0,
        "int_macs": macs if isinstance(op, ConvI4 | DenseI8) else 0,
        "instructions": round(np.mean(instructions)),
    }
