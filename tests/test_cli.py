"""The commands as a user types them: what they print, their exit status, their answers to bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import signwave_cli
from export.format import encode, read
from tests.export.strategies import tiny_model
from tests.kws.tones import LABELS, TINY, write_tones

SETTINGS = [part for value in TINY for part in ("--set", value)]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNWAVE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def signwave(monkeypatch, capsys):
    """Call with arguments; returns (exit status, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["signwave", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            signwave_cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"), speakers=15)


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    command = [
        sys.executable,
        "-m",
        "signwave_cli",
        "kws",
        "train",
        "--data",
        tones,
        "--out",
        out,
        "--preset",
        "demo",
        "--json",
        *SETTINGS,
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file_bytes"] == (out / "model.swm").stat().st_size
    return out


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.swm"
    path.write_bytes(encode(tiny_model(bands=8)))
    return path


def test_training_leaves_a_report_with_pictures(run):
    page = (run / "report.html").read_text()
    assert page.count("data:image/png") >= 3 and "Layers" in page and "synthetic" not in page
    assert set(json.loads((run / "results.json").read_text())) == {"val", "test"}


def test_eval_prints_exactly_one_object(run, tones, signwave, tmp_path):
    status, out, _ = signwave(
        "kws", "eval", run / "model.swm", "--data", tones, "--split", "test", "--json", "--picture", tmp_path / "c.png"
    )
    value = json.loads(out)
    assert status == 0 and out.count("\n") == 1 and (tmp_path / "c.png").exists()
    assert value["labels"] == sorted(LABELS) and value["n"] == 9 == np.sum(value["confusion"])
    assert value["interval"][0] <= value["accuracy"] <= value["interval"][1]
    assert value["file_bytes"] == (run / "model.swm").stat().st_size
    status, out, _ = signwave("kws", "eval", run, "--data", tones)
    assert status == 0 and "teacher:" in out and "float twin:" in out


def test_classify_run_and_export(run, tones, signwave, tmp_path):
    clip = tones / "high" / "s14_0.wav"
    status, out, _ = signwave("kws", "classify", run / "model.swm", clip, "--json")
    assert status == 0 and json.loads(out)["clips"][0].keys() == {"file", "label", "margin", "at_s"}
    answers = []
    for on in ("reference", "native"):
        status, out, _ = signwave("run", run / "model.swm", clip, "--on", on, "--json")
        answers.append(json.loads(out)["clips"])
    assert answers[0] == answers[1] and len(answers[0][0]["scores"]) == 3
    status, out, _ = signwave("export", run, "-o", tmp_path / "again.swm", "--json")
    assert status == 0 and read(tmp_path / "again.swm") == read(run / "model.swm")


def test_inspect_shows_labels_and_costs(tiny, signwave):
    status, out, _ = signwave("inspect", tiny)
    assert status == 0 and "größer" in out and "conv_1b" in out
    status, out, _ = signwave("inspect", tiny, "--json")
    assert json.loads(out)["file_bytes"] == tiny.stat().st_size


def test_help_teaches(signwave):
    for arguments in ([], ["kws"], ["kws", "train"], ["kws", "eval"], ["run"], ["verify"], ["bench"], ["export"], ["inspect"]):
        status, out, _ = signwave(*arguments, "--help")
        assert status == 0 and "Usage" in out


def refused(signwave, *arguments) -> str:
    """The message of a command that must end with status 2, without a traceback and without any result."""
    status, out, err = signwave(*arguments)
    assert status == 2 and not out and "Traceback" not in err
    return " ".join(err.split())


def test_a_missing_or_broken_model_is_named(signwave, tmp_path, tiny):
    assert "No such file" in refused(signwave, "inspect", tmp_path / "none.swm")
    tiny.write_bytes(tiny.read_bytes()[:-1])
    assert "tiny.swm: truncated" in refused(signwave, "inspect", tiny, "--json")
    assert "tiny.swm: truncated" in refused(signwave, "verify", tiny)


def test_bad_recordings_are_named(signwave, tones, tmp_path, tiny):
    text = tmp_path / "text.wav"
    text.write_text("this is no sound")
    assert "text.wav" in refused(signwave, "kws", "classify", tiny, text)
    nan = tmp_path / "nan.wav"
    soundfile.write(nan, np.full(16000, np.nan), 16000, subtype="FLOAT")
    assert "nan.wav" in refused(signwave, "kws", "classify", tiny, nan)
    assert "folder" in refused(signwave, "kws", "train", "--data", tmp_path / "nowhere", "--out", tmp_path / "r")


def test_eight_bit_stereo_at_another_rate_comes_in_right(signwave, run, tmp_path):
    t = np.arange(44100) / 44100
    tone = 0.3 * np.sin(2 * np.pi * 1000 * t)
    soundfile.write(tmp_path / "clip.wav", np.stack([tone, tone], 1), 44100, subtype="PCM_U8")
    status, out, _ = signwave("kws", "classify", run / "model.swm", tmp_path / "clip.wav", "--json")
    assert status == 0 and json.loads(out)["clips"][0]["label"] == "middle"


def test_a_class_too_few_and_an_empty_class_are_refused(signwave, tmp_path):
    write_tones(tmp_path / "t", speakers=5)
    (tmp_path / "t" / "manifest.csv").unlink()
    (tmp_path / "t" / "empty").mkdir()
    assert "empty" in refused(signwave, "kws", "train", "--data", tmp_path / "t", "--out", tmp_path / "r")
    for label in ("empty", "low", "middle"):
        for path in (tmp_path / "t" / label).glob("*"):
            path.unlink()
        (tmp_path / "t" / label).rmdir()
    assert refused(signwave, "kws", "train", "--data", tmp_path / "t", "--out", tmp_path / "r")


def test_a_shared_speaker_is_named_as_a_warning(signwave, tmp_path, run):
    root = write_tones(tmp_path / "t", speakers=10)
    table = (root / "manifest.csv").read_text().replace("s9,test", "s0,test")
    (root / "manifest.csv").write_text(table)
    status, _, err = signwave("kws", "eval", run / "model.swm", "--data", root)
    assert status == 0 and "warning" in err and "s0" in err


def test_labels_with_spaces_and_other_scripts_work(signwave, tmp_path):
    root = write_tones(tmp_path / "t", speakers=10)
    table = (root / "manifest.csv").read_text()
    for old, new in (("low", "turn on"), ("high", "高い")):
        (root / old).rename(root / new)
        table = table.replace(f"{old}/", f"{new}/").replace(f",{old},", f",{new},")
    (root / "manifest.csv").write_text(table)
    quick = ["--set", "float_epochs=0", "--set", "activation_epochs=0", "--set", "binary_epochs=1", "--teacher", "none"]
    status, _, err = signwave("kws", "train", "--data", root, "--out", tmp_path / "r", "--preset", "demo", *SETTINGS, *quick)
    assert status == 0, err
    assert read(tmp_path / "r" / "model.swm").labels == ["middle", "turn on", "高い"]


def test_unknown_settings_and_presets_are_refused_with_the_valid_ones(signwave, tones, tmp_path):
    arguments = ["kws", "train", "--data", tones, "--out", tmp_path / "r"]
    assert "valid are: model, teacher, seed" in refused(signwave, *arguments, "--set", "sed=1")
    assert "neither one of demo, m, s" in refused(signwave, *arguments, "--preset", "xxl")
    assert not (tmp_path / "r").exists()


def test_a_full_disk_leaves_nothing_half_written(signwave, run, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refused(signwave, "export", run, "-o", tmp_path / "model.swm")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(tones, tmp_path):
    import signal
    import time

    command = [sys.executable, "-m", "signwave_cli", "kws", "train", "--data", tones, "--out", tmp_path / "r", "--preset", "demo"]
    command += [*SETTINGS, "--set", "float_epochs=200", "--teacher", "none"]
    process = subprocess.Popen(
        [str(p) for p in command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    deadline = time.time() + 120
    while not (tmp_path / "r" / "checkpoint.pt").exists() and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err and "resumes" in err
    epochs = len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines())
    assert 1 <= epochs < 200
