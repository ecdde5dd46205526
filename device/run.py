"""Runs a model file on sound or on typed text with one of its interpreters; all give the same integers.

    results = run("model.swm", [samples], on="micropython")       # real MicroPython on this computer, native kernels
    results = run_texts("commands.swm", ["lights on"])

`reference` is NumPy (the definition), `native` the C core on the host, `micropython` the PC port with the native module.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.micropython import MODULES, MicroPythonError, Target, native_module, package_files
from export import native, reference
from export.format import UNKNOWN, Model, decide, read, surety
from export.graph import encode_graph

INTERPRETERS = ("reference", "native", "micropython")

_SCRIPT = """
import json, signwave
model = signwave.Model("model.swm")
print(json.dumps(signwave.backend.reason))
for i in range(CLIPS):
    with open("clip%d" % i, "rb") as f:
        label, margin, scores = model.classify(f.read())
    print(json.dumps([label, margin, scores]))
"""

_TEXT_SCRIPT = """
import json
from signwave.text import Text, reason
model = Text("model.swm")
print(json.dumps(reason))
for i in range(CLIPS):
    with open("clip%d" % i, "rb") as f:
        top = model.run(f.read())
    print(json.dumps([None if top is None else model.label(top), model.margin, model.scores()]))
"""


@dataclass
class Result:
    """Decision on a text, or on a clip after its last frame: label (None where rejected), margin, integer score of each label."""

    label: str | None
    margin: int
    scores: list[int]


def run(path: str | Path, clips: list[np.ndarray], on: str = "native") -> list[Result]:
    """Decide clips, each (sample,) int16 at the model's rate. Raises FormatError, MicroPythonError."""
    model = _opened(path, on)
    model.listening()
    if on == "micropython":
        return _on_micropython(Path(path), _SCRIPT, [clip.astype("<i2").tobytes() for clip in clips])
    return [_decided(model, _scores(model, clip, on)) for clip in clips]


def run_texts(path: str | Path, texts: list[str], on: str = "native") -> list[Result]:
    """Decide texts. Raises FormatError, MicroPythonError."""
    model = _opened(path, on)
    text = model.reading()
    if on == "micropython":
        return _on_micropython(Path(path), _TEXT_SCRIPT, [line.encode("utf-8", "surrogatepass") for line in texts])
    rows = [text.rows(line) for line in texts]
    core = native.Text(text.encode(), encode_graph(model.ops))
    scores = reference.run(model.ops, rows) if on == "reference" else [core.run(line) for line in texts]
    return [_read(model, s, bool(r)) for s, r in zip(scores, rows, strict=True)]


def _opened(path: str | Path, on: str) -> Model:
    if on not in INTERPRETERS:
        raise MicroPythonError(f"interpreter {on!r} does not exist; choose one of {', '.join(INTERPRETERS)}")
    return read(path)


def _scores(model: Model, clip: np.ndarray, on: str) -> np.ndarray:
    if on == "reference":
        return reference.run(model.ops, reference.log_mel(clip, model.front_end))[-1]
    features = native.log_mel(clip, model.front_end.encode())
    return native.Graph(encode_graph(model.ops)).run(features)[-1]


def _decided(model: Model, scores: np.ndarray) -> Result:
    top, margin = (int(v) for v in decide(scores))
    return Result(model.labels[top] if margin >= model.thresholds[top] else None, margin, scores.tolist())


def _read(model: Model, scores: np.ndarray, known: bool) -> Result:
    top, margin = (int(v) for v in decide(scores))
    accepted = known and model.labels[top] != UNKNOWN and surety(scores, model.labels) >= model.thresholds[top]
    return Result(model.labels[top] if accepted else None, margin, scores.tolist())


def _on_micropython(path: Path, script: str, inputs: list[bytes]) -> list[Result]:
    target = Target("pc")
    files = package_files(*(native_module(target.arch, name=kind) for kind in MODULES)) | {"model.swm": path.read_bytes()}
    files |= {f"clip{i}": data for i, data in enumerate(inputs)}
    lines = target.run(script.replace("CLIPS", str(len(inputs))), files, timeout_s=60 + len(inputs)).check().splitlines()
    return [Result(*json.loads(line)) for line in lines[1:]]
