"""Hostile bytes: the C core under libFuzzer, and all readers of model files, which must agree on what is valid."""

import os
import shutil
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device import fuzz
from device.board.signwave import kernels
from device.board.signwave.model import Model as BoardModel
from export import format as swm
from export import native
from export.graph import Conv1b, SumWindow, decode_graph
from tests.device.seeds import seeds
from tests.device.vectors import assemble, sections_of
from tests.export.strategies import random_frames, random_op, tiny_model

SECONDS = 20


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> list[Path]:
    """Seeds of the present format, and the kept corpus. Without clang the test is skipped, or fails where it is required."""
    if reason := fuzz.missing():
        (pytest.fail if os.environ.get("SIGNWAVE_REQUIRE_TOOLCHAIN") == "1" else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("corpus")
    for i, data in enumerate(seeds()):
        (folder / str(i)).write_bytes(data)
    return [folder, fuzz.KEPT]


def test_nothing_is_found_in_the_core(corpora, tmp_path):
    inputs = [path for folder in corpora for path in folder.iterdir()]
    assert max(path.stat().st_size for path in inputs) <= fuzz.MAX_INPUT
    run = fuzz.fuzz(fuzz.build(tmp_path / "fuzz"), corpora, tmp_path / "findings", SECONDS)
    assert run.findings == [], (tmp_path / "log.txt").read_text()[-4000:]
    assert run.loaded == len(inputs) and run.executions > 1.5 * len(inputs)


@pytest.mark.parametrize("buffer", ["graph", "state", "value"])
def test_the_fuzzer_sees_what_lies_behind_a_buffer(buffer, corpora, tmp_path):
    """The core is told that a buffer is a word longer than it is: it must be caught out there."""
    shutil.copytree(fuzz.NATIVE, tmp_path / "native")
    target = tmp_path / "native" / "fuzz.c"
    call = f"sw_graph_step({', '.join(f'{name}->p, {name}->len' for name in ('graph', 'state', 'value'))}, first, last)"
    assert call in target.read_text()
    target.write_text(target.read_text().replace(call, call.replace(f"{buffer}->len", f"{buffer}->len + 4")))
    run = fuzz.fuzz(fuzz.build(tmp_path / "fuzz", tmp_path / "native"), corpora, tmp_path / "findings", 5)
    [(path, what)] = run.findings
    assert path.is_file() and ("AddressSanitizer: heap-buffer-overflow" in what or "broken" in what)


def _features_model() -> swm.Model:
    rng = np.random.default_rng(3)
    ops = [random_op(rng, Conv1b, 8, 36, 2), random_op(rng, Conv1b, 36, 36, 2, 3, True), random_op(rng, SumWindow, 36, 36, 3)]
    return swm.Model({"name": "x", "made_by": "y"}, [f"label {i}" for i in range(36)], list(range(36)), None, ops)


FILES = [swm.encode(tiny_model()), swm.encode(_features_model())]
PARTS = [sections_of(data) for data in FILES]
FRONT_ENDS = [PARTS[0][swm.FRONT_END], swm.FrontEnd(list(range(16, 16 * 67, 16)), 32).encode()]
NUMBERS = st.one_of(st.sampled_from([0, 1, 2, 3, 4, 5, 8, 24, 25, 64, 65, 255, 256, 257, 512, 513, 65535, 1 << 20, (1 << 32) - 1,
                                     (1 << 30) - 1, 1 << 30, -(1 << 30), 1 - (1 << 30)]),
                    st.integers(0, (1 << 32) - 1))  # fmt: skip


@st.composite
def damaged(draw, sources: list[bytes]) -> bytes:
    """One of the byte strings, with one to three numbers, lengths or runs of bytes changed, mostly near its beginning."""
    raw = bytearray(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 3))):
        at = min(draw(st.one_of(st.integers(0, 40), st.integers(0, len(raw)))), len(raw))
        change = draw(st.sampled_from(["number", "number", "byte", "bit", "cut", "insert", "repeat", "truncate"]))
        if change == "number":
            size, form = draw(st.sampled_from([(1, "B"), (2, "<H"), (4, "<I")]))
            at -= at % size
            raw[at : at + size] = struct.pack(form, draw(NUMBERS) & ((1 << 8 * size) - 1))
        elif change in ("byte", "bit") and at < len(raw):
            raw[at] ^= draw(st.integers(1, 255)) if change == "byte" else 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del raw[at : at + draw(st.integers(1, 12))]
        elif change == "insert":
            raw[at:at] = draw(st.binary(max_size=12))
        elif change == "repeat":
            raw[at:at] = raw[at : at + draw(st.integers(1, 64))]
        else:
            del raw[at:]
    return bytes(raw)


def records_of(graph: bytes) -> list[bytes]:
    """The records of a valid graph section."""
    out, at = [], 4
    while at < len(graph):
        length = struct.unpack_from("<I", graph, at + 4)[0]
        out.append(graph[at : at + length])
        at += length
    return out


RECORDS = [records_of(parts[swm.GRAPH]) for parts in PARTS]


@st.composite
def damaged_graphs(draw) -> bytes:
    """Records of a valid graph: as they were or in any order and number, some damaged, then the whole perhaps."""
    records = draw(st.sampled_from(RECORDS))
    if draw(st.booleans()):
        records = draw(st.lists(st.sampled_from(records), min_size=1, max_size=5))
    broken = draw(st.sets(st.integers(0, len(records) - 1), max_size=2))
    records = [draw(damaged([record])) if i in broken else record for i, record in enumerate(records)]
    graph = struct.pack("<I", len(records)) + b"".join(records)
    return graph if broken else draw(damaged([graph]))


@st.composite
def damaged_files(draw) -> bytes:
    """A file whose size and checksum are right: whole sections damaged, or its bytes wherever they are."""
    if draw(st.booleans()):
        raw = draw(damaged(FILES))
        return raw[:8] + assemble([], swm.VERSION, raw[16:])[8:16] + raw[16:] if len(raw) >= 16 else raw
    parts = dict(draw(st.sampled_from(PARTS)))
    for kind in draw(st.lists(st.sampled_from(sorted(parts)), min_size=1, max_size=2)):
        parts[kind] = draw(damaged_graphs() if kind == swm.GRAPH else damaged([parts[kind]]))
    return assemble(list(parts.items()), swm.VERSION)


def accepted(read, raw: bytes):
    """What `read` makes of the bytes; None where it refuses them with a ValueError that says why."""
    tracemalloc.start()
    began = time.process_time()
    try:
        return read(raw)
    except ValueError as error:
        assert str(error)
        return None
    finally:
        seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < 3 and peak < 1 << 20, (seconds, peak)


@settings(max_examples=600, deadline=None)
@given(damaged_graphs())
def test_all_checks_accept_the_same_graphs(raw):
    ops, board, core = accepted(decode_graph, raw), accepted(kernels.graph_check, raw), accepted(native.Graph, raw)
    assert (ops is None, board is None) == (core is None, core is None)
    if core is not None:
        assert board == (core.state_size, core.value_size)
        _same_results(ops, raw, core)


def _same_results(ops: list, raw: bytes, core: native.Graph) -> None:
    """The portable kernels take frames as the C core does."""
    state, value = bytearray(core.state_size), bytearray(core.value_size)
    kernels.graph_reset(raw, state)
    for frame in random_frames(ops, 3, 1):
        value[: frame.nbytes] = frame.tobytes()
        kernels.graph_step(raw, state, value, 0, len(ops))
        expected = core.step(frame)
        assert value[: expected.nbytes] == expected.tobytes()


@settings(max_examples=600, deadline=None)
@given(damaged(FRONT_ENDS))
def test_all_checks_accept_the_same_front_ends(raw):
    host, board, core = (accepted(read, raw) for read in (swm.FrontEnd.decode, kernels.frontend_state_size, native.FrontEnd))
    assert (host is None, board is None) == (core is None, core is None)


@settings(max_examples=1000, deadline=None)
@given(damaged_files())
def test_readers_on_host_and_board_accept_the_same_files(raw):
    host, board = accepted(swm.decode, raw), accepted(BoardModel, raw)
    assert (host is None) == (board is None)
    if host is not None:
        assert (host.labels, host.thresholds, host.metadata) == (board.labels, board.thresholds, board.metadata)
        native.Graph(sections_of(raw)[swm.GRAPH])
        board.step_features(bytes(board.frame_bytes))
