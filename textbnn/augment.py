"""Further texts in the manner of some commands, without labels: for a teacher to answer and a student to learn from.

    more = invent(texts, targets, 50_000, near_words(vectors, vocabulary, texts), seed=0)     # those of the teacher

Pieces of one text put into another, after Tang et al. (2019), who taught small networks with what a large one says of
invented sentences, and words replaced by near ones: near in the teacher's own table of word vectors, so that the student
hears of words that no training text has. What an invented text means is for the teacher to say.
"""

import random
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from export.folding import ALONE, classify

NEAREST, LEAST_COSINE = 10, 0.35
MAX_WORDS = 30


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation; where a script has no spaces, its code points.

    >>> words_of("What's up, 東京?")
    ['whats', 'up', '東', '京']
    """
    out = []
    for c in text.casefold():
        kind = unicodedata.category(c)[0]
        alone = ord(c) > 0x7F and classify(ord(c)) == (ALONE, 0)
        out.append("" if c in "'\u2019" else f" {c} " if alone else " " if kind in "PSZC" else c)
    return "".join(out).split()


@torch.no_grad()
def near_words(vectors: torch.Tensor, vocabulary: Mapping[str, int], texts: Iterable[str]) -> dict[str, list[str]]:
    """For the words of `texts` those nearest to them, the nearest first, by the cosine of centred vectors (token, hidden)."""
    names = {token.lstrip("Ġ▁").casefold(): number for token, number in sorted(vocabulary.items(), reverse=True)}
    known = sorted((word, number) for word, number in names.items() if len(word) > 1 and word.isalpha())
    index = {word: i for i, (word, _) in enumerate(known)}
    table = vectors[[number for _, number in known]].float()
    table = nn.functional.normalize(table - table.mean(0))
    wanted = sorted({word for text in texts for word in words_of(text)} & index.keys())
    out: dict[str, list[str]] = {}
    for at in range(0, len(wanted), 512):
        part = wanted[at : at + 512]
        near = (table[[index[word] for word in part]] @ table.T).topk(min(NEAREST + 1, len(known)))
        for word, cosines, numbers in zip(part, near.values.tolist(), near.indices.tolist(), strict=True):
            out[word] = [known[n][0] for c, n in zip(cosines, numbers, strict=True) if c > LEAST_COSINE and known[n][0] != word]
    return out


class Inventor:
    """Draws new texts from labelled ones; all that it draws depends on its seed alone."""

    def __init__(self, texts: Sequence[str], targets: Sequence[int], near: Mapping[str, Sequence[str]], seed: int) -> None:
        self.random, self.near = random.Random(seed), near
        pairs = [(words, int(t)) for words, t in zip(map(words_of, texts), targets, strict=True) if words]
        self.texts, self.targets = [words for words, _ in pairs], [t for _, t in pairs]
        self.of_label: dict[int, list[int]] = defaultdict(list)
        self.places: dict[str, list[tuple[int, int]]] = defaultdict(list)  # of each word: (text, position)
        for i, (words, target) in enumerate(pairs):
            self.of_label[target].append(i)
            for j, word in enumerate(words):
                self.places[word].append((i, j))

    def draw(self) -> str:
        """One new text."""
        r = self.random
        i = r.randrange(len(self.texts))
        words, target, kind = self.texts[i], self.targets[i], r.random()
        if kind < 0.2:
            words = self._crossed(words, None)
        elif kind < 0.4:
            words = self._crossed(words, target)
        elif kind < 0.6:
            words = self._mixed(words, self.texts[r.choice(self.of_label[target])])
        elif kind < 0.65 and len(words) > 2:
            at = r.randrange(len(words))
            words = words[:at] + words[at + 1 :]
        if kind > 0.6 or r.random() < 0.4:
            words = self._replaced(words, r.choice((1, 1, 2, 2, 3)))
        return " ".join(words[:MAX_WORDS])

    def _crossed(self, words: list[str], target: int | None) -> list[str]:
        """The beginning of a text up to some word, and the end of another behind the same word."""
        at = self.random.randrange(len(words))
        for _ in range(8):
            i, j = self.random.choice(self.places[words[at]])
            if target is None or self.targets[i] == target:
                return words[:at] + self.texts[i][j:]
        return words

    def _mixed(self, words: list[str], others: list[str]) -> list[str]:
        """Some words in a row of another text, put in or in the place of as many."""
        size, replaced = self.random.randint(1, max(3, len(others) // 2)), self.random.random() < 0.7
        j, at = self.random.randrange(len(others)), self.random.randrange(len(words) + 1)
        return words[:at] + others[j : j + size] + words[at + (size if replaced else 0) :]

    def _replaced(self, words: list[str], count: int) -> list[str]:
        words = list(words)
        for _ in range(count):
            at = self.random.randrange(len(words))
            near = self.near.get(words[at])
            if near:
                words[at] = near[min(int(self.random.expovariate(0.35)), len(near) - 1)]
        return words


def invent(
    texts: Sequence[str], targets: Sequence[int], count: int, near: Mapping[str, Sequence[str]], seed: int = 0
) -> list[str]:
    """New texts out of labelled ones and near words, from `count` draws; none twice, none one of `texts`."""
    inventor = Inventor(texts, targets, near, seed)
    given = {" ".join(words) for words in inventor.texts}
    return [text for text in dict.fromkeys(inventor.draw() for _ in range(count)) if text not in given]
