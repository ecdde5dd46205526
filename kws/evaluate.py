"""Accuracy of a model file, always that of its integer graph, computed by the C core that runs on the board.

result = evaluate(format.read("model.swm"), waveforms, targets)
print(result); result.plot("confusion.png")
"""

import io
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from bnn.confusion import Confusion, confusion_matrix
from export import native
from export.format import Model, decide, write_atomically
from export.graph import FormatError, encode_graph
from kws.audio import RATE_HZ, fit_length
from kws.frontend import extract


def check_rate(file: str | os.PathLike[str], model: Model) -> None:
    """Raise FormatError where a model listens at another rate than recordings are read at."""
    if model.listening().rate_hz != RATE_HZ:
        raise FormatError(f"{file}: listens at {model.front_end.rate_hz} Hz, recordings are read at {RATE_HZ}")


@dataclass
class Evaluation(Confusion):
    """Predictions against truth, of clips."""

    @classmethod
    def of(cls, labels: list[str], targets: np.ndarray, decided: np.ndarray) -> "Evaluation":
        return cls(labels, confusion_matrix(len(labels), targets, decided))

    def per_class(self) -> list[tuple[str, int, float, float]]:
        """(label, clips, recall, precision), percent; not a number where there is nothing to divide by."""
        hit, true, said = np.diag(self.confusion), self.confusion.sum(1), self.confusion.sum(0)
        share = lambda a, b: 100 * a / b if b else math.nan  # noqa: E731
        return [(label, int(true[i]), share(hit[i], true[i]), share(hit[i], said[i])) for i, label in enumerate(self.labels)]

    def as_dict(self) -> dict:
        return {"accuracy": round(self.accuracy, 2), "interval": [round(v, 2) for v in self.interval], "n": self.n,
                "labels": self.labels, "confusion": self.confusion.tolist()}  # fmt: skip

    def __str__(self) -> str:
        low, high = self.interval
        wide = max(len(label) for label in self.labels)
        rows = [f"{label:<{wide}}  {n:5d}  {recall:6.1f}  {precision:9.1f}" for label, n, recall, precision in self.per_class()]
        head = f"accuracy {self.accuracy:.1f} %   95 % interval {low:.1f} to {high:.1f}   {self.n} clips"
        return "\n".join([head, f"{'label':<{wide}}  clips  recall  precision", *rows])

    def plot(self, path: str | os.PathLike, title: str = "") -> None:
        """Confusion matrix as a picture, each row in percent of its label."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        share = 100 * self.confusion / np.maximum(1, self.confusion.sum(1, keepdims=True))
        size = 3 + 0.45 * len(self.labels)
        figure, axes = plt.subplots(figsize=(size, size), layout="constrained")
        axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        axes.set(xlabel="decided", ylabel="spoken", title=title or f"{self.accuracy:.1f} % of {self.n} clips, rows in %")
        axes.set_xticks(range(len(self.labels)), self.labels, rotation=60, ha="right")
        axes.set_yticks(range(len(self.labels)), self.labels)
        for i, j in zip(*np.nonzero(share >= 0.5), strict=True):
            axes.text(j, i, f"{share[i, j]:.0f}", ha="center", va="center", fontsize=7, color="w" if share[i, j] > 50 else "k")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        plt.close(figure)
        write_atomically(path, buffer.getbuffer())


def scores(model: Model, features: np.ndarray) -> np.ndarray:
    """Integer results (clip, label) after the last frame of features (clip, frame, band), each clip from the initial state."""
    graph = native.Graph(encode_graph(model.ops))
    parts = [p for p in np.array_split(features, 4 * (os.cpu_count() or 1)) if len(p)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(graph.run_batch, parts)))


def evaluate(model: Model, waveforms: np.ndarray, targets: np.ndarray) -> Evaluation:
    """Decide waveforms (clip, sample) int16 by the front end and the integer graph; targets (clip,) index model.labels."""
    top, _ = decide(scores(model, extract(waveforms, model.listening())))
    return Evaluation.of(model.labels, targets, top)


@dataclass
class Decision:
    """What was heard in a recording: the label (None where its margin is below the threshold), and when it ended."""

    label: str | None
    margin: int
    at_s: float


def classify(model: Model, samples: np.ndarray) -> Decision:
    """Decide a recording (sample,) int16. One no longer than the window is decided at its end, as in training;
    in a longer one the decision with the greatest margin counts, `_silence_` and `_unknown_` only where nothing else is."""
    window = model.ops[-1].taps * model.listening().hop
    if len(samples) < window:
        samples = fit_length(samples, window)
    features = native.log_mel(samples, model.front_end.encode())
    results = native.Graph(encode_graph(model.ops)).run(features)[model.ops[-1].taps - 1 :]
    top, margin = decide(results)
    words = np.array([not label.startswith("_") for label in model.labels])[top]
    best = int(np.argmax(np.where(words, margin, -1) if words.any() else margin))
    accepted = margin[best] >= model.thresholds[top[best]]
    at_s = (best + model.ops[-1].taps) / model.front_end.frames_per_second
    return Decision(model.labels[top[best]] if accepted else None, int(margin[best]), round(at_s, 2))


def save_json(path: str | os.PathLike, value: dict) -> None:
    """Write JSON whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())
