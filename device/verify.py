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
    """One input: audio i16 (frame, hop), or features (frame, channel) of the type that the graph reads."""

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
    if expected[0][-1].tolist() != model.golden.result:
        report.differences.append("reference: the result of the stored golden test is another")
    for name in chosen:
        if name == "reference":
            continue
        progress(name)
        try:
            got = _native(model, clips) if name == "native" else _micropython(name, data, clips, len(model.labels))
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
    clips = [Clip(False, reference.golden_input(model.ops[0], model.golden.seed, model.golden.frames))]
    for i in range(n):
        frames = int(rng.integers(4, 33))
        if model.front_end is not None and i % 2 == 0:
            clips.append(Clip(True, _random_audio(rng, frames, model.front_end.hop)))
        else:
            clips.append(Clip(False, _random_features(rng, frames, model.ops[0])))
    return clips


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
    frames = reference.log_mel(clip.frames.reshape(-1), model.front_end) if clip.audio else clip.frames
    return reference.run(model.ops, frames)


class _Unavailable(Exception):
    """An interpreter that cannot run here, and why."""


def _native(model: swm.Model, clips: list[Clip]) -> list[np.ndarray]:
    try:
        from export import native
    except ImportError as error:
        raise _Unavailable(str(error)) from None
    graph = native.Graph(encode_graph(model.ops))
    front_end = native.FrontEnd(model.front_end.encode()) if model.front_end is not None else None
    return [graph.run(front_end.log_mel(clip.frames.reshape(-1)) if clip.audio else clip.frames) for clip in clips]


def _micropython(name: str, model: bytes, clips: list[Clip], labels: int) -> list[np.ndarray]:
    """Results (frame, label) of each clip from MicroPython. Raises _Unavailable, or MicroPythonError if the run fails."""
    target, native = Target(MICROPYTHON[name][0]), MICROPYTHON[name][1]
    if reason := target.missing():
        raise _Unavailable(reason)
    try:
        module = native_module(target.arch) if native else None
    except MicroPythonError as error:
        raise _Unavailable(str(error)) from None
    inputs = [struct.pack("<I", len(clips))]
    inputs += [struct.pack("<II", clip.audio, len(clip.frames)) + clip.frames.tobytes() for clip in clips]
    files = {**package_files(module), "model.swm": model, "inputs.bin": b"".join(inputs)}
    script = LOAD_MODEL + _SCRIPT.replace("EXPECTED", repr(f"kernels_{target.arch}" if native else "portable"))
    output = target.run(script, files, timeout_s=600)
    if "MemoryError" in output.stderr:
        raise _Unavailable(f"the model does not fit the emulated board's heap: {output.stderr.strip().splitlines()[-1]}")
    *lines, last = output.check().splitlines()
    if last != "self test True":
        raise MicroPythonError("the model's stored golden test fails there")
    flat, results = np.frombuffer(bytes.fromhex("".join(lines)), "<i4").reshape(-1, labels), []
    for clip in clips:
        results.append(flat[: len(clip.frames)])
        flat = flat[len(clip.frames) :]
    return results


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
