"""What was decided against what is true: accuracy and its interval, whatever was decided on."""

from dataclasses import dataclass

import numpy as np

from bnn.intervals import wilson_interval


def confusion_matrix(labels: int, targets: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """(label, label) int: how many of each target (n,) were decided as which label (n,)."""
    confusion = np.zeros((labels, labels), int)
    np.add.at(confusion, (targets, decided), 1)
    return confusion


@dataclass
class Confusion:
    """Decisions against truth. `confusion[i][j]` counts what is label i and was decided as label j."""

    labels: list[str]
    confusion: np.ndarray

    @property
    def n(self) -> int:
        """How many were decided."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Percent of them decided right."""
        return 100 * float(np.trace(self.confusion)) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % interval."""
        return wilson_interval(int(np.trace(self.confusion)), self.n)
