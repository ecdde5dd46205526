"""Typed text: what is read, what is hashed, what the graph makes of it; the C core equals the reference on every string."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import native, reference
from export.folding import Folding, Range
from export.format import GoldenText, Model, decode, encode
from export.graph import (
    MAX_BIAS,
    Bag1b,
    DenseI4,
    FormatError,
    SumWindow,
    decode_graph,
    encode_graph,
    pack_gains,
    pack_i4,
    unpack_gains,
)
from export.pieces import Pieces
from export.text import FAMILIES, PIECES, Text, chunks, families, features, normalise
from tests.export.strategies import SENTENCES, random_pieces, random_text_ops, text_model, texts, tiny_model

ALL = (1 << len(FAMILIES)) - 1
FOLDING = Folding.of(SENTENCES)
VOCABULARY = random_pieces(np.random.default_rng(1))


def reader(families: int, keys: list[int]) -> Text:
    return Text(families, FOLDING, keys, VOCABULARY if families & PIECES else None)


def words(text: str | bytes, folding: Folding = FOLDING) -> list[str]:
    return ["".join(map(chr, word)) for chunk in chunks(text, folding) for word in chunk]


@pytest.mark.parametrize("text, expected", [
    ("Turn ON the lights!", "turn on the lights"),
    ("don't, don’t", "dont dont"),
    ("at 12:30", "at 00 00"),
    ("Ça va, GRÖßER?", "ca va großer"),
    ("e\u0301te\u0301", "ete"),
    ("Включи ёж, Йод", "включи еж йод"),
    ("温度を下げて", "温 度 を 下 げ て"),
    ("שָׁלוֹם", "שלום"),
    ("أضِف ٣", "اضف 0"),
    ("🏠👍🏽x", "🏠 👍 x"),
    ("ΆΛΦΑ", "αλφα"),
    ("ＡＢ７", "ab0"),
    ("Ğ ğ Ā", "g g a"),
    ("a\0b\xa0c\u3000d", "a b c d"),
    ("", ""),
    (" .,!", ""),
    (b"caf\xe9 \xf0\x9f x \xc0\x80", "caf x"),
    (b"\xed\xa0\x80a", "a"),
    ("हिन्दी", "हिन्दी"),
])  # fmt: skip
def test_texts_become_words(text, expected):
    assert words(text) == expected.split()


def test_a_file_holds_the_ranges_that_its_texts_need():
    assert Folding.of(["plain English, it's 12:30"]).ranges == []
    assert len(Folding.of(["温度"]).ranges) == 1
    assert words("été", Folding.of(["ç"])) == ["ete"]  # of the same 64 code points
    assert words("ж", Folding.of(["ç"])) == []  # not of this file's languages


def test_every_code_point_means_what_unicode_says_of_its_script():
    folding = Folding.of([chr(c) for c in range(0x80, 0x3000) if not 0xD800 <= c < 0xE000])
    for c in "ÀàЯяΩωŠšŽž":
        assert folding(ord(c)) == folding(ord(c.lower())) == folding(ord(c.upper()))
    assert folding(ord("«"))[0] == folding(ord("—"))[0] == folding(0x2028)[0] == folding(ord("!"))[0]


@pytest.mark.parametrize("ranges", [
    [Range(0x7F, 0x90, 1)], [Range(0x90, 0x8F, 1)], [Range(0x80, 0x90, 1), Range(0x90, 0x91, 1)], [Range(0xD000, 0xE000, 1)],
    [Range(0x80, 0x81, 5)], [Range(0x80, 0x81, 0, 1)], [Range(0x80, 0x81, 3, 2)], [Range(0x10FFFF, 0x110000, 1)],
    [Range(0x80, 0x10080, 1)], [Range(0x10FFFF, 0x10FFFF, 3, 1)],
])  # fmt: skip
def test_wrong_ranges_are_refused(ranges):
    with pytest.raises(FormatError, match="range"):
        Folding(ranges)


@given(texts())
def test_normalising_twice_is_normalising_once(text):
    once = normalise(text, FOLDING)
    assert list(chunks(once, FOLDING)) == list(chunks(text, FOLDING))
    assert "'" not in once and once == once.strip()


def test_features_are_those_of_the_specification():
    def mix(h, v):
        return (h ^ v) * 0x9E3779B1 % 2**32

    def key(family, *values):
        h = mix(0x811C9DC5, family)
        for v in values:
            h = mix(h, v)
        return ((h ^ h >> 16) * 0x85EBCA6B % 2**32) >> 8

    def word(text, family=0):
        h = mix(0x811C9DC5, family)
        for c in text:
            h = mix(h, ord(c))
        return h

    go, on = word("go"), word("on")
    assert features("Go on", families("words"), FOLDING) == [key(0, *b"go"), key(0, *b"on")]
    assert features("go on", families("word2"), FOLDING) == [key(1, 0, go), key(1, go, on), key(1, on, 0)]
    assert features("go on", families("skip2"), FOLDING) == [key(2, 0, on), key(2, go, 0)]
    assert features("go", families("chars3", "chars4"), FOLDING) == [key(3, 0, *b"go"), key(3, *b"go", 0), key(4, 0, *b"go", 0)]
    assert features("温度", families("words", "chars3"), FOLDING) == [key(3, 0, ord("温"), 0), key(0, ord("温")),
                                                                    key(3, 0, ord("度"), 0), key(0, ord("度"))]  # fmt: skip
    assert features("", ALL, FOLDING, VOCABULARY) == []
    pieces = Pieces({"▁g".encode(): 5, b"o": 5, "▁".encode(): 9}, 20)
    g, o, m, n = (word(text, 6) for text in ("▁g", "o", "▁", "n"))
    assert features("go", families("pieces"), FOLDING, pieces) == [key(6, ord("▁"), ord("g")), key(6, ord("o"))]
    assert features("go n", families("piece2"), FOLDING, pieces) == [key(7, 0, g), key(7, g, o), key(7, o, m), key(7, m, n),
                                                                    key(7, n, 0)]  # fmt: skip
    assert len(features("x" * 65, families("words"), FOLDING)) == 2


def test_unknown_families_are_named():
    with pytest.raises(FormatError, match="chars9; there are words"):
        families("words", "chars9")


@settings(max_examples=400, deadline=None)
@given(texts(), st.integers(1, ALL))
def test_the_core_finds_the_features_of_the_reference(text, families):
    core = native.Text(reader(families, [0]).encode())
    assert core.keys(text).tolist() == features(text, families, FOLDING, VOCABULARY)


MODEL = text_model()
CORE = native.Text(MODEL.text.encode(), encode_graph(MODEL.ops))


@settings(max_examples=300, deadline=None)
@given(texts())
def test_the_core_gives_the_results_of_the_reference(text):
    rows = MODEL.text.rows(text)
    assert CORE.rows(text).tolist() == rows and len(rows) <= 512
    assert CORE.run(text).tolist() == reference.run(MODEL.ops, [rows])[0].tolist()


def test_no_more_than_512_rows_count():
    rows = MODEL.text.rows("turn on the kitchen lights " * 40)
    assert len(rows) == 512 == len(CORE.rows("turn on the kitchen lights " * 40))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 23), st.integers(1, 40))
def test_graphs_give_the_results_of_the_reference_after_every_operation(seed, quads, labels):
    rng = np.random.default_rng(seed)
    entries = int(rng.integers(1, 30))
    ops = random_text_ops(rng, entries, 4 * quads, labels)
    assert decode_graph(encode_graph(ops)) == ops
    core = native.Text(Text(1, FOLDING, list(range(entries))).encode(), encode_graph(ops))
    rows = rng.integers(0, entries, int(rng.choice([0, 1, 20, 512])))
    for last in range(1, len(ops) + 1):
        assert core.run_rows(rows, last).tolist() == reference.run(ops[:last], [rows])[0].tolist()


@pytest.mark.parametrize("labels, size", [(512, 2048), (2, 1028)])
def test_the_largest_sums_fit(labels, size):
    ops = random_text_ops(np.random.default_rng(0), 5, 512, labels)
    ops[0].gain, ops[0].weight = pack_gains([3] * 5), np.full((5, 32), 0xFFFF, np.uint16)
    ops[1].mult[:], ops[1].bias[:], ops[1].shift_a, ops[1].weight = 32767, MAX_BIAS - 1, 0, pack_i4(np.full((labels, 1, 512), -8))
    core = native.Text(Text(1, FOLDING, list(range(5))).encode(), encode_graph(ops))
    assert core.run_rows([4] * 512, 1).tolist() == [4096] * 512 and core.value_size == size
    assert core.run_rows([4] * 512).tolist() == reference.run(ops, [[4] * 512])[0].tolist()


def test_a_file_survives_its_bytes():
    model = text_model()
    model.slots = b"room\tkitchen\n"
    again = decode(encode(model))
    assert again == model and again.slots == model.slots and again.text.keys == model.text.keys
    assert again.golden == GoldenText.of(again.text, again.ops, SENTENCES[0])


def test_one_threshold_for_all_takes_four_bytes():
    model = text_model(labels=30)
    size = len(encode(model))
    model.thresholds[3] += 1
    assert len(encode(model)) == size + 4 * 29 and decode(encode(model)).thresholds == model.thresholds


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_gains_survive_packing(gains):
    assert unpack_gains(pack_gains(gains), len(gains)).tolist() == gains


SECTION = reader(63, MODEL.text.keys).encode()


def changed(at: int, form: str, value: int) -> bytes:
    raw = bytearray(SECTION)
    struct.pack_into(form, raw, at, value)
    return bytes(raw)


DICTIONARY = 8 + 8 * len(FOLDING.ranges)


@pytest.mark.parametrize("raw, message", [
    (SECTION[:7], "at least 8"), (SECTION[:-2], "entries need"), (SECTION + b"\0\0", "entries need"),
    (changed(2, "<H", ALL), "pieces"), (changed(0, "<H", 2), "identity 2"), (changed(2, "<H", 0), "families"),
    (changed(2, "<H", ALL + 1), "newer signwave"),
    (changed(8, "<I", 0x01000040), "range 0040"), (changed(DICTIONARY, "<B", 0), "add up"),
    (changed(DICTIONARY + 256, "<H", 65535), "must rise"),
])  # fmt: skip
def test_sections_that_are_not_valid_are_refused_by_reference_and_core(raw, message):
    with pytest.raises(FormatError, match=message):
        Text.decode(raw)
    with pytest.raises(native.NativeError, match="text|section"):
        native.Text(raw)


def test_a_dictionary_and_graph_that_do_not_fit_are_refused():
    model = text_model()
    model.text.keys.pop()
    with pytest.raises(FormatError, match=r"the graph has \d+ rows, the dictionary \d+ entries"):
        encode(model)
    with pytest.raises(native.NativeError, match="rows"):
        native.Text(model.text.encode(), encode_graph(model.ops))


def test_sound_and_text_do_not_mix():
    heard, read = tiny_model(), text_model()
    with pytest.raises(FormatError, match="need each other"):
        encode(Model({"name": "x"}, heard.labels, heard.thresholds, None, heard.ops, read.golden, read.text))
    with pytest.raises(FormatError, match="tested with a text"):
        Model({"name": "x"}, read.labels, read.thresholds, None, read.ops, None, read.text)
    for ops in ([read.ops[0], SumWindow(40, 40, 1)], read.ops[1:], [*read.ops, *read.ops], [read.ops[0]]):
        with pytest.raises(FormatError, match="graph: "):
            encode_graph(ops)
    heard.slots = b"x"
    with pytest.raises(FormatError, match="slots"):
        encode(heard)
    with pytest.raises(FormatError, match="reads text, not sound"):
        read.listening()
    with pytest.raises(FormatError, match="does not read text"):
        heard.reading()


@pytest.mark.parametrize("kind, field, value", [
    (Bag1b, "taps", 2), (Bag1b, "cin", 16385), (Bag1b, "shift_a", 1), (Bag1b, "dilation", 2), (DenseI4, "taps", 2),
    (DenseI4, "shift_b", 1), (DenseI4, "shortcut", True), (DenseI4, "cin", 38), (DenseI4, "dilation", 2),
])  # fmt: skip
def test_shapes_beyond_the_limits_are_refused(kind, field, value):
    ops = random_text_ops(np.random.default_rng(0), 5, 40, 3)
    op = next(op for op in ops if type(op) is kind)
    setattr(op, field, value)
    with pytest.raises(FormatError):
        encode_graph(ops)


def test_padding_bits_are_refused():
    rng = np.random.default_rng(0)
    for i, name, value in ((0, "gain", 0x80), (0, "weight", 1 << 15), (1, "weight", 1)):
        ops = random_text_ops(rng, 5, 40, 3)
        array = getattr(ops[i], name).copy()
        array[..., -1] |= array.dtype.type(value)
        setattr(ops[i], name, array)
        with pytest.raises(FormatError, match="padding"):
            encode_graph(ops)


SMALL = Text(ALL, Folding.of(["é"]), [5, 70000, 70001], Pieces({b"a": 3, b"ab": 9, b"b": 7, b"bac": 1}, 20)).encode()


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_reference_and_core_accept_the_same_sections(data):
    raw = bytearray(SMALL)
    first = data.draw(st.sampled_from([0, len(SMALL) - 24]))
    for _ in range(data.draw(st.integers(1, 2))):
        raw[data.draw(st.integers(first, len(SMALL) - 1))] = data.draw(st.one_of(st.integers(0, 6), st.integers(0, 255)))
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(len(raw) - 24, len(raw)))]
    try:
        Text.decode(bytes(raw))
        accepted = True
    except FormatError:
        accepted = False
    if accepted:
        core = native.Text(bytes(raw))
        text = Text.decode(bytes(raw))
        for sentence in ("abacab", "é"):
            assert core.rows(sentence).tolist() == text.rows(sentence)
    else:
        with pytest.raises(native.NativeError):
            native.Text(bytes(raw))


PIECES_SEED = st.integers(0, 2**32 - 1).map(lambda seed: random_pieces(np.random.default_rng(seed), 30))


@given(PIECES_SEED)
def test_pieces_survive_their_bytes(pieces):
    assert Pieces.decode(pieces.encode()) == pieces


@settings(max_examples=200, deadline=None)
@given(PIECES_SEED, st.text("turn on温度▁xq", max_size=9))
def test_the_cut_is_the_cheapest(pieces, text):
    """Against all cuts there are; unknown letters alone, each at its cost."""
    symbols = "▁" + text

    def cheapest(at: int) -> int:
        if at == len(symbols):
            return 0
        found = [(end, pieces.costs.get(symbols[at:end].encode())) for end in range(at + 1, len(symbols) + 1)]
        cuts = [cost + cheapest(end) for end, cost in found if cost is not None]
        if found[0][1] is None:
            cuts.append(pieces.unknown + cheapest(at + 1))
        return min(cuts)

    cut = pieces.cut([ord(c) for c in text])
    assert [c for piece in cut for c in piece] == [ord(c) for c in symbols]
    cost = [pieces.costs.get("".join(map(chr, piece)).encode()) or pieces.unknown * len(piece) for piece in cut]
    assert sum(cost) == cheapest(0)


@pytest.mark.parametrize("costs, unknown", [
    ({}, 1), ({b"a": 0}, 1), ({b"a": 256}, 1), ({b"": 1}, 1), ({b"a" * 64: 1}, 1), ({b"a": 1}, 0),
])  # fmt: skip
def test_pieces_that_do_not_fit_are_refused(costs, unknown):
    with pytest.raises(FormatError, match="pieces"):
        Pieces(costs, unknown)
