"""What becomes of a code point of typed text: letters folded, digits made 0, marks dropped (FORMAT.md, 2.4).

    folding = Folding.of(["Ça va ?", "größer", "温度を下げて"])      # the ranges that these texts need
    folding(ord("É"))                                          # (LETTER, ord("e"))

A file carries its ranges; boards need no tables of Unicode. Only the host, which makes them, asks `unicodedata`.
"""

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from export.graph import FormatError

DROP, SHIFT, TO, PAIRS, ALONE = range(5)  # kinds of a range, as files have them
SEPARATOR, NOTHING, LETTER, WORD = range(4)  # what a code point is: between words, ignored, of a word, a word by itself
MAX_RANGES, LAST = 4096, 0x10FFFF
_KEPT = "Йй"  # letters of their own although they decompose


class Range(NamedTuple):
    """Code points `first` to `last`. SHIFT: letters, `value` is added (modulo 65536); TO: letters, all become `value`;
    PAIRS: letters, where the parity is `value` the next is meant; DROP: ignored; ALONE: each is a word."""

    first: int
    last: int
    kind: int
    value: int = 0


class Folding:
    """Ascending ranges above ASCII. Raises FormatError where they are not valid."""

    def __init__(self, ranges: Iterable[Range] = ()):
        self.ranges = [Range(*r) for r in ranges]
        self._known: dict[int, tuple[int, int]] = {}
        _check(self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folding) and self.ranges == other.ranges

    def __call__(self, c: int) -> tuple[int, int]:
        """(SEPARATOR, NOTHING, LETTER or WORD; the code point that is meant)."""
        if c not in self._known:
            self._known[c] = _ascii(c) if c < 0x80 else self._find(c)
        return self._known[c]

    def _find(self, c: int) -> tuple[int, int]:
        if c == 0x2019 or 0x300 <= c <= 0x36F:  # the apostrophe of word processors, accents
            return NOTHING, 0
        for first, last, kind, value in self.ranges:
            if first <= c <= last:
                if kind == DROP:
                    return NOTHING, 0
                if kind == SHIFT:
                    return LETTER, c & 0x1F0000 | (c + value) & 0xFFFF
                if kind == PAIRS:
                    return LETTER, c + ((c + value + 1) & 1)
                return (LETTER, value) if kind == TO else (WORD, c)
        return SEPARATOR, 0

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Folding":
        """The ranges for all that stands in the same 64 code points as something in `texts`, large, small or without accents."""
        seen = {d for c in set().union(*texts) for d in c + c.upper() + c.lower() + _base(c) if ord(d) >= 0x80}
        blocks = {ord(c) >> 6 for c in seen if classify(ord(c)) is not None}
        ranges: list[Range] = []
        for block in sorted(blocks):
            for c in range(64 * block, 64 * block + 64):
                meaning = classify(c)
                if meaning is None or c < 0x80 or ranges and c <= ranges[-1].last:
                    continue
                low, high = _extent(c, meaning)
                ranges.append(Range(max(low, ranges[-1].last + 1 if ranges else 0x80), high, *meaning))
        return cls(ranges)


def _ascii(c: int) -> tuple[int, int]:
    if 0x41 <= c <= 0x5A or 0x61 <= c <= 0x7A:
        return LETTER, c | 0x20
    if 0x30 <= c <= 0x39:
        return LETTER, 0x30
    return NOTHING if c == 0x27 else SEPARATOR, 0  # don't -> dont


def _check(ranges: list[Range]) -> None:
    before = 0x7F
    if len(ranges) > MAX_RANGES:
        raise FormatError(f"text: {len(ranges)} ranges of code points, allowed are {MAX_RANGES}")
    for first, last, kind, value in ranges:
        where = f"text: range {first:04X}-{last:04X}"
        if not before < first <= last <= LAST - (kind == PAIRS) or last - first >= 0x10000:
            raise FormatError(f"{where} is empty, too long, or does not follow {before:04X}")
        if first <= 0xDFFF and last >= 0xD800:
            raise FormatError(f"{where} holds surrogates")
        if kind > ALONE or value > (0xFFFF if kind in (SHIFT, TO) else kind == PAIRS) or value < 0:
            raise FormatError(f"{where}: kind {kind} with value {value} is not known")
        before = last


def _extent(c: int, meaning: tuple[int, int]) -> tuple[int, int]:
    """The longest run around c of code points that mean the same."""
    low = high = c
    while low > 0x80 and classify(low - 1) == meaning:
        low -= 1
    while high < LAST and high - low < 0xFFFF and classify(high + 1) == meaning:
        high += 1
    return low, high


@cache
def classify(c: int) -> tuple[int, int] | None:
    """(kind, value) of the range that a code point above ASCII belongs to; None for separators."""
    char = chr(c)
    kind, mark = unicodedata.category(char), unicodedata.combining(char)
    if c in (0x2019, 0x2581) or 0x300 <= c <= 0x36F or kind in ("Cs", "Cc"):  # 2581 is the mark of pieces
        return None
    if _dropped(char, kind, mark):
        return DROP, 0
    if kind == "Nd":
        return TO, 0x30
    if _alone(c, kind):
        return ALONE, 0
    if kind[0] not in "LM":
        return None
    return _letter(char)


def _dropped(char: str, kind: str, mark: int) -> bool:
    """Accents, Hebrew and Arabic points; not the vowel signs of India or Thailand. Joiners, variants, skin tones."""
    return (kind in ("Mn", "Me") and (10 <= mark <= 35 or mark >= 200)) or char in "\u0640\u200b\u200c\u200d\u00ad\ufe0e\ufe0f" \
        or 0x1F3FB <= ord(char) <= 0x1F3FF  # fmt: skip


def _alone(c: int, kind: str) -> bool:
    """Scripts that are written without spaces, and pictures."""
    unspaced = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3041, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
                (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFD))  # fmt: skip
    return kind == "So" or 0x1F000 <= c <= 0x1FAFF or kind[0] in "LM" and any(a <= c <= b for a, b in unspaced)


def _letter(char: str) -> tuple[int, int]:
    base = _base(char)
    low = base.lower() if len(base.lower()) == 1 else base
    meant = _base(low)
    c, to = ord(char), ord(meant)
    if meant != char and (base != char or meant != low):  # an accent is gone, or a variant
        return TO, to if to < 0x10000 else ord("?")
    if c >> 16 != to >> 16:
        return SHIFT, 0
    upper = char.upper() if len(char.upper()) == 1 else char
    if to == c + 1 or (to == c and ord(upper) == c - 1 and upper not in _KEPT):
        return PAIRS, (c if to == c + 1 else c - 1) & 1
    return SHIFT, (to - c) & 0xFFFF


def _base(char: str) -> str:
    """A letter without its marks: what it decomposes to, where that is one letter and marks that are dropped."""
    if char in _KEPT:
        return char
    first, *rest = unicodedata.normalize("NFKD", char) if len(unicodedata.normalize("NFKD", char)) < 5 else char
    gone = all(_dropped(c, unicodedata.category(c), unicodedata.combining(c)) for c in rest)
    return first if gone and unicodedata.category(first)[0] == "L" else char
