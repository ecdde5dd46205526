import os
import re
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.format import FormatError, FrontEnd, Golden, Model, decide, decode, encode, read, write
from export.graph import SumWindow
from tests.export.strategies import tiny_model

TINY = encode(tiny_model())


def resealed(data: bytes) -> bytes:
    """The bytes with size and checksum made right again."""
    body = data[16:]
    return data[:8] + struct.pack("<II", len(data), zlib.crc32(body)) + body


def test_a_model_survives_its_bytes():
    model = tiny_model()
    again = decode(TINY)
    assert again == model and again.labels == ["yes", "no", "größer"]
    assert encode(again) == TINY


def test_the_golden_result_is_that_of_the_graph():
    again = decode(TINY)
    assert again.golden == type(again.golden).of(again.ops, again.golden.seed, again.golden.frames)


def refusal(data: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        decode(data)
    return str(caught.value)


def test_each_fault_has_its_message():
    assert "not a signwave model" in refusal(b"RIFF" + TINY[4:])
    assert "version 3 is newer than 2" in refusal(TINY[:4] + b"\3\0" + TINY[6:])
    assert "version 1 is older than 2, which this signwave reads: export" in refusal(TINY[:4] + b"\1\0" + TINY[6:])
    assert "truncated" in refusal(TINY[:7])
    assert "truncated" in refusal(TINY[:-4])
    assert "3 trailing bytes" in refusal(TINY + b"abc")
    assert "checksum" in refusal(TINY[:-1] + bytes([TINY[-1] ^ 1]))
    assert "over the limit" in refusal(TINY[:8] + struct.pack("<I", 1 << 21) + TINY[12:])


def with_section(i: int, kind: int | None = None, length: int | None = None) -> bytes:
    raw = bytearray(TINY)
    old = struct.unpack_from("<II", raw, 16 + 8 * i)
    struct.pack_into("<II", raw, 16 + 8 * i, old[0] if kind is None else kind, old[1] if length is None else length)
    return resealed(bytes(raw))


def test_sections_out_of_order_unknown_or_out_of_range_are_refused():
    assert "out of order" in refusal(with_section(2, kind=2))
    assert "section kind 77 is not known" in refusal(with_section(1, kind=77))
    assert "reach past the end" in refusal(with_section(3, length=1 << 30))
    assert "sections end at byte" in refusal(with_section(4, length=0))
    raw = bytearray(TINY)
    raw[6] = 200
    assert "reaches past the end" in refusal(resealed(bytes(raw)))


def test_a_missing_section_is_named():
    body = struct.pack("<II", 1, 12) + b"name=nobody\n"
    assert "section missing: labels, graph, golden" in refusal(resealed(struct.pack("<4sHHII", b"SWM\x1a", 2, 1, 0, 0) + body))


@given(st.integers(16, len(TINY) - 1), st.integers(1, 255))
def test_damage_under_a_right_checksum_is_refused_or_read(at, change):
    raw = bytearray(TINY)
    raw[at] ^= change
    try:
        decode(resealed(bytes(raw)))
    except FormatError as error:
        assert str(error)


@given(st.binary(max_size=200))
def test_bytes_from_anywhere_are_refused(data):
    refusal(data)


def test_labels_and_graph_must_agree():
    model = tiny_model()
    with pytest.raises(FormatError, match="the file has 2 labels"):
        encode(Model(model.metadata, ["a", "b"], [0, 0], model.front_end, model.ops))
    with pytest.raises(FormatError, match="the front end gives"):
        encode(Model(model.metadata, model.labels, model.thresholds, FrontEnd(list(range(16, 16 * 12, 16))[:10]), model.ops))


@pytest.mark.parametrize("label", ["", "x" * 256])
def test_labels_of_no_or_too_many_bytes_are_refused(label):
    with pytest.raises(FormatError, match="allowed are 1 to 255"):
        encode(Model({"name": "x"}, [label], [0], None, [SumWindow(1, 1, 2)]))


def test_metadata_is_checked():
    for bad in ({}, {"Name": "x"}, {"name": "a\nb"}, {"name": "x" * 5000}):
        with pytest.raises(FormatError, match="metadata"):
            encode(Model(bad, ["a"], [0], None, [SumWindow(1, 1, 2)]))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "model.swm"
    write(tiny_model(), path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        write(tiny_model(seed=1), path)
    assert os.listdir(tmp_path) == ["model.swm"] and read(path) == tiny_model()


def test_read_names_the_file(tmp_path):
    path = tmp_path / "broken.swm"
    path.write_bytes(b"hello, this is no model")
    with pytest.raises(FormatError, match="broken.swm: not a signwave model"):
        read(path)


def test_decision_takes_the_lowest_of_equals_and_its_margin():
    top, margin = decide([[5, 9, 9], [1, 2, 7]])
    assert top.tolist() == [1, 2] and margin.tolist() == [0, 5]
    assert [v.tolist() for v in decide([[4]])] == [[0], [0]]


def test_the_file_in_the_specification_reads_and_means_what_it_says():
    page = (Path(__file__).parents[2] / "export" / "FORMAT.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `([0-9A-F ]+)` \| .* \|$", page[page.index("## 6.") :], re.MULTILINE)
    data = b"".join(bytes.fromhex(text) for _, text in rows)
    assert [int(offset) for offset, _ in rows] == [sum(len(bytes.fromhex(t)) for _, t in rows[:i]) for i in range(len(rows))]
    model = decode(data)
    assert encode(model) == data and model.labels == ["no", "yes"] and model.thresholds == [0, 50]
    assert model.golden == Golden.of(model.ops, seed=1, frames=4)
