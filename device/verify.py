"""Runs one model file through every interpreter that this computer has and compares every bit of every frame's result.

    report = verify("model.swm", inputs=12)
    report.identical, report.interpreters, report.differences

The reference (NumPy) is the measure; the others are the C core on the host, and in MicroPython the portable kernels and the
native modules of this computer (x64), of ESP32-C3 (rv32imc) and of ESP32 and S3 (xtensawin), the last two under emulation.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from device.micropython import LOAD_MODEL, MicroPythonError, Target, native_module, package_files
from export import format as swm
from export import reference
from export.graph import encode_graph

# name in a report: (target, native kernels)
MICROPYTHON = {
    "micropython-portable": ("pc", False),
    "micropython-x64": ("pc", True),
    "micropython-rv32imc": ("rv32", True),
    "micropython-xtensawin": ("xtensa", True),
}
INTERPRETERS = ("reference", "native", *MICROPYTHON)

# inputs.bin: u32 clips; a clip: u32 is it audio, u32 frames, the frames' bytes. Prints a line of hexadecimals a frame.
_SCRIPT = """
import gc, struct
from binascii import hexlify
from signwave import Model, backend
if backend.name != EXPECTED: raise RuntimeError(backend.reason)
model = load()
count = 4 * len(model.labels)
with open("inputs.bin", "rb") as f:
    head = bytearray(8)
    f.readinto(memoryview(head)[:4])
    for _ in range(struct.unpack("<I", memoryview(head)[:4])[0]):
        f.readinto(head)
        audio, frames = struct.unpack("<II", head)
        block = bytearray(2 * model.hop if audio else model.frame_bytes)
        step = model.step if audio else model.step_features
        model.reset()
        for _ in range(frames):
            f.readinto(block)
            step(block)
            print(str(hexlify(memoryview(model._value)[:count]), "ascii"))
print("self test", model.self_test())
"""

# inputs.bin: u32 inputs; an input: u32 is it text, u32 bytes, text or rows as the value buffer begins.
_TEXT_SCRIPT = """
import gc, struct
from binascii import hexlify
from signwave.text import Text as Model, kernels, kernels_name, reason
if kernels_name != EXPECTED: raise RuntimeError(reason)
model = load()
value = model._value
with open("inputs.bin", "rb") as f:
    head = bytearray(8)
    f.readinto(memoryview(head)[:4])
    for _ in range(struct.unpack("<I", memoryview(head)[:4])[0]):
        f.readinto(head)
        is_text, length = struct.unpack("<II", head)
        data = bytearray(length)
        if length: f.readinto(data)
        if is_text: model.run(data)
        else:
            value[:length] = data
            kernels.text_step(model._graph, value, 0, model._layers)
        print(str(hexlify(memoryview(value)[:4 * len(model.labels)]), "ascii"))
print("self test", model.self_test())
"""


@dataclass
class Report:
    """What was compared. `identical` speaks of `interpreters`; `skipped` says why the others did not run."""

    identical: bool
    interpreters: list[str]
    inputs: int
    differences: list[str]
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass
class Clip:
    """One input: audio i16 (frame, hop), or features (frame, channel) of the type that the graph reads.

    Of a file that reads text: a text (audio is true), u8 (byte,), or rows u16 (row,); one frame comes of it.
    """

    audio: bool
    frames: np.ndarray


def verify(path: str | Path, inputs: int = 12, seed: int = 0, targets: Iterable[str] | None = None,
           progress: Callable[[str], None] = lambda name: None) -> Report:  # fmt: skip
    """Compare interpreters (names of INTERPRETERS; None for all that can run) on `inputs` random clips and the golden one.

    `progress` is told each interpreter's name before it runs. Raises FormatError where the file is not valid, OSError where it
    cannot be read, ValueError on an unknown name.
    """
    chosen = list(INTERPRETERS) if targets is None else list(targets)
    if unknown := [name for name in chosen if name not in INTERPRETERS]:
        raise ValueError(f"unknown interpreter {', '.join(unknown)}; the interpreters are {', '.join(INTERPRETERS)}")
    if inputs < 1:
        raise ValueError(f"{inputs} inputs, at least 1 is needed")
    model, data = swm.read(path), Path(path).read_bytes()
    clips = random_clips(model, inputs, seed)
    progress("reference")
    expected = [_reference(model, clip) for clip in clips]
    report = Report(True, ["reference"], len(clips), [])
    if not _is_golden(model, expected[0][-1]):
        report.differences.append("reference: the result of the stored golden test is another")
    for name in chosen:
        if name == "reference":
            continue
        progress(name)
        try:
            got = _native(model, clips) if name == "native" else _micropython(name, data, clips, model)
        except _Unavailable as reason:
            report.skipped[name] = str(reason)
            continue
        except MicroPythonError as error:
            got, message = None, str(error)
        report.interpreters.append(name)
        report.differences += _differences(name, expected, got) if got else [f"{name}: {message}"]
    report.identical = not report.differences
    return report


def random_clips(model: swm.Model, n: int, seed: int) -> list[Clip]:
    """The golden input, then n clips: feature frames, and audio too where the model has a front end; 4 to 32 frames each."""
    rng = np.random.default_rng(seed)
    if model.text is not None:
        return _random_texts(rng, model, n)
    clips = [Clip(False, reference.golden_input(model.ops[0], model.golden.seed, model.golden.frames))]
    for i in range(n):
        frames = int(rng.integers(4, 33))
        if model.front_end is not None and i % 2 == 0:
            clips.append(Clip(True, _random_audio(rng, frames, model.front_end.hop)))
        else:
            clips.append(Clip(False, _random_features(rng, frames, model.ops[0])))
    return clips


def _random_texts(rng: np.random.Generator, model: swm.Model, n: int) -> list[Clip]:
    """The golden text, then by turns its and the labels' words, damaged bytes of them, letters of the file, and rows."""
    words = f"{model.golden.text} {' '.join(model.labels)} 12:30 don't 温度 é".replace("_", " ").split()
    letters = [r.first + int(rng.integers(0, r.last - r.first + 1)) for r in model.text.folding.ranges] + list(range(128))
    out = [Clip(True, np.frombuffer(model.golden.text.encode(), np.uint8))]
    for i in range(n):
        raw = " ".join(rng.choice(words, int(rng.integers(0, 20)))).encode()
        if i % 4 == 1:
            raw = bytes(rng.integers(0, 256) if rng.random() < 0.2 else b for b in raw)
        elif i % 4 == 2:
            raw = "".join(map(chr, rng.choice(letters, int(rng.integers(0, 100))))).encode()
        if i % 4 == 3:
            rows = rng.integers(0, model.ops[0].cin, int(rng.choice([0, 1, 40, 512])))
            out.append(Clip(False, rows.astype("<u2")))
        else:
            out.append(Clip(True, np.frombuffer(raw, np.uint8)))
    return out


def _is_golden(model: swm.Model, result: np.ndarray) -> bool:
    if model.text is not None:
        return swm.GoldenText.crc_of(result) == model.golden.crc
    return result.tolist() == model.golden.result


def _random_audio(rng: np.random.Generator, frames: int, hop: int) -> np.ndarray:
    """Tones and noise, at a loudness of its own each hop, from silence to clipping: i16 (frame, hop)."""
    loud = rng.choice([0, 1, 30, 1000, 12000, 32767, 100000], (frames, 1))
    time = np.arange(frames * hop).reshape(frames, hop)
    sound = np.sin(time * rng.uniform(0.01, 3)) * rng.uniform(0, 1) + rng.uniform(-1, 1, (frames, hop)) * rng.uniform(0, 1)
    return np.clip(loud * sound, -32768, 32767).astype(np.int16)


def _random_features(rng: np.random.Generator, frames: int, first) -> np.ndarray:
    """Noise over a random part of the type's range, held for some frames in some clips: (frame, channel)."""
    dtype = np.int8 if first.reads == "i8" else np.int16
    low, high = np.sort(rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, 2))
    x = rng.integers(low, high + 1, (frames, first.cin)).astype(dtype)
    return np.repeat(x[::3], 3, axis=0)[:frames] if rng.random() < 0.3 else x


def _reference(model: swm.Model, clip: Clip) -> np.ndarray:
    if model.text is not None:
        return reference.run(model.ops, [model.text.rows(clip.frames.tobytes()) if clip.audio else clip.frames])
    frames = reference.log_mel(clip.frames.reshape(-1), model.front_end) if clip.audio else clip.frames
    return reference.run(model.ops, frames)


class _Unavailable(Exception):
    """An interpreter that cannot run here, and why."""


def _native(model: swm.Model, clips: list[Clip]) -> list[np.ndarray]:
    try:
        from export import native
    except ImportError as error:
        raise _Unavailable(str(error)) from None
    if model.text is not None:
        core = native.Text(model.text.encode(), encode_graph(model.ops))
        return [(core.run(c.frames.tobytes()) if c.audio else core.run_rows(c.frames))[None] for c in clips]
    graph = native.Graph(encode_graph(model.ops))
    front_end = native.FrontEnd(model.front_end.encode()) if model.front_end is not None else None
    return [graph.run(front_end.log_mel(clip.frames.reshape(-1)) if clip.audio else clip.frames) for clip in clips]


def _micropython(name: str, data: bytes, clips: list[Clip], model: swm.Model) -> list[np.ndarray]:
    """Results (frame, label) of each clip from MicroPython. Raises _Unavailable, or MicroPythonError if the run fails."""
    target, native, kind = Target(MICROPYTHON[name][0]), MICROPYTHON[name][1], "kernels" if model.text is None else "text"
    if reason := target.missing():
        raise _Unavailable(reason)
    try:
        modules = [native_module(target.arch), native_module(target.arch, name="text")] if native else []
    except MicroPythonError as error:
        raise _Unavailable(str(error)) from None
    files = {**package_files(*modules), "model.swm": data, "inputs.bin": _packed(clips, model)}
    script = LOAD_MODEL + (_SCRIPT if model.text is None else _TEXT_SCRIPT)
    output = target.run(script.replace("EXPECTED", repr(f"{kind}_{target.arch}" if native else "portable")), files, timeout_s=600)
    if "MemoryError" in output.stderr:
        raise _Unavailable(f"the model does not fit the emulated board's heap: {output.stderr.strip().splitlines()[-1]}")
    *lines, last = output.check().splitlines()
    if last != "self test True":
        raise MicroPythonError("the model's stored golden test fails there")
    flat, results = np.frombuffer(bytes.fromhex("".join(lines)), "<i4").reshape(-1, len(model.labels)), []
    for clip in clips:
        frames = len(clip.frames) if model.text is None else 1
        results.append(flat[:frames])
        flat = flat[frames:]
    return results


def _packed(clips: list[Clip], model: swm.Model) -> bytes:
    """The file inputs.bin."""
    out = [struct.pack("<I", len(clips))]
    for clip in clips:
        raw = clip.frames.tobytes()
        if model.text is None:
            out.append(struct.pack("<II", clip.audio, len(clip.frames)) + raw)
        else:
            raw = raw if clip.audio else struct.pack("<I", len(clip.frames)) + raw
            out.append(struct.pack("<II", clip.audio, len(raw)) + raw)
    return b"".join(out)


def _differences(name: str, expected: list[np.ndarray], got: list[np.ndarray]) -> list[str]:
    """One sentence for each clip whose results are not the same, about its first frame that differs."""
    out = []
    for i, (want, have) in enumerate(zip(expected, got, strict=True)):
        if want.shape != have.shape:
            out.append(f"{name}: input {i}: {have.shape[0]} frames instead of {want.shape[0]}")
        elif np.any(bad := np.any(want != have, axis=1)):
            frame = int(bad.argmax())
            out.append(f"{name}: input {i}, frame {frame}: {have[frame].tolist()} instead of {want[frame].tolist()}")
    return out
