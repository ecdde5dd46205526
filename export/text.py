"""Typed text -> words -> features -> rows of a dictionary: what a text file's section "text" means (FORMAT.md, 2.4 and 4.2).

    folding = Folding.of(texts)
    keys = features("turn on the lights", families("words", "word2", "chars4"), folding)     # 24-bit integers

    text = Text(families("words"), folding, sorted(set(keys)))
    rows = text.rows("lights on")                                                            # numbers of its keys

Plain Python on integers, written to be read; the C core (`export.native`) gives the same and is faster.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from export.folding import NOTHING, SEPARATOR, WORD, Folding, Range
from export.graph import MAX_ENTRIES, MAX_HITS, FormatError
from export.pieces import Pieces

FAMILIES = ("words", "word2", "skip2", "chars3", "chars4", "chars5", "pieces", "piece2")  # bit by bit
PIECES = 0xC0  # families that need a vocabulary of pieces
MAX_CHUNK = 64  # letters between two separators
_HEADER = struct.Struct("<HHHH")


def families(*names: str) -> int:
    """The bits of some families of features. Raises FormatError on a name that is not one of FAMILIES."""
    if unknown := [name for name in names if name not in FAMILIES]:
        raise FormatError(f"no family of features {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    return sum(1 << FAMILIES.index(name) for name in set(names))


def chunks(text: str | bytes, folding: Folding) -> Iterator[list[list[int]]]:
    """What stands between separators, as words of code points: one, but where code points are words by themselves.

    Bytes that are no UTF-8 are separators, and one stands behind every 64 letters that have none.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    words: list[list[int]] = []
    room, joined = MAX_CHUNK, False
    for char in raw.decode("utf-8", "surrogateescape"):
        kind, c = folding(ord(char))
        if kind == NOTHING:
            continue
        if kind == SEPARATOR or not room:
            if words:
                yield words
            words, room, joined = [], MAX_CHUNK, False
        if kind == SEPARATOR:
            continue
        if joined and kind != WORD:
            words[-1].append(c)
        else:
            words.append([c])
        room, joined = room - 1, kind != WORD
    if words:
        yield words


def normalise(text: str | bytes, folding: Folding) -> str:
    """The text that is left: chunks with a space between. Normalising it again changes nothing that features see."""
    return " ".join("".join(chr(c) for word in chunk for c in word) for chunk in chunks(text, folding))


def _mix(h: int, v: int) -> int:
    return (h ^ v) * 0x9E3779B1 & 0xFFFFFFFF


def _hash(family: int, values: list[int]) -> int:
    h = _mix(0x811C9DC5, family)
    for v in values:
        h = _mix(h, v)
    return h


def _key(h: int) -> int:
    """24 bits of a hash of 32."""
    return ((h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF) >> 8


def features(text: str | bytes, families: int, folding: Folding, pieces: Pieces | None = None) -> list[int]:
    """The keys (24 bits) of all features of a text, as often as they occur, in the order of FORMAT.md 4.2."""
    out: list[int] = []
    before2 = before = piece = 0  # hashes of the last two words, of the last piece; 0 is the border of the text
    first = True
    for chunk in chunks(text, folding):
        for word in chunk:
            _of_word(word, families, out)
            h = _hash(0, word)
            _of_words(before2, before, h, first, families, out)
            before2, before, first = before, h, False
        if families & PIECES:
            piece = _of_pieces(piece, pieces.cut([c for word in chunk for c in word]), families, out)
    if not first:
        _of_words(before2, before, 0, False, families & ~1, out)
        if families & 128:
            out.append(_key(_hash(7, [piece, 0])))
    return out


def _of_word(word: list[int], families: int, out: list[int]) -> None:
    """n-grams of characters, the word's borders (0) included, by where they end."""
    symbols = [0, *word, 0]
    for end in range(3, len(symbols) + 1):
        for n in (3, 4, 5):
            if families >> n & 1 and end >= n:
                out.append(_key(_hash(n, symbols[end - n : end])))


def _of_words(before2: int, before: int, word: int, first: bool, families: int, out: list[int]) -> None:
    """The word, the pair with the one before (or the border), and the pair around the one before."""
    if families & 1:
        out.append(_key(word))
    if families & 2:
        out.append(_key(_hash(1, [before, word])))
    if families & 4 and not first:
        out.append(_key(_hash(2, [before2, word])))


def _of_pieces(before: int, chunk: list[list[int]], families: int, out: list[int]) -> int:
    """Each piece, and the pair with the one before it; the hash of the last."""
    for piece in chunk:
        h = _hash(6, piece)
        if families & 64:
            out.append(_key(h))
        if families & 128:
            out.append(_key(_hash(7, [before, h])))
        before = h
    return before


@dataclass
class Text:
    """How a file reads text: families of features (bits), folding, dictionary: keys of 24 bits, ascending; row i has key i.

    pieces: the vocabulary, where a family needs one, else None.
    """

    families: int
    folding: Folding
    keys: list[int]
    pieces: Pieces | None = None
    _row: dict[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        self.keys = [int(key) for key in self.keys]
        self._check()
        self._row = {key: i for i, key in enumerate(self.keys)}

    def rows(self, text: str | bytes) -> list[int]:
        """Numbers of the rows that a text's features have, as often as they occur, the first 512 of them."""
        found = (self._row.get(key) for key in features(text, self.families, self.folding, self.pieces))
        return [row for row in found if row is not None][:MAX_HITS]

    def encode(self) -> bytes:
        """The section's bytes."""
        ranges = b"".join(struct.pack("<IHH", r.first | r.kind << 24, r.last - r.first, r.value) for r in self.folding.ranges)
        keys = np.array(self.keys, np.uint32)
        counts = np.bincount(keys >> 16, minlength=256).astype("u1").tobytes()
        low = (keys & 0xFFFF).astype("<u2").tobytes()
        pieces = self.pieces.encode() if self.pieces else b""
        return _HEADER.pack(1, self.families, len(self.folding.ranges), len(keys)) + ranges + counts + low + pieces

    @classmethod
    def decode(cls, data: bytes) -> "Text":
        """Raises FormatError on anything that FORMAT.md does not allow."""
        if len(data) < _HEADER.size:
            raise FormatError(f"text: section of {len(data)} bytes, at least {_HEADER.size} are needed")
        identity, bits, ranges, entries = _HEADER.unpack_from(data)
        if identity != 1:
            raise FormatError(f"text: identity {identity} is not known; update signwave or export the model again")
        need = _HEADER.size + 8 * ranges + 256 + 2 * entries
        if len(data) < need or len(data) > need and not bits & PIECES:
            raise FormatError(f"text: section of {len(data)} bytes, {ranges} ranges and {entries} entries need {need}")
        at = _HEADER.size + 8 * ranges
        words = [struct.unpack_from("<IHH", data, i) for i in range(_HEADER.size, at, 8)]
        folding = Folding(Range(a & 0xFFFFFF, (a & 0xFFFFFF) + length, a >> 24, value) for a, length, value in words)
        counts = np.frombuffer(data, "u1", 256, at)
        if counts.sum() != entries:
            raise FormatError(f"text: the dictionary's counts add up to {counts.sum()}, not to its {entries} entries")
        high = np.repeat(np.arange(256, dtype=np.uint32), counts)
        keys = (high << 16 | np.frombuffer(data, "<u2", entries, at + 256)).tolist()
        return cls(bits, folding, keys, Pieces.decode(data[need:]) if bits & PIECES else None)

    def _check(self) -> None:
        if not 0 < self.families < 1 << len(FAMILIES):
            raise FormatError(f"text: families of features {self.families:#x} are not known; a newer signwave may know them")
        if bool(self.families & PIECES) != (self.pieces is not None):
            raise FormatError("text: families pieces and piece2 and a vocabulary of pieces need each other")
        keys = np.array(self.keys, np.int64)
        if not 1 <= len(keys) <= MAX_ENTRIES:
            raise FormatError(f"text: {len(keys)} entries of the dictionary, allowed are 1 to {MAX_ENTRIES}")
        if keys[0] < 0 or keys[-1] >= 1 << 24 or np.any(np.diff(keys) <= 0):
            raise FormatError("text: keys of the dictionary must rise from 0 to 2^24 - 1")
        if np.bincount(keys >> 16).max() > 255:
            raise FormatError("text: more than 255 keys of the dictionary have the same upper 8 bits")
