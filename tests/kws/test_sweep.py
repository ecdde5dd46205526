"""Sweeps: many trainings from one file, by several processes, resumed and compared."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

import kws.sweep
from bnn.config import ConfigError
from kws.data import DataError
from kws.sweep import DONE, JOB, TAKEN, _claim, plan, row, run_job, spread, sweep
from tests.kws.tones import TINY, write_tones

QUICK = [*TINY, "variants=1", "float_epochs=1", "activation_epochs=0", "binary_epochs=1", "distill=0"]


def sweep_file(folder, runs, **more):
    keys = {"preset": "s", "set": QUICK, **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    lines += ["[runs]", *(f'"{name}" = {json.dumps(value)}' for name, value in runs.items())]
    (folder / "sweep.toml").write_text("\n".join(lines) + "\n")
    return folder / "sweep.toml"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path_factory.getbasetemp() / "sweep-cache"))


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"), speakers=6)


def test_two_workers_train_and_one_that_fails_does_not_stop_the_other(tones, tmp_path):
    file = sweep_file(tmp_path, {"default": [], "wide": ["model.channels=64"]})
    out, options = tmp_path / "out", {"data": str(tones), "teacher": "none"}
    obstacle = out / "wide-s0" / "checkpoint.pt"
    obstacle.mkdir(parents=True)
    result = sweep(file, out, options, workers=2)
    assert [(run["name"], run["n"]) for run in result["runs"]] == [("default", 3)]
    assert result["failed"][0]["name"] == "wide" and "checkpoint.pt" in result["failed"][0]["error"]
    assert "wide, seed 0, failed" in (out / "results.md").read_text()

    # The same call trains only what is not done; other settings in the same folder are refused.
    before = (out / "default-s0" / DONE).stat().st_mtime_ns
    done = json.loads((out / "default-s0" / DONE).read_text())
    (out / "wide-s0" / DONE).write_text(json.dumps({**done, "file_bytes": 9999}))  # as another machine leaves it
    again = sweep(file, out, options)
    assert not again["failed"] and (out / "default-s0" / DONE).stat().st_mtime_ns == before
    assert again["table"][1]["bytes"] > again["table"][0]["bytes"] and "| wide | 1 |" in (out / "results.md").read_text()
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(again))
    with pytest.raises(ConfigError, match="wide-s0 holds a run with other settings"):
        sweep(sweep_file(tmp_path, {"wide": ["model.channels=96"]}), out, options)


def test_each_run_begins_from_the_finished_one_of_its_seed(tones, tmp_path):
    options = {"data": str(tones), "teacher": "none"}
    sweep(sweep_file(tmp_path, {"default": []}, seeds=[3, 4]), tmp_path / "float", options)
    further = {**options, "start": str(tmp_path / "float" / "default-s{seed}")}
    result = sweep(sweep_file(tmp_path, {"more": []}, seeds=[3, 4]), tmp_path / "more", further)
    assert [list(run["validation"]) for run in result["runs"]] == [["binary"]] * 2  # the float stage is that of the first sweep
    for seed in (3, 4):
        first, second = (tmp_path / run / "float.safetensors" for run in (f"float/default-s{seed}", f"more/more-s{seed}"))
        assert first.read_bytes() == second.read_bytes()


def test_other_speech_is_named_with_commas(tones, tmp_path):
    (tmp_path / JOB).write_text(json.dumps({"preset": "s", "set": QUICK}))
    with pytest.raises(DataError, match="no label here"):  # tones have no _unknown_
        run_job(tmp_path, {"data": str(tones), "teacher": "none", "negatives": f"{tones}, {tones}"})


def test_a_run_that_another_process_has_is_left_to_it(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with _claim(folder) as lock:
        assert lock is not None
        assert run_job(folder, {}) == TAKEN
    pid = os.fork()
    if not pid:  # a process that dies with its claim lets go of it
        _claim(folder).__enter__()
        os._exit(0)
    os.waitpid(pid, 0)
    with _claim(folder) as lock:
        assert lock is not None


def test_a_sweep_waits_for_what_another_machine_trains(tmp_path, tones):
    file = sweep_file(tmp_path, {"a": []})
    folder = tmp_path / "out" / "a-s0"
    folder.mkdir(parents=True)
    done = {"validation": {}, "val": 50.0, "n": 4, "file_bytes": 100, "seconds": 1}
    with _claim(folder):
        timer = threading.Timer(1.0, lambda: (folder / DONE).write_text(json.dumps(done)))
        timer.start()
        result = sweep(file, tmp_path / "out", {"data": str(tones)})
    assert result["runs"][0]["val"] == 50.0 and not (folder / "log.txt").exists()


def test_ctrl_c_reaches_every_run_once_and_waits_for_it(tmp_path, tones, monkeypatch):
    file, out = sweep_file(tmp_path, {"a": [], "b": []}), tmp_path / "out"
    script = (
        "import time\ntry:\n    open('ready', 'w').close(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(0.3); open('saved', 'a').write('x')"
    )
    command = [sys.executable, "-c", script]
    start = lambda job, workers: subprocess.Popen(command, cwd=job.folder, start_new_session=True)  # noqa: E731
    monkeypatch.setattr(kws.sweep, "_start", start)

    def interrupt_when_ready(seconds):
        if all((out / name / "ready").exists() for name in ("a-s0", "b-s0")):
            raise KeyboardInterrupt
        pause(seconds)

    pause = time.sleep
    monkeypatch.setattr(kws.sweep.time, "sleep", interrupt_when_ready)
    with pytest.raises(KeyboardInterrupt):
        sweep(file, out, {"data": str(tones)}, workers=2)
    assert [(out / name / "saved").read_text() for name in ("a-s0", "b-s0")] == ["x", "x"]


def test_a_plan_is_every_run_and_point_of_the_grid_with_every_seed(tmp_path):
    file = sweep_file(tmp_path, {"default": []}, seeds=[3, 4])
    with file.open("a") as more:
        more.write('[grid]\n"model.channels" = [32, 64]\n"model.estimator" = ["ste", "quadratic"]\n')
        more.write('[train]\ndata = "x"\nnoise = "y"\n')
    jobs = plan(file, tmp_path, {"noise": "z"})
    assert len(jobs) == 10 and len({job.folder.name for job in jobs}) == 10
    assert jobs[0].options == {"data": "x", "noise": "z"} and jobs[1].content["set"][-1] == "seed=4"
    assert jobs[-1].content["set"][-3:] == ["model.channels=64", 'model.estimator="quadratic"', "seed=4"]
    assert jobs[-1].folder.parent == tmp_path and "/" not in jobs[-1].folder.name and not (jobs[-1].folder / JOB).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preset = ", "not valid TOML"),
        ("seeds = [1]", "preset is missing"),
        ('preset = "m"\nworkers = 3', "workers is unknown"),
        ('preset = "m"\n[train]\nspeed = "x"', "takes data, labels"),
        ('preset = "m"\n[runs]\na = "x=1"', "lists of"),
        ('preset = "m"\nseeds = ["1"]', "whole numbers"),
        ('preset = "m"\n[train]\ndata = "d"', "0 runs"),
        ('preset = "m"\n[train]\ndata = "d"\n[runs]\na = ["channels=1"]', "unknown key channels"),
        ('preset = "m"\n[train]\ndata = "d"\n[runs]\n"a b" = []\n"a/b" = []', "some of one name"),
        ('preset = "m"\n[runs]\na = []', "no data"),
    ],
)
def test_bad_files_are_named(text, message, tmp_path):
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path / "sweep.toml", tmp_path / "out", {})


def test_results_of_other_labels_or_teachers_are_not_taken_for_these(tmp_path):
    file = sweep_file(tmp_path, {"default": []})
    here = {"data": str(tmp_path), "teacher": "none", "labels": "yes,no"}
    first, elsewhere, *others = (
        plan(file, tmp_path, {**here, **changed})[0].content
        for changed in ({}, {"data": "/mnt/data"}, {"teacher": "runs/a"}, {"labels": "up,down"}, {"extra": "speech"})
    )
    assert first == elsewhere and all(other != first for other in others)


def test_the_table_compares_seed_by_seed():
    """Two variants half a point apart, whatever the seed: the difference is certain, the means are not."""
    done = {"validation": {"float": 93.0}, "file_bytes": 1024}
    runs = [{"name": "a", "seed": s, "val": v, **done} for s, v in enumerate((90.0, 92.0, 94.0))]
    runs += [{"name": "b", "seed": s, "val": v + 0.5, **done} for s, v in enumerate((90.0, 92.0, 94.0))]
    first, second = row("a", runs, "a"), row("b", runs, "a")
    assert first["difference"] is None and second["difference"] == [0.5, 0.0]
    assert second["val"][0] == 92.5 and second["val"][1] == pytest.approx(4.97, abs=0.01)  # 4.303 * 2 / sqrt(3)
    assert spread([]) is None and spread([1.0]) == [1.0, None]
