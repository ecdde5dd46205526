"""Pieces of words: a unigram vocabulary (Kudo, 2018) with integer costs, cut as sentencepiece cuts (FORMAT.md, 2.4 and 4.2).

    pieces = Pieces({"▁the".encode(): 40, "▁".encode(): 60, "a".encode(): 70}, unknown=230)
    pieces.cut([ord(c) for c in "the"])             # [[ord("▁"), ord("t"), ...]]
"""

import os
import struct
from dataclasses import dataclass

from export.graph import FormatError

MARK = 0x2581  # begins every chunk
MAX_COST, MAX_DEPTH, MAX_NODES = 255, 63, 65535
_TERMINAL = 0x80


@dataclass
class Pieces:
    """costs: 1 to 255 of each piece, which is UTF-8; unknown: of a letter that is no piece, 1 to 65535.

    Raises FormatError where they are not, or a piece is empty or longer than 63 bytes.
    """

    costs: dict[bytes, int]
    unknown: int

    def __post_init__(self):
        if not self.costs or not 1 <= self.unknown <= 65535:
            raise FormatError(f"pieces: {len(self.costs)} pieces, {self.unknown} for an unknown letter: at least 1, 1 to 65535")
        for piece, cost in self.costs.items():
            if not 1 <= len(piece) <= MAX_DEPTH or not 1 <= cost <= MAX_COST:
                raise FormatError(f"pieces: {piece!r} of {len(piece)} bytes costs {cost}; allowed are 1 to {MAX_DEPTH}, 1 to 255")

    def cut(self, letters: list[int]) -> list[list[int]]:
        """The cheapest pieces of a chunk, the mark before it included; of equals the first found. Unknown neighbours are one."""
        symbols = [MARK, *letters]
        spelled = [chr(c).encode("utf-8", "surrogatepass") for c in symbols]
        n = len(symbols)
        best = [(0, 0, True)] + [(1 << 40, 0, True)] * n  # cost, where the last piece begins, whether it is known
        for start in range(n):
            piece, single = b"", False
            for end in range(start + 1, n + 1):
                piece += spelled[end - 1]
                if len(piece) > MAX_DEPTH:
                    break
                if (cost := self.costs.get(piece)) is not None:
                    single |= end == start + 1
                    if best[start][0] + cost < best[end][0]:
                        best[end] = best[start][0] + cost, start, True
            if not single and best[start][0] + self.unknown < best[start + 1][0]:
                best[start + 1] = best[start][0] + self.unknown, start, False
        return self._joined(symbols, best)

    @staticmethod
    def _joined(symbols: list[int], best: list[tuple[int, int, bool]]) -> list[list[int]]:
        out: list[list[int]] = []
        end, after_known = len(symbols), True
        while end:
            _, start, known = best[end]
            if not known and not after_known:
                out[-1] = symbols[start:end] + out[-1]
            else:
                out.append(symbols[start:end])
            end, after_known = start, known
        return out[::-1]

    def encode(self) -> bytes:
        """u16 unknown, then the trie of all pieces' bytes, depth first: depth (+ 128: a piece ends), byte, cost of a piece."""
        out, before = bytearray(), b""
        for piece, cost in sorted(self.costs.items()):
            shared = len(os.path.commonprefix([before, piece]))
            for depth in range(shared, len(piece)):
                out += bytes([depth, piece[depth]])
            out[-2] |= _TERMINAL
            out.append(cost)
            before = piece
        if len(out) > MAX_NODES:
            raise FormatError(f"pieces: {len(self.costs)} take {len(out)} bytes, allowed are {MAX_NODES}")
        return struct.pack("<H", self.unknown) + out

    @classmethod
    def decode(cls, data: bytes) -> "Pieces":
        """Raises FormatError where the trie is not in order."""
        if not 5 <= len(data) <= 2 + MAX_NODES:
            raise FormatError(f"pieces: {len(data)} bytes, allowed are 5 to {2 + MAX_NODES}")
        costs: dict[bytes, int] = {}
        path, at, ended = b"", 2, True
        while at < len(data):
            depth, symbol = data[at] & 127, data[at + 1] if at + 1 < len(data) else -1
            inner = depth == len(path)
            if symbol < 0 or depth > len(path) or depth >= MAX_DEPTH or not inner and (not ended or symbol <= path[depth]):
                raise FormatError(f"pieces: the node at byte {at} is not in order")
            path, ended, at = path[:depth] + bytes([symbol]), data[at] & _TERMINAL, at + 2
            if ended:
                if at >= len(data):
                    raise FormatError("pieces: the last cost is missing")
                costs[path], at = data[at], at + 1
        if not ended:
            raise FormatError("pieces: the last node is not the end of a piece")
        return cls(costs, struct.unpack_from("<H", data)[0])
