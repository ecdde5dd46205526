"""Files that read text with the tools of this room: every interpreter, exact counts, memory, hostile bytes."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device import bench, onboard, run, verify
from device.board.signwave.text import Text as Board
from device.counts import CHIPS
from device.micropython import MODULES, Target, native_module, package_files
from export import format as swm
from export import native, reference
from export.folding import Folding
from export.graph import FormatError
from export.pieces import Pieces
from export.text import Text, features
from tests.device.test_fuzz import accepted, damaged
from tests.device.test_native_build import FLAGS, NATIVE, target_or_skip
from tests.device.vectors import assemble, sections_of
from tests.export.strategies import SENTENCES, random_text_ops, text_model, texts

MODEL = text_model(channels=44, labels=5)
FILE = swm.encode(MODEL)
LARGE = text_model(channels=128, labels=151, more=2000)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "model.swm"
    swm.write(MODEL, path)
    return path


@pytest.fixture(scope="module")
def board() -> Board:
    return Board(FILE)


@settings(max_examples=100, deadline=None)
@given(texts())
def test_portable_kernels_give_the_results_of_the_reference(board, text):
    rows = MODEL.text.rows(text)
    accepted = board.run(text)
    assert board.hits == len(rows) and board.scores() == reference.run(MODEL.ops, [rows])[0].tolist()
    top, margin = swm.decide(board.scores())
    surety = swm.surety(board.scores(), MODEL.labels)
    assert (board.top, board.margin, board.surety) == (top, margin, surety)
    assert (accepted is None) == (not rows or surety < MODEL.thresholds[top] or MODEL.labels[top] == swm.UNKNOWN)


def test_all_interpreters_agree_on_every_bit(path):
    for name in ("pc", "rv32", "xtensa"):
        target_or_skip(name)
    report = verify.verify(path, inputs=12, seed=1)
    assert report.identical and not report.skipped and report.inputs == 13
    assert report.interpreters == list(verify.INTERPRETERS)


@settings(max_examples=3, deadline=None)
@given(st.lists(texts(), min_size=30, max_size=60))
def test_every_string_gives_the_same_on_the_pc_port_and_both_boards(lines):
    for name in ("pc", "rv32", "xtensa"):
        target_or_skip(name)
    raw = [line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line for line in lines]
    expected = reference.run(MODEL.ops, [MODEL.text.rows(line) for line in raw])
    clips = [verify.Clip(True, np.frombuffer(line, np.uint8)) for line in raw]
    for name in verify.MICROPYTHON:
        np.testing.assert_array_equal(np.concatenate(verify._micropython(name, FILE, clips, MODEL)), expected, name)


def test_differences_and_a_wrong_golden_test_are_named(path, tmp_path, monkeypatch):
    wrong = swm.Model(MODEL.metadata, MODEL.labels, MODEL.thresholds, None, MODEL.ops, swm.GoldenText("lights", 1), MODEL.text)
    swm.write(wrong, tmp_path / "wrong.swm")
    assert "golden" in verify.verify(tmp_path / "wrong.swm", inputs=1, targets=[]).differences[0]
    monkeypatch.setattr(native.Text, "run_rows", lambda self, rows: np.zeros(5, np.int32))
    assert verify.verify(path, inputs=1, targets=["native"]).differences[0].startswith("native: input 0, frame 0: ")


def test_run_gives_the_same_on_every_interpreter(path):
    target_or_skip("pc")
    results = [run.run_texts(path, [*SENTENCES, ""], on) for on in run.INTERPRETERS]
    assert results[0] == results[1] == results[2] and results[0][-1].label is None
    with pytest.raises(FormatError, match="reads text, not sound"):
        run.run(path, [np.zeros(9, np.int16)])


@pytest.mark.parametrize("chip", CHIPS)
def test_a_command_of_40_characters_stays_within_its_budget(chip, tmp_path):
    """64 KB, 151 labels, every family: far below 2.4 million instructions, 15 ms at 160 MHz."""
    target_or_skip({"rv32imc": "rv32", "xtensawin": "xtensa"}[chip])
    size = swm.write(LARGE, tmp_path / "large.swm")
    table = bench.bench_text(tmp_path / "large.swm", chip, texts=5)
    assert 55_000 < size < 70_000 and table["most_instructions"] < 450_000
    assert table == bench.bench_text(tmp_path / "large.swm", chip, texts=5)
    assert sum(layer["instructions"] for layer in table["layers"]) + table["read_instructions"] == pytest.approx(
        table["instructions_per_text"], abs=3
    )
    assert table["code_bytes"] < 8192 and table["ram_bytes"] < 3072


def test_the_core_takes_as_little_stack_as_is_said(tmp_path):
    """The deepest calls: a step of the graph and its operation; reading, a chunk, its pieces, a feature."""
    compiler, *chip = "riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32"
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    frames = {}
    for source in ("text", "bag"):
        command = [compiler, *chip, *FLAGS, "-Os", "-fstack-usage", "-c", str(NATIVE / f"{source}.c"), "-o", f"{source}.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
        lines = re.findall(r":(\w+)\t(\d+)\tstatic", (tmp_path / f"{source}.su").read_text())
        frames[source] = {name: int(size) for name, size in lines}
    step, _ = frames["bag"].pop("sw_bag_step"), frames["bag"].pop("sw_bag_check")
    assert 832 < step + max(frames["bag"].values()) <= bench.STACK
    del frames["text"]["sw_text_check"], frames["text"]["sw_text_keys"]
    assert 256 < sum(frames["text"].values()) <= bench.STACK


def test_what_a_file_needs_of_a_board_is_known(path):
    assert onboard.needs(path) == (len(FILE), 1028)
    with pytest.raises(FormatError, match="only sound is measured"):
        onboard.measure(None, path)


PARTS = sections_of(FILE)


def small_model() -> swm.Model:
    """Every part of a file of text, in less than 1 KiB."""
    folding, pieces = Folding.of(["é"]), Pieces({b"on": 9, b"n": 7, "▁".encode(): 5}, 20)
    keys = set(features("turn on é", 0xFF, folding, pieces))
    text = Text(0xFF, folding, sorted(keys), pieces)
    ops = random_text_ops(np.random.default_rng(0), len(keys), 8, 3)
    return swm.Model({"name": "x"}, ["a", "b", "é"], [0, 1, 2], None, ops, swm.GoldenText.of(text, ops, "on"), text, b"r\ta\n")


SMALL = sections_of(swm.encode(small_model()))


@st.composite
def damaged_files(draw) -> bytes:
    parts = dict(SMALL)
    for kind in draw(st.lists(st.sampled_from(sorted(parts)), min_size=1, max_size=2)):
        parts[kind] = draw(damaged([parts[kind]]))
    return assemble(list(parts.items()))


@settings(max_examples=120, deadline=None)
@given(damaged_files())
def test_readers_on_host_and_board_accept_the_same_files(raw):
    host, board = accepted(swm.decode, raw), accepted(Board, raw)
    assert (host is None) == (board is None)
    if host is not None:
        parts = sections_of(raw)
        core = native.Text(parts[swm.TEXT], parts[swm.GRAPH])
        assert (host.labels, host.thresholds, host.metadata) == (board.labels, board.thresholds, board.metadata)
        for text in ("turn on é", "", "noon"):
            board.run(text)
            assert board.scores() == core.run(text).tolist()


MISUSE = """
import text_x64 as k
text, graph = bytearray(open("text", "rb").read()), bytearray(open("graph", "rb").read())
value = bytearray(k.text_check(text, graph))
k.text_rows(bytes(text), "lights", value)
k.text_step(bytes(graph), value, 0, 2)
value[2] = 1                                        # more rows than there may be
for name, call in (
    ("pieces", lambda: k.text_check(text[:-1], graph)),
    ("length", lambda: k.text_check(text, graph[:-4])),
    ("aligned", lambda: k.text_check(memoryview(text)[1:], graph)),
    ("value", lambda: k.text_rows(text, b"", value[:-4])),
    ("value", lambda: k.text_rows(text, b"", memoryview(value)[1:])),
    ("value", lambda: k.text_step(graph, value[:-4], 0, 2)),
    ("value", lambda: k.text_step(graph, value, 0, 2)),
    ("range", lambda: k.text_step(graph, value, 0, 3)),
    ("range", lambda: k.text_step(graph, value, -1, 1)),
):
    try:
        call()
    except ValueError as error:
        assert name in str(error), (name, error)
    else:
        raise SystemExit("accepted: " + name)
for call in (lambda: k.text_rows(text, b"", bytes(value)), lambda: k.text_check(3, graph), lambda: k.text_check(text)):
    try:
        call()
        raise SystemExit("accepted a wrong type")
    except TypeError:
        pass
print("ok")
"""


def test_misuse_of_the_module_raises_a_value_error_that_names_the_argument():
    target = target_or_skip("pc")
    files = {"text": PARTS[swm.TEXT], "graph": PARTS[swm.GRAPH], "text_x64.mpy": native_module("x64", name="text").read_bytes()}
    assert target.run(MISUSE, files).check().strip() == "ok"


def test_without_the_module_the_portable_kernels_read_and_say_why():
    target_or_skip("pc")
    files = package_files(native_module("x64"))
    script = "from signwave.text import Text, kernels_name, reason\nprint(kernels_name, reason, Text('m').self_test())"
    assert MODULES == ("kernels", "text")
    assert Target("pc").run(script, {**files, "m": FILE}).check() == (
        "portable portable kernels, slow: text_x64.mpy is not installed beside signwave True\n")  # fmt: skip
