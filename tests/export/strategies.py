"""Random graphs and inputs, shared by every test that compares interpreters."""

import numpy as np
from hypothesis import strategies as st

from export.format import FrontEnd, Model
from export.graph import Conv1b, ConvI4, DenseI8, Operation, SumWindow, pack_bits, pack_i4, pack_outputs


def random_op(rng: np.random.Generator, kind: type, cin: int, cout: int, taps=1, dilation=1, shortcut=False) -> Operation:
    """One valid operation with values over their whole ranges."""

    def i16(n):
        return rng.integers(-32768, 32768, n)

    def i8(*shape):
        return rng.integers(-128, 128, shape)

    def bias(n):
        reach = int(rng.choice([1 << 30, 1 << 12]))
        return rng.integers(1 - reach, reach, n)

    shift_a, shift_b = (int(v) for v in rng.integers(0, 25, 2))
    if kind is ConvI4:
        weight = pack_i4(rng.integers(-8, 8, (cout, taps, cin)))
        return ConvI4(cin, cout, taps, dilation, shift_a, shift_b, False, i16(cout), bias(cout), weight)
    if kind is Conv1b:
        weight, threshold = pack_outputs(rng.integers(0, 2, (taps, cin, cout))), i16(cin) >> int(rng.integers(0, 12))
        flip, joined = pack_bits(rng.integers(0, 2, cin)), shortcut and cin == cout
        return Conv1b(cin, cout, taps, dilation, shift_a, 0, joined, threshold, flip, i16(cout), i16(cout), bias(cout), weight)
    if kind is DenseI8:
        return DenseI8(cin, cout, 1, 1, shift_a, shift_b % 12, False, i16(cin), bias(cin), bias(cout), i8(cout, cin))
    return SumWindow(cin, cin, taps, 1)


@st.composite
def graphs(draw, max_channels: int = 70, max_blocks: int = 3) -> list[Operation]:
    """A valid chain: perhaps a stem, some binary layers, perhaps a head, perhaps a window."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = st.integers(1, max_channels)
    fours = st.integers(1, max_channels // 4).map(lambda n: 4 * n)
    head, blocks = draw(st.booleans()), draw(st.integers(0, max_blocks))
    ops, c = [], draw(fours if head else channels)
    if draw(st.booleans()):
        ops.append(random_op(rng, ConvI4, draw(fours), c, draw(st.integers(1, 4)), draw(st.integers(1, 3))))
    for _ in range(blocks):
        cout = draw(st.one_of(st.just(c), fours if head else channels))
        ops.append(random_op(rng, Conv1b, c, cout, draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.booleans())))
        c = cout
    if head:
        ops.append(random_op(rng, DenseI8, c, draw(channels)))
        c = ops[-1].cout
    if draw(st.booleans()) or not ops:
        ops.append(random_op(rng, SumWindow, c, c, draw(st.integers(1, 12))))
    return ops


def random_frames(ops: list[Operation], frames: int, seed: int) -> np.ndarray:
    """Input frames (frame, channel) of the type that the graph reads, over its whole range."""
    low, high, dtype = (-128, 128, np.int8) if ops[0].reads == "i8" else (-32768, 32768, np.int16)
    return np.random.default_rng(seed).integers(low, high, (frames, ops[0].cin)).astype(dtype)


def tiny_model(seed: int = 0, bands: int = 4, labels: int = 3) -> Model:
    """A complete model of a few hundred bytes: front end, stem, one block with a shortcut, head, window."""
    rng = np.random.default_rng(seed)
    ops = [random_op(rng, ConvI4, bands, 8, 2), random_op(rng, Conv1b, 8, 8, 3, 2, True), random_op(rng, DenseI8, 8, labels)]
    edges = np.linspace(32, 4000, bands + 2).astype(int).tolist()
    names = ["yes", "no", "größer"][:labels] + [f"label {i}" for i in range(3, labels)]
    return Model({"name": "tiny"}, names, [0] * labels, FrontEnd(edges), [*ops, SumWindow(labels, labels, 5)])
