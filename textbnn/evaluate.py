"""What a text model decides, and how often it is right: always the integer graph of its file.

    result = evaluate(format.read("lights.swm"), texts, targets, strangers)
    print(result.accuracy, result.interval, result.oos_auroc)
    classify(model, "turn on the kitchen lights")           # Decision(label, margin, ...)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnn.confusion import Confusion, confusion_matrix
from export import native
from export.format import UNKNOWN, Model, decide, surety
from export.graph import encode_graph
from textbnn.slots import find


@dataclass
class Results:
    """What the graph gives for some texts: `scores` (text, label) int, and how many features of each text (text,) it knows."""

    labels: list[str]
    thresholds: list[int]
    scores: np.ndarray
    hits: np.ndarray

    @property
    def surety(self) -> np.ndarray:
        """What thresholds are compared with (text,)."""
        return surety(self.scores, self.labels)

    @property
    def scope(self) -> np.ndarray:
        """How surely each text (text,) is in scope. One without a known feature is out of it more surely than any other."""
        return np.where(self.hits > 0, self.surety, np.iinfo(np.int64).min)

    @property
    def accepted(self) -> np.ndarray:
        """Whether boards accept each text (text,): its scope reaches the best label's threshold, and that is no `_unknown_`."""
        top, _ = decide(self.scores)
        return (self.scope >= np.array(self.thresholds)[top]) & (np.array(self.labels)[top] != UNKNOWN)


def results(model: Model, texts: Sequence[str | bytes]) -> Results:
    """Integer results of the file's graph, by the C core. Raises FormatError where the model does not read text."""
    core = native.Text(model.reading().encode(), encode_graph(model.ops))
    rows = [core.rows(text) for text in texts]
    scores = np.array([core.run_rows(row) for row in rows], np.int64).reshape(-1, len(model.labels))
    return Results(list(model.labels), model.thresholds, scores, np.array([len(row) for row in rows], np.int64))


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Percent of pairs in which the score in scope is the greater (Mann and Whitney, 1947); a tie counts half."""
    outside = np.sort(outside)
    below, not_above = (np.searchsorted(outside, inside, side) for side in ("left", "right"))
    return 100 * float(np.mean(below + not_above)) / (2 * len(outside))


@dataclass
class Evaluation(Confusion):
    """Decisions against truth, of texts in scope by their best label, before any is rejected.

    in_scope_kept: percent of the texts in scope that are accepted; oos_recall: percent of those out of scope that are not.
    """

    in_scope_kept: float
    oos_n: int = 0
    oos_auroc: float = math.nan
    oos_recall: float = math.nan

    def as_dict(self) -> dict:
        """For --json; what needs texts out of scope is there where there were some."""
        value = {"accuracy": round(self.accuracy, 2), "interval": [round(v, 2) for v in self.interval], "n": self.n,
                 "in_scope_kept": round(self.in_scope_kept, 2)}  # fmt: skip
        if self.oos_n:
            value |= {"oos_auroc": round(self.oos_auroc, 2), "oos_recall": round(self.oos_recall, 2), "oos_n": self.oos_n}
        return value

    def mistakes(self, most: int = 10) -> list[tuple[int, str, str]]:
        """(texts, label, decided label) of what is confused most often."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        pairs = sorted(zip(*np.nonzero(wrong), strict=True), key=lambda pair: -wrong[pair])[:most]
        return [(int(wrong[i, j]), self.labels[i], self.labels[j]) for i, j in pairs]

    def __str__(self) -> str:
        low, high = self.interval
        lines = [f"accuracy {self.accuracy:.1f} %   95 % interval {low:.1f} to {high:.1f}   {self.n:,} texts"]
        lines.append(f"accepted {self.in_scope_kept:.1f} % of them")
        if self.oos_n:
            lines.append(f"out of scope: {self.oos_recall:.1f} % of {self.oos_n:,} rejected, AUROC {self.oos_auroc:.1f}")
        found = [f"  {n:4d}  {label} -> {other}" for n, label, other in self.mistakes()]
        return "\n".join(lines + (["most frequent mistakes:", *found] if found else []))


def evaluate(model: Model, texts: Sequence[str], targets: np.ndarray, outside: Sequence[str] = ()) -> Evaluation:
    """Decide texts in scope, whose targets (text,) index model.labels without `_unknown_`, and texts out of scope."""
    targets = np.array([i for i, label in enumerate(model.labels) if label != UNKNOWN])[targets]
    inside, foreign = results(model, texts), results(model, outside)
    confusion = confusion_matrix(len(model.labels), targets, decide(inside.scores)[0])
    out = Evaluation(list(model.labels), confusion, 100 * float(inside.accepted.mean()))
    if len(outside):
        out.oos_n, out.oos_recall = len(outside), 100 * float((~foreign.accepted).mean())
        out.oos_auroc = auroc(inside.scope, foreign.scope)
    return out


@dataclass
class Decision:
    """A text's label (None where it is rejected, `best` all the same), and its slots.

    score: what is compared with the file's threshold, see Results.surety; margin: the best label's lead over the next.
    """

    label: str | None
    best: str
    score: int
    margin: int
    slots: list[tuple[str, str | int | float]]


def classify(model: Model, text: str | bytes) -> Decision:
    """Decide one text as a board does."""
    found = results(model, [text])
    top, margin = (int(v[0]) for v in decide(found.scores))
    best = model.labels[top]
    label = best if found.accepted[0] else None
    return Decision(label, best, int(found.surety[0]), margin, find(model.slots, text))
