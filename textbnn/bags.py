"""Texts as bags of features, the way boards see them, packed for training.

    candidates = Candidates.of(texts, families("words", "word2", "chars3", "chars4"), folding)
    bags = candidates.bags(texts)                 # rows of the dictionary, text by text
    indices, offsets = bags.batch([0, 5, 7])      # for BinaryEmbeddingBag
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from export import native
from export.folding import Folding
from export.graph import MAX_HITS
from export.pieces import Pieces
from export.text import Text


@dataclass
class Bags:
    """Rows `ids[start[i] : start[i + 1]]` of a dictionary for each text i, as often as each feature occurs."""

    ids: np.ndarray
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    def batch(self, texts: np.ndarray | Sequence[int]) -> tuple[Tensor, Tensor]:
        """Rows of these texts (row,) and where each text begins among them (text,), both int64."""
        first, size = self.start[texts], self.start[np.asarray(texts) + 1] - self.start[texts]
        offsets = np.cumsum(size) - size
        where = np.repeat(first - offsets, size) + np.arange(int(size.sum()))
        return torch.from_numpy(self.ids[where].astype(np.int64)), torch.from_numpy(offsets)

    def first(self, texts: int) -> "Bags":
        """The first so many texts."""
        return Bags(self.ids[: self.start[texts]], self.start[: texts + 1])

    def only(self, rows: np.ndarray) -> "Bags":
        """The same texts with no rows but these, numbered anew in their order: rows (kept,) ascending."""
        new = np.full(int(max(self.ids.max(initial=0), rows.max(initial=0))) + 1, -1, np.int32)
        new[rows] = np.arange(len(rows))
        ids = new[self.ids]
        kept = np.concatenate([[0], np.cumsum(ids >= 0)])
        return Bags(ids[ids >= 0], kept[self.start])

    def counts(self, rows: int) -> np.ndarray:
        """How often each row (row,) occurs in all texts."""
        return np.bincount(self.ids, minlength=rows)


@dataclass
class Candidates:
    """A dictionary of features: ascending keys (row,), and what makes features of a text."""

    families: int
    folding: Folding
    keys: np.ndarray
    pieces: Pieces | None = None

    @classmethod
    def of(
        cls, texts: Iterable[str], families: int, folding: Folding, pieces: Pieces | None = None, least: int = 2
    ) -> "Candidates":
        """All features that occur in at least `least` of the texts."""
        reader = native.Text(Text(families, folding, [0], pieces).encode())
        found = [np.unique(reader.keys(text)) for text in texts]
        keys, counts = np.unique(np.concatenate(found), return_counts=True)
        return cls(families, folding, keys[counts >= least], pieces)

    def only(self, rows: np.ndarray) -> "Candidates":
        """The smaller dictionary of these rows (kept,), ascending."""
        return replace(self, keys=self.keys[rows])

    def bags(self, texts: Iterable[str]) -> Bags:
        """The rows of each text, in the order of the file's own lookup and no more than it takes."""
        reader = native.Text(Text(self.families, self.folding, [0], self.pieces).encode())
        rows = []
        for text in texts:
            keys = reader.keys(text)
            at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            rows.append(at[self.keys[at] == keys][:MAX_HITS].astype(np.int32))
        sizes = np.fromiter(map(len, rows), np.int64, len(rows))
        return Bags(np.concatenate([np.zeros(0, np.int32), *rows]), np.concatenate([[0], np.cumsum(sizes)]))

    def text(self) -> Text:
        """The section of a model file."""
        return Text(self.families, self.folding, self.keys.tolist(), self.pieces)
