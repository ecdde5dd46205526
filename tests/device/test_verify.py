"""`verify` compares every interpreter on every bit; `bench` counts exactly."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from device import bench, micropython, verify
from export import format as swm

_spec = importlib.util.spec_from_file_location("vectors", Path(__file__).with_name("vectors.py"))
vectors = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(vectors)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    """model_path(True): a small model with a front end; model_path(False): one that is fed with features."""
    folder = tmp_path_factory.mktemp("models")
    for front_end in (True, False):
        swm.write(vectors.small_model(front_end), folder / f"{front_end}.swm")
    return lambda front_end: folder / f"{front_end}.swm"


def need_toolchain() -> None:
    missing = [reason for name in micropython.ARCHITECTURES if (reason := micropython.Target(name).missing())]
    if missing and os.environ.get("SIGNWAVE_REQUIRE_TOOLCHAIN") == "1":
        pytest.fail("; ".join(missing))
    if missing:
        pytest.skip("; ".join(missing))


@pytest.mark.parametrize("front_end", [True, False])
def test_all_interpreters_agree_on_every_bit(front_end, model_path):
    need_toolchain()
    told = []
    report = verify.verify(model_path(front_end), inputs=6, seed=3, progress=told.append)
    assert report.identical and not report.differences and not report.skipped
    assert report.interpreters == list(verify.INTERPRETERS) == told
    assert report.inputs == 7


def test_a_difference_is_named(monkeypatch, model_path):
    def wrong(model, clips):
        results = [verify._reference(model, clip) for clip in clips]
        results[1][2, 0] += 1
        return results

    monkeypatch.setattr(verify, "_native", wrong)
    report = verify.verify(model_path(True), inputs=2, targets=["native"])
    assert not report.identical and report.interpreters == ["reference", "native"]
    assert len(report.differences) == 1 and report.differences[0].startswith("native: input 1, frame 2: ")


def test_a_wrong_golden_result_is_named(tmp_path):
    model = vectors.small_model(True)
    model.golden.result[0] += 1
    swm.write(model, tmp_path / "wrong.swm")
    report = verify.verify(tmp_path / "wrong.swm", inputs=1, targets=[])
    assert not report.identical and "golden" in report.differences[0]


def test_what_cannot_run_is_skipped_with_the_reason(monkeypatch, tmp_path, model_path):
    monkeypatch.setenv("SIGNWAVE_TOOLCHAIN", str(tmp_path))
    monkeypatch.delenv("MPY_DIR", raising=False)
    report = verify.verify(model_path(True), inputs=2)
    assert report.identical and report.interpreters == ["reference", "native"]
    assert set(report.skipped) == set(verify.MICROPYTHON) and all("make toolchain" in s for s in report.skipped.values())


def test_unknown_interpreters_are_refused(model_path):
    with pytest.raises(ValueError, match="micropython-rv32imc"):
        verify.verify(model_path(True), targets=["esp8266"])


def test_counts_are_the_same_on_every_run_and_add_up(model_path):
    need_toolchain()
    table = bench.bench(model_path(True), frames=10)
    assert table == bench.bench(model_path(True), frames=10)
    layers = sum(layer["instructions"] for layer in table["layers"])
    assert 0.8 < layers / table["graph_instructions_per_frame"] <= 1
    per_frame = table["front_end_instructions_per_frame"] + table["graph_instructions_per_frame"]
    assert np.isclose(table["instructions_per_second_of_audio"], per_frame * 50, rtol=1e-3)
    assert [layer["name"] for layer in table["layers"]] == ["conv_i4", "conv_1b", "conv_1b", "dense_i8", "sum_window"]
    assert table["layers"][1]["binary_macs"] == 32 * 32 * 3 and table["layers"][0]["int_macs"] == 16 * 32 * 3
    assert all(layer["naive"] > layer["instructions"] for layer in table["layers"][1:3])
    assert table["int8_per_second_of_audio"] > table["naive_per_second_of_audio"] > table["instructions_per_second_of_audio"]
    assert 4000 < table["code_bytes"] < 20000 and 1000 < table["ram_bytes"] < 20000


def test_only_the_exact_counter_is_offered(model_path):
    with pytest.raises(ValueError, match="rv32imc"):
        bench.bench(model_path(True), chip="esp32")
