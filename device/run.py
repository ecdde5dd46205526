"""Runs a model file on sound with one of its interpreters; all give the same integers.

    results = run("model.swm", [samples], on="micropython")       # real MicroPython on this computer, native kernels

`reference` is NumPy (the definition), `native` the C core on the host, `micropython` the PC port with the native module.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.micropython import MicroPythonError, Target, native_module, package_files
from export import native, reference
from export.format import Model, decide, read
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


@dataclass
class Result:
    """Decision on one clip after its last frame: label (None where rejected), margin, integer score of each label."""

    label: str | None
    margin: int
    scores: list[int]


def run(path: str | Path, clips: list[np.ndarray], on: str = "native") -> list[Result]:
    """Decide clips, each (sample,) int16 at the model's rate. Raises FormatError, MicroPythonError."""
    if on not in INTERPRETERS:
        raise MicroPythonError(f"interpreter {on!r} does not exist; choose one of {', '.join(INTERPRETERS)}")
    model = read(path)
    model.listening()
    if on == "micropython":
        return _on_micropython(Path(path), clips)
    return [_decided(model, _scores(model, clip, on)) for clip in clips]


def _scores(model: Model, clip: np.ndarray, on: str) -> np.ndarray:
    if on == "reference":
        return reference.run(model.ops, reference.log_mel(clip, model.front_end))[-1]
    features = native.log_mel(clip, model.front_end.encode())
    return native.Graph(encode_graph(model.ops)).run(features)[-1]


def _decided(model: Model, scores: np.ndarray) -> Result:
    top, margin = (int(v) for v in decide(scores))
    return Result(model.labels[top] if margin >= model.thresholds[top] else None, margin, scores.tolist())


def _on_micropython(path: Path, clips: list[np.ndarray]) -> list[Result]:
    target = Target("pc")
    files = package_files(native_module(target.arch)) | {"model.swm": path.read_bytes()}
    files |= {f"clip{i}": clip.astype("<i2").tobytes() for i, clip in enumerate(clips)}
    lines = target.run(_SCRIPT.replace("CLIPS", str(len(clips))), files, timeout_s=60 + len(clips)).check().splitlines()
    return [Result(*json.loads(line)) for line in lines[1:]]
