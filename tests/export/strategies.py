"""Random graphs and inputs, shared by every test that compares interpreters."""

import numpy as np
from hypothesis import strategies as st

from export.folding import Folding
from export.format import FrontEnd, GoldenText, Model
from export.graph import (
    Bag1b,
    Conv1b,
    ConvI4,
    DenseI4,
    DenseI8,
    Operation,
    SumWindow,
    pack_bits,
    pack_gains,
    pack_i4,
    pack_outputs,
)
from export.pieces import Pieces
from export.text import FAMILIES, PIECES, Text, features


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
    if kind is DenseI4:
        weight = pack_i4(rng.integers(-8, 8, (cout, 1, cin)))
        mult, add, shift = (i16(cin), bias(cin), shift_a) if rng.integers(0, 2) else (i16(cin) >> 6, bias(cin) >> 18, 6)
        return DenseI4(cin, cout, 1, 1, shift, 0, False, mult, add, bias(cout), weight)
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


SENTENCES = ["turn on the kitchen lights", "What's the time, 12:30?", "ça va, größer? Ā đ Ğ", "Включи свет, ёж! Йод Ѣ",
             "温度を下げて", "שָׁלוֹם", "أضِف ٣", "🏠👍🏽 x", "สวัสดี", "한국어", "ΆΛΦΑ ς", "ＡＢ７", "हिन्दी में"]  # fmt: skip
_LETTERS = sorted(set("".join(SENTENCES)) | set(" ,.'\u2019\u0301\u0000\ufffd\u00ad\U0001f3fb\u200d"))


def texts() -> st.SearchStrategy[str | bytes]:
    """Sentences that are known and pieces of them, letters of many scripts, all of Unicode, damaged UTF-8, any bytes."""
    known = st.sampled_from(SENTENCES)
    letters = st.lists(st.sampled_from(_LETTERS), max_size=90).map("".join)
    anything = st.text(st.characters(), max_size=40)  # surrogates are among them
    long = st.sampled_from(["a" * 200, "ab " * 400, "温a" * 50])
    spelled = st.one_of(known, letters, anything, st.lists(known, max_size=8).map(" ".join), long)
    damaged = st.tuples(spelled, st.integers(0, 80), st.integers(0, 255)).map(
        lambda t: (raw := t[0].encode("utf-8", "surrogatepass"))[: t[1]] + bytes([t[2]]) + raw[t[1] + 1 :]
    )
    return st.one_of(spelled, damaged, st.binary(max_size=60))


def random_text_ops(rng: np.random.Generator, rows: int, channels: int, labels: int) -> list[Operation]:
    """bag_1b and dense_i4, with values over their whole ranges or near what texts give."""
    weight = pack_bits(rng.integers(0, 2, (rows, channels)), "<u2")
    bag = Bag1b(rows, channels, gain=pack_gains(rng.integers(0, 4, rows)), weight=weight)
    return [bag, random_op(rng, DenseI4, channels, labels)]


def random_pieces(rng: np.random.Generator, n: int = 300) -> Pieces:
    """Parts of SENTENCES, with the mark of a chunk before some, at costs that make ties; some letters are in none."""
    found = set()
    for _ in range(n):
        words = "▁".join(str(rng.choice(SENTENCES)).lower().split())
        begin, length = int(rng.integers(0, len(words))), int(rng.choice([1, 1, 2, 3, 4, 6]))
        found.add(("▁" + words)[begin : begin + length].encode()[:63])
    return Pieces({piece: int(rng.integers(1, 12)) * len(piece) for piece in sorted(found)}, int(rng.choice([1, 20, 300])))


def text_model(seed: int = 0, channels: int = 40, labels: int = 3, families: int = 0, more: int = 40) -> Model:
    """A complete model that reads; it has rows for features of SENTENCES, and for `more` that nothing gives."""
    rng = np.random.default_rng(seed)
    folding, families = Folding.of(SENTENCES), families or (1 << len(FAMILIES)) - 1
    pieces = random_pieces(rng) if families & PIECES else None
    keys = {key for text in SENTENCES for key in features(text, families, folding, pieces) if rng.random() < 0.7}
    text = Text(families, folding, sorted(keys | set(rng.integers(0, 1 << 24, more).tolist())), pieces)
    ops = random_text_ops(rng, len(text.keys), channels, labels)
    ops[-1].out_bias >>= 12  # so that what is compared with thresholds is no big integer on a board, whose heap it would take
    names = ["lights_on", "größer", "_unknown_"][:labels] + [f"label {i}" for i in range(3, labels)]
    return Model({"name": "text"}, names, [5] * labels, None, ops, GoldenText.of(text, ops, SENTENCES[0]), text)
