"""The commands as a user types them: what they print, their exit status, their answers to bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from device.micropython import Target
from export.format import Model, encode, read, write
from export.graph import SumWindow
from tests.export.strategies import tiny_model
from tests.kws.tones import LABELS, TINY, write_tones

SETTINGS = [part for value in TINY for part in ("--set", value)]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNWAVE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"), speakers=15)


def training_command(tones, out, *more) -> list[str]:
    """`kws train` as a process of its own, with tiny settings."""
    command = [sys.executable, "-m", "signwave_cli", "kws", "train", "--data", tones, "--out", out, "--preset", "demo"]
    return [str(part) for part in [*command, *SETTINGS, *more]]


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    command = training_command(tones, out, "--json")
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
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
    assert page.count("<svg") >= 3 and "What it costs" in page and "synthetic speech (" not in page
    assert set(json.loads((run / "results.json").read_text())) == {"val", "test"}


@pytest.mark.parametrize("arguments, option", [
    (["--phrase", "computer", "--labels", "yes,no"], "--labels"), (["--phrase", "computer", "--preset", "l"], "--preset"),
    (["--data", "x", "--language", "de"], "--language"), (["--data", "x", "--utterances", 100], "--utterances"),
])  # fmt: skip
def test_options_that_would_not_be_used_are_refused(arguments, option, signwave, tmp_path):
    status, _, told = signwave("kws", "train", *arguments, "--out", tmp_path / "run")
    assert status == 2 and option in told and not (tmp_path / "run").exists()


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
    _, out, _ = signwave("kws", "train", "--help")
    assert "signwave[embedding]" in out and "RUN/teacher/transformer," in out  # brackets and long words survive


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
    assert "neither one of demo, gsc12, gsc35, l, m, s" in refused(signwave, *arguments, "--preset", "xxl")
    assert not (tmp_path / "r").exists()


def test_a_full_disk_leaves_nothing_half_written(signwave, run, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refused(signwave, "export", run, "-o", tmp_path / "model.swm")
    assert not list(tmp_path.iterdir())


def start_training(tones, out, *settings):
    command = training_command(tones, out, "--teacher", "none", *(part for value in settings for part in ("--set", value)))
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1], start_new_session=True
    )


def interrupt_when(process, condition) -> str:
    """Press Ctrl-C, as a terminal does it to the whole group, once the condition holds; the standard error."""
    deadline = time.time() + 120
    while not condition() and process.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    return err


def test_ctrl_c_while_training_ends_with_130_and_the_same_command_goes_on(tones, tmp_path):
    settings = ["float_epochs=30", "activation_epochs=0", "binary_epochs=1"]
    err = interrupt_when(start_training(tones, tmp_path / "r", *settings), (tmp_path / "r" / "checkpoint.pt").exists)
    done = len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines())
    assert "resumes" in err and 1 <= done < 31
    again = start_training(tones, tmp_path / "r", *settings)
    _, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    rows = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [*range(1, 31), 1] and "float 1/30" not in err  # the first is not repeated


def test_ctrl_c_while_augmenting_says_that_the_same_command_goes_on(tones, tmp_path, monkeypatch):
    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path / "cache"))
    begun = lambda: any((tmp_path / "cache").glob("features-*.done"))  # noqa: E731
    err = interrupt_when(start_training(tones, tmp_path / "r", "variants=900"), begun)
    assert "the same command goes on" in err


def test_a_run_does_not_go_on_with_other_recordings(signwave, run, tmp_path):
    other = write_tones(tmp_path / "other", speakers=15, seed=5)
    message = refused(signwave, "kws", "train", "--data", other, "--out", run, "--preset", "demo", *SETTINGS)
    assert "features" in message


USELESS = """
batch_size=0 variants=-1 seconds=0 seconds=nan learning_rate=-1 temperature=0 distill=2 seed=-1 float_epochs=-1 label_smoothing=2
model.channels=0 model.channels=600 model.blocks=70 model.taps=0 model.window=0 model.window=300 model.dropout=2
model.dilations=[] model.dilations=[64,64] model.estimator=foo teacher.size=huge
"""


@pytest.mark.parametrize("setting", USELESS.split())
def test_settings_that_no_training_can_use_are_refused_before_it(signwave, tones, tmp_path, setting):
    taps = ["--set", "model.taps=9"] if "64,64" in setting else []
    message = refused(signwave, "kws", "train", "--data", tones, "--out", tmp_path / "r", "--set", setting, *taps)
    assert "Usage" not in message and not (tmp_path / "r").exists()


def test_a_damaged_run_folder_is_named(signwave, run, tmp_path):
    for name, content in (("export.json", "{"), ("config.json", "{}"), ("model.safetensors", "x")):
        copy = tmp_path / name
        shutil.copytree(run, copy)
        (copy / name).write_text(content)
        assert "is damaged" in refused(signwave, "export", copy, "-o", tmp_path / "m.swm")


def test_a_cache_on_a_full_disk_is_named(signwave, tones, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    message = refused(signwave, "kws", "train", "--data", tones, "--out", tmp_path / "r", "--preset", "demo", *SETTINGS)
    assert "features-" in message and "No space left" in message
    assert not list((tmp_path / "cache").glob("features-*.npy"))


def test_clips_of_unknown_labels_are_left_out_with_a_warning(signwave, run, tmp_path):
    root = write_tones(tmp_path / "t", speakers=10)
    table = (root / "manifest.csv").read_text().replace(",high,", ",tall,")
    (root / "manifest.csv").write_text(table)
    status, _, err = signwave("kws", "eval", run / "model.swm", "--data", root)
    assert status == 0 and "'tall' are left out" in err and "no clips of 'high'" in err and ".py" not in err


def test_a_model_without_front_end_cannot_listen(signwave, tones, tmp_path):
    write(Model({"name": "deaf"}, ["a"], [0], None, [SumWindow(1, 1, 2)]), tmp_path / "deaf.swm")
    clip = tones / "high" / "s0_0.wav"
    for command in (["kws", "classify"], ["run"]):
        assert "no front end" in refused(signwave, *command, tmp_path / "deaf.swm", clip)


def test_bad_options_are_refused(signwave, run, tones, tiny, tmp_path):
    assert "split 'tset'" in refused(signwave, "kws", "eval", run / "model.swm", "--data", tones, "--split", "tset")
    assert "seconds" in refused(signwave, "kws", "eval", run / "model.swm", "--data", tones, "--seconds", "nan")
    assert "gpu" in refused(signwave, "run", tiny, tones / "high" / "s0_0.wav", "--on", "gpu")
    assert "z80" in refused(signwave, "bench", tiny, "--chip", "z80")
    assert "--inputs" in refused(signwave, "verify", tiny, "--inputs", "0")
    assert "name at least one word" in refused(signwave, "kws", "synthesize", tmp_path / "s", "--words", "")
    assert "no such folder" in refused(
        signwave, "kws", "train", "--data", tones, "--out", tmp_path / "r", "--teacher", "runs/none/teacher/transformer"
    )


def test_synthesize_writes_a_data_set(signwave, tmp_path):
    status, out, _ = signwave("kws", "synthesize", tmp_path / "s", "--words", "yes,no", "--clips", "10", "--json")
    counts = json.loads(out)["counts"]
    assert status == 0 and set(counts["train"]) == {"yes", "no", "_silence_", "_unknown_"}
    assert sum(counts[split]["yes"] for split in counts) == 10


needs_pc, needs_rv32 = (
    pytest.mark.skipif(
        bool(Target(name).missing()) and not os.environ.get("SIGNWAVE_REQUIRE_TOOLCHAIN"),
        reason=f"no {name}; make toolchain",
    )
    for name in ("pc", "rv32")
)


@needs_pc
def test_verify_prints_exactly_one_object(signwave, tiny):
    status, out, err = signwave("verify", tiny, "--inputs", "2", "--json")
    value = json.loads(out)
    assert status == 0 and value["identical"] is True and value["inputs"] == 3 and "running reference" in err
    assert {"reference", "native", "micropython-portable", "micropython-x64"} <= set(value["interpreters"])


@needs_pc
def test_run_on_micropython_gives_the_same_integers(signwave, run, tones):
    clip = tones / "low" / "s14_0.wav"
    results = [
        json.loads(signwave("run", run / "model.swm", clip, "--on", on, "--json")[1])["clips"] for on in ("native", "micropython")
    ]
    assert results[0] == results[1]


@needs_rv32
def test_bench_prints_the_promised_keys(signwave, tiny):
    status, out, _ = signwave("bench", tiny, "--chip", "rv32imc", "--json")
    value = json.loads(out)
    assert status == 0 and value["instructions_per_second_of_audio"] > value["front_end_instructions_per_frame"] > 10_000
    assert value["code_bytes"] < 12 * 1024 and value["ram_bytes"] < 8 * 1024
    assert [layer["name"] for layer in value["layers"]] == ["conv_i4", "conv_1b", "dense_i8", "sum_window"]
    assert all({"binary_macs", "int_macs", "instructions", "naive", "int8"} <= layer.keys() for layer in value["layers"])
