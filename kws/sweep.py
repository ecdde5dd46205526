"""Many trainings from one file: a list or a grid of overrides, several seeds, independent processes, one table.

    preset = "m"                                  # SWEEP.toml
    seeds = [0, 1, 2]
    set = ["variants=20"]                         # of all runs
    [train]                                       # what `kws train` takes as options
    data = "recordings"
    start = "runs/float/default-s{seed}"          # each seed from a finished run of its own
    [runs]                                        # name = overrides; the first is what the others are compared with
    default = []
    quadratic = ["model.estimator=quadratic"]
    [grid]                                        # besides, all combinations of these
    "model.channels" = [64, 96]

    results = sweep("SWEEP.toml", "runs/sweep", workers=2)

Each run is a process with a folder of its own, on which it holds a lock while it trains: several sweeps over one shared folder,
on other machines or one for each GPU, divide the runs among themselves.
"""

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bnn.config import ConfigError
from bnn.intervals import mean_interval
from export.console import note, table
from export.format import write_atomically

JOB, DONE, LOG, RESULTS = "job.json", "done.json", "log.txt", "results.json"
TAKEN = 75  # exit status of a run that another process has: EX_TEMPFAIL of sysexits.h
POLL_S = 0.2
OPTIONS = ("data", "labels", "label_column", "extra", "negatives", "noise", "teacher", "start")


@dataclass(frozen=True)
class Job:
    """One training: its folder is its name and seed."""

    name: str
    seed: int
    folder: Path
    content: dict  # what job.json holds
    options: dict[str, str]  # where the data are, on this machine

    def __hash__(self) -> int:
        return hash(self.folder)

    @property
    def done(self) -> bool:
        return (self.folder / DONE).exists()


def plan(file: str | Path, out: str | Path, options: dict[str, str]) -> list[Job]:
    """The trainings that a sweep file asks for, checked; `options` go before its table [train]. Raises ConfigError."""
    from kws.cli import load_preset

    spec = _read(Path(file))
    options = {**spec.get("train", {}), **options}
    if not options.get("data"):
        raise ConfigError(f"{file}: no data: give --data, or data in its table [train]")
    jobs = []
    for name, overrides in _variants(spec):
        for seed in spec.get("seeds", [0]):
            overriding = [*spec.get("set", []), *overrides, f"seed={seed}"]
            load_preset(spec["preset"], overriding)
            folder = Path(out) / f"{_safe(name)}-s{seed}"
            own = {key: value.replace("{seed}", str(seed)) for key, value in options.items()}
            content = {"preset": spec["preset"], "set": overriding, "options": _kinds_of(options)}
            jobs.append(Job(name, seed, folder, content, own))
    if not jobs or len({job.folder for job in jobs}) < len(jobs):
        raise ConfigError(f"{file}: {len(jobs)} runs, some of one name; give at least one in [runs] or [grid], each its own name")
    return jobs


def _kinds_of(options: dict[str, str]) -> dict[str, str]:
    """What a run learns from, as far as it is the same on every machine: folders have other names there."""
    said = {key: value if key.startswith("label") else "a folder" for key, value in sorted(options.items())}
    named = "teacher" in options and os.sep not in options["teacher"] and not Path(options["teacher"]).exists()
    return said | {"teacher": options["teacher"]} if named else said


def _read(file: Path) -> dict:
    try:
        spec = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    kinds = {"preset": str, "seeds": list, "set": list, "train": dict, "runs": dict, "grid": dict}
    for key, value in spec.items():
        if key not in kinds or not isinstance(value, kinds[key]):
            raise ConfigError(f"{file}: {key} is unknown or of another type; valid are: {', '.join(kinds)}")
    unknown = set(spec.get("train", {})) - set(OPTIONS)
    if unknown or "preset" not in spec:
        raise ConfigError(f"{file}: preset is missing" if not unknown else f"{file}: [train] takes {', '.join(OPTIONS)}")
    lists = [spec.get("set", []), *spec.get("runs", {}).values()]
    texts = all(isinstance(each, list) and all(isinstance(item, str) for item in each) for each in lists)
    values = all(isinstance(each, list) for each in spec.get("grid", {}).values())
    options = all(isinstance(each, str) for each in spec.get("train", {}).values())
    if not (texts and values and options and all(type(seed) is int for seed in spec.get("seeds", []))):
        raise ConfigError(f'{file}: set and [runs] take lists of "key=value", [grid] lists, [train] texts, seeds whole numbers')
    return spec


def _variants(spec: dict) -> list[tuple[str, list[str]]]:
    """(name, overrides) of each run, then of each point of the grid."""
    grid = spec.get("grid", {})
    points = itertools.product(*grid.values()) if grid else []
    settings = [[f"{key}={json.dumps(value)}" for key, value in zip(grid, point, strict=True)] for point in points]
    return [*spec.get("runs", {}).items(), *((" ".join(s), s) for s in settings)]


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._=-" else "-" for c in name)


def sweep(file: str | Path, out: str | Path, options: dict[str, str], workers: int = 1) -> dict:
    """Train what is not yet done, `workers` at a time; returns what results.json holds. The same call goes on where it stopped.

    A run that fails is named in the table, the others go on. Raises ConfigError; KeyboardInterrupt when all have stopped.
    """
    jobs = plan(file, out, options)
    for job in jobs:
        _prepare(job)
    waiting, running, failed = [job for job in jobs if not job.done], {}, {}
    note(f"{len(jobs)} runs, {len(jobs) - len(waiting)} done already")
    try:
        while waiting or running:
            _reap(running, waiting, failed)
            waiting = [job for job in waiting if not job.done]  # another machine may have finished it
            for job in [job for job in waiting if _is_free(job.folder)][: workers - len(running)]:
                waiting.remove(job)
                running[job] = _start(job, workers)
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        note(f"stopping {len(running)} runs, each after what it is at; the same command goes on")
        for process in running.values():
            process.send_signal(signal.SIGINT)
        for process in running.values():
            process.wait()
        raise
    return _conclude(jobs, failed, Path(out))


def _prepare(job: Job) -> None:
    """Write down what the run is, or find that its folder holds the same one."""
    path, text = job.folder / JOB, json.dumps(job.content, indent=1) + "\n"
    if not path.exists():
        write_atomically(path, text.encode())
    elif path.read_text(errors="replace") != text:
        raise ConfigError(f"{job.folder} holds a run with other settings (see its {JOB}): choose another --out, or delete it")


def _start(job: Job, workers: int) -> subprocess.Popen:
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    env = {"OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path), **os.environ, "PYTHONUNBUFFERED": "1"}
    with open(job.folder / LOG, "ab") as log:  # in a session of its own: Ctrl-C is for us, and we pass it on once
        command = [sys.executable, "-m", "kws.sweep", os.fspath(job.folder), json.dumps(job.options)]
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, start_new_session=True)


def _reap(running: dict[Job, subprocess.Popen], waiting: list[Job], failed: dict[Job, str]) -> None:
    for job, process in list(running.items()):
        status = process.poll()
        if status is None:
            continue
        del running[job]
        if status == TAKEN:
            waiting.append(job)
        elif status or not job.done:
            lines = (job.folder / LOG).read_text(errors="replace").strip().splitlines()
            failed[job] = lines[-1] if lines else f"ended with status {status}"
        note(f"{job.folder.name}: {'failed: ' + failed[job] if job in failed else 'done' if job.done else 'runs elsewhere'}")


@contextmanager
def _claim(folder: Path):
    """Hold the folder's lock, or have None where another process holds it. A process that dies lets go of it."""
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file


def _is_free(folder: Path) -> bool:
    with _claim(folder) as lock:
        return lock is not None


def _conclude(jobs: list[Job], failed: dict[Job, str], out: Path) -> dict:
    """Write and return all results and the table."""
    runs = [{"name": j.name, "seed": j.seed, "folder": j.folder.name, **json.loads((j.folder / DONE).read_text())}
            for j in jobs if j.done]  # fmt: skip
    broken = [{"name": job.name, "seed": job.seed, "error": text} for job, text in failed.items()]
    first = jobs[0].name
    rows = [row(name, runs, first) for name in dict.fromkeys(run["name"] for run in runs)]
    result = {"runs": runs, "failed": broken, "table": rows}
    write_atomically(out / RESULTS, (json.dumps(result, indent=1) + "\n").encode())
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    lines += ["| " + " | ".join(cells(each)) + " |" for each in rows]
    lines += [f"\n{each['name']}, seed {each['seed']}, failed: {each['error']}" for each in broken]
    write_atomically(out / "results.md", ("\n".join(lines) + "\n").encode())
    return result


HEAD = ["run", "seeds", "integer graph, validation %", "against the first", "float twin", "KiB"]


def row(name: str, runs: list[dict], first: str) -> dict:
    """Means over seeds of one variant, and of its difference to the first one seed by seed, each with half a 95 % interval."""
    mine = {run["seed"]: run for run in runs if run["name"] == name}
    base = {run["seed"]: run for run in runs if run["name"] == first}
    differences = [run["val"] - base[seed]["val"] for seed, run in mine.items() if seed in base and name != first]
    floats = [run["validation"]["float"] for run in mine.values() if "float" in run["validation"]]
    size = max(run["file_bytes"] for run in mine.values())
    figures = {"val": [run["val"] for run in mine.values()], "difference": differences, "float": floats}
    return {"name": name, "seeds": len(mine), "bytes": size, **{key: spread(values) for key, values in figures.items()}}


def spread(values: list[float]) -> list[float] | None:
    """[mean, half of its 95 % interval by Student's t]: the half is None for a single value, all is for none."""
    if not values:
        return None
    if len(values) == 1:
        return [values[0], None]
    return list(mean_interval(values))


def cells(each: dict) -> list[str]:
    """A row of the table as text."""
    figures = [show_spread(each[key], sign) for key, sign in (("val", ""), ("difference", "+"), ("float", ""))]
    return [each["name"], str(each["seeds"]), *figures, f"{each['bytes'] / 1024:.1f}"]


def show_spread(value: list[float] | None, sign: str = "") -> str:
    """Such as 91.2 ± 0.4."""
    if value is None:
        return ""
    mean, half = value
    return f"{mean:{sign}.1f}" + ("" if half is None else f" ± {half:.1f}")


def as_text(result: dict) -> str:
    """The table for the terminal."""
    return table(HEAD, [cells(each) for each in result["table"]])


def run_job(folder: Path, options: dict[str, str]) -> int:
    """What the process of one run does; returns its exit status."""
    with _claim(folder) as lock:
        if lock is None:
            return TAKEN
        if (folder / DONE).exists():
            return 0
        from kws.cli import load_preset, open_training, split_commas
        from kws.report import write_report
        from kws.train import train

        job = json.loads((folder / JOB).read_text())
        started = time.perf_counter()
        config = load_preset(job["preset"], job["set"])
        negatives, start = split_commas(options.pop("negatives", "")), options.pop("start", None)
        dataset, noise, teacher = open_training(config, **options, negatives=negatives)
        taught = options.get("teacher") != "none"
        result = train(dataset, folder, config, noise_dir=noise, teacher=teacher, taught=taught, start=start)
        write_report(folder, dataset, config.seconds)
        value = {"validation": result.validation, "val": result.integer.accuracy, "n": result.integer.n,
                 "file_bytes": result.file_bytes, "seconds": round(time.perf_counter() - started)}  # fmt: skip
        write_atomically(folder / DONE, (json.dumps(value) + "\n").encode())
        return 0


if __name__ == "__main__":
    sys.exit(run_job(Path(sys.argv[1]), json.loads(sys.argv[2])))
