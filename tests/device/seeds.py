"""Valid inputs that the fuzzer of the C core (device/fuzz.py) begins with, in the form that device/native/fuzz.c takes.

python -m tests.device.seeds DIRECTORY
"""

import struct
import sys
from pathlib import Path

import numpy as np

from export.folding import Folding
from export.format import FrontEnd
from export.graph import Conv1b, ConvI4, DenseI8, Operation, SumWindow, encode_graph, state_size
from export.text import PIECES, Text, features
from tests.export.strategies import SENTENCES, random_op, random_pieces, random_text_ops

GRAPH, SHAPES, FRONT_END, TEXT, BAG = range(5)


def packed(kind: int, section: bytes, last: int = 0, state_len: int = 0, value_len: int = 0, seed: int = 0,
           rest: bytes = b"") -> bytes:  # fmt: skip
    """An input (`input_t` of fuzz.h) without misalignment, and noise in all buffers behind `rest`."""
    return struct.pack("<4B2H2I", kind, 0, 0, last, state_len, value_len, seed, len(section)) + section + rest


def shapes(*operations: tuple[int, ...]) -> bytes:
    """(opcode, shortcut, cin, cout, taps, dilation, shift_a, shift_b) of each operation (`operation_t` of fuzz.c)."""
    return b"".join(struct.pack("<BB4HBB", *operation) for operation in operations)


def graphs() -> list[list[Operation]]:
    """Each operation alone at sizes that try its corners, and whole networks."""
    rng = np.random.default_rng(1)
    alone = [(ConvI4, 4, 1, 1, 1), (ConvI4, 8, 5, 3, 2), (ConvI4, 12, 17, 2, 64), (Conv1b, 1, 1, 1, 1), (Conv1b, 33, 33, 3, 2),
             (Conv1b, 31, 65, 2, 1), (Conv1b, 5, 2, 9, 8), (Conv1b, 96, 3, 1, 1), (DenseI8, 4, 1), (DenseI8, 36, 7),
             (SumWindow, 3, 3, 7), (SumWindow, 1, 1, 256)]  # fmt: skip
    chains = []
    for c in (4, 20, 36):
        chains.append([random_op(rng, ConvI4, 8, c, 2), random_op(rng, Conv1b, c, c, 3, 2, True),
                       random_op(rng, DenseI8, c, 3), random_op(rng, SumWindow, 3, 3, 4)])  # fmt: skip
    return [[random_op(rng, *shape)] for shape in alone] + chains


SHAPES_SEEDS = [
    shapes((1, 0, 40, 128, 5, 1, 6, 8), (2, 1, 0, 128, 3, 4, 4, 0), (3, 0, 0, 12, 1, 1, 4, 2), (4, 0, 0, 12, 20, 1, 0, 0)),
    shapes((2, 1, 64, 64, 5, 9, 3, 0), (2, 0, 0, 65, 2, 64, 3, 0), (2, 1, 0, 65, 3, 1, 3, 0)),
    shapes((2, 0, 512, 40, 8, 1, 9, 0), (3, 0, 0, 512, 1, 1, 4, 2), (4, 0, 0, 512, 30, 1, 0, 0)),
    shapes((2, 0, 65, 33, 63, 4, 9, 0)),
    shapes((2, 0, 1, 512, 64, 4, 24, 0)),
    shapes((1, 0, 64, 24, 64, 1, 24, 24)),
    shapes(*[(2, 1, 33, 33, 3, 1, 2, 0)] * 64),
    shapes((5, 0, 513, 72, 1, 1, 0, 0), (7, 0, 0, 9, 1, 1, 3, 0)),
    shapes((5, 0, 90, 512, 1, 1, 0, 0), (7, 0, 0, 32, 1, 1, 3, 0)),
]


def seeds() -> list[bytes]:
    """All inputs."""
    out = []
    for i, ops in enumerate(graphs()):
        graph, state, value = encode_graph(ops), state_size(ops) & 0xFFFF, 4 * max(max(op.cin, op.cout) for op in ops)
        out.append(packed(GRAPH, graph, len(ops), state, value, i))
        # One word less than is needed, of each buffer.
        out.append(packed(GRAPH, graph[:-4], len(ops), state, value, i))
        out.append(packed(GRAPH, graph, len(ops), max(0, state - 4), value, i))
        out.append(packed(GRAPH, graph, len(ops), state, value - 4, i))
    out += [packed(SHAPES, section, 4, 4096, 2048, i) for i, section in enumerate(SHAPES_SEEDS)]
    for hop, bands in [(320, 40), (32, 4), (512, 64), (160, 12)]:
        edges = np.linspace(16 * (bands + 2), 4080, bands + 2).astype(int).tolist()
        section = FrontEnd(edges, hop).encode()
        out.append(packed(FRONT_END, section, bands, 6000, hop, len(out)))
        # No width, and less than none: not valid.
        for at, edge in ((1, edges[0]), (bands, edges[2])):
            out.append(packed(FRONT_END, section[: 12 + 2 * at] + struct.pack("<H", edge) + section[14 + 2 * at :]))
    return out + text_seeds()


def text_seeds() -> list[bytes]:
    """Sections of text with what they read, and graphs over rows."""
    rng, out = np.random.default_rng(2), []
    for i, text in enumerate(SENTENCES):
        folding, families = Folding.of([text]), int(rng.integers(1, 256))
        pieces = random_pieces(rng, 20) if families & PIECES else None
        keys = set(features(text, families, folding, pieces)[:40]) | set(rng.integers(0, 1 << 24, 5).tolist())
        section = Text(families, folding, sorted(keys), pieces).encode()
        out.append(packed(TEXT, section, 0, i, 1028, i, (text * 3).encode()))
        out.append(packed(TEXT, section[:-2], 0, 0, 1028, i, text.encode()))
    for rows, channels, labels in [(1, 4, 1), (5, 40, 3), (9, 36, 50), (6, 96, 8)]:
        graph = encode_graph(random_text_ops(rng, rows, channels, labels))
        out.append(packed(BAG, graph, 2, 0, 1028, 1))
        out.append(packed(BAG, graph[:-4], 2, 0, 1028, 1))
    return out


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()):
        (folder / f"seed-{number:02}").write_bytes(data)
