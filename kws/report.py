"""report.html in a run folder: one page that needs nothing else, for whoever asks what was trained and whether it is good.

    write_report("runs/mine", load_folder("recordings"), seconds=1.0)

Accuracy is that of the integer graph, the arithmetic of the board, unless a row names another network.
"""

import csv
import json
import math
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn.intervals import rate_interval, wilson_interval
from export.cli import describe
from export.format import Model, decide, read, write_atomically
from export.graph import Conv1b
from kws import sections
from kws.audio import RATE_HZ, AudioError, read_audio
from kws.charts import Detection, mark
from kws.data import SILENCE, SPLITS, DataError, Dataset, cache_folder
from kws.evaluate import Evaluation, save_json, scores
from kws.frontend import extract
from kws.models import logits_of_one
from kws.page import Html, document, listing, tag
from kws.sections import BOARDS, CORE_HZ, INTEGER, Alarm, Error
from kws.stream import field
from kws.train import MODEL, evaluate_stages

REPORT, RESULTS, DETECTION, METRICS = "report.html", "results.json", "detection.json", "metrics.jsonl"
CONFIG, MINING = "config.json", ("false_accepts_per_hour", "miss_percent", "mined")
WORST = 10
ALARM_SECONDS = 2.0  # of sound up to a false peak
MOST_EVENTS = 100_000  # false accepts that a file of figures may tell of
_STAGES = {"32w32a": "real numbers", "32w1a": "1-bit activations", "1w1a": "all 1-bit"}
_SNIPPET = """import signwave

model, source = signwave.Model({path!r}), signwave.mic.open()
model.amplify(source.gain)
signwave.Detector(model, on_event=lambda event: print(event.label)).listen(source)"""


@dataclass
class Findings:
    """All that a report is made of, apart from the run folder's own files."""

    networks: dict[str, dict[str, Evaluation]]  # {split: {network: evaluation}}
    errors: list[Error]  # of the last split
    counts: dict[str, dict | str]  # {chip: figures of `signwave bench`, or why there are none}
    detection: dict[str, tuple[float, list[Detection]]]  # {split: (hours, words)}, of wake words
    mining: list[dict]  # before and after training with hard negatives
    alarms: list[Alarm]  # on the last split of recordings

    @property
    def last(self) -> str:
        """The split that counts: test, where there is one."""
        return next(reversed(self.networks), "")

    @property
    def measured(self) -> Evaluation | None:
        """The integer graph on that split."""
        return self.networks[self.last][INTEGER] if self.networks else None


def write_report(run_dir: str | Path, dataset: Dataset, seconds: float) -> Path:
    """Evaluate a run's model file on validation and test, and write report.html and results.json. Returns the page.

    Wake words: detection.json in the run folder, {split: what `kws eval --stream --json` prints, "mining": rounds}, adds curves.
    Raises FormatError, DataError, AudioError or TrainingError naming what cannot be read.
    """
    run_dir = Path(run_dir)
    model = read(run_dir / MODEL)
    if dataset.labels != model.labels:
        raise DataError(
            f"{dataset.root}: its labels are {listing(dataset.labels)}; {run_dir / MODEL} has {listing(model.labels)}"
        )
    detection, mining, alarms = read_detection(run_dir)
    counts = {chip: count_instructions(run_dir / MODEL, chip) for chip in BOARDS}
    found = Findings({}, [], counts, detection, mining, alarms)
    for split in ("val", "test"):
        if any(clip.split == split for clip in dataset.all_clips):  # a data set without one is reported without one
            found.networks[split], found.errors = evaluate_split(run_dir, model, dataset, split, seconds)
    save_json(run_dir / RESULTS, {split: networks[INTEGER].as_dict() for split, networks in found.networks.items()})
    write_atomically(
        run_dir / REPORT, document(f"Signwave: {model.metadata['name']}", _body(run_dir, model, dataset, found)).encode()
    )
    return run_dir / REPORT


# --- Gathering


def evaluate_split(
    run_dir: Path, model: Model, dataset: Dataset, split: str, seconds: float
) -> tuple[dict[str, Evaluation], list[Error]]:
    """Every network of a run on one split, and the clips that the integer graph got wrong with the greatest margin."""
    waveforms, targets = dataset.waveforms(split, seconds)
    results = scores(model, extract(waveforms, model.listening()))
    top, margin = decide(results)
    wrong, clips, labels = np.flatnonzero(top != targets), dataset.clips(split), model.labels
    errors = []
    for i in wrong[np.argsort(-margin[wrong], kind="stable")][:WORST]:
        rank = 1 + int((results[i] > results[i, targets[i]]).sum())
        errors.append(Error(clips[i], waveforms[i], labels[targets[i]], labels[top[i]], int(margin[i]), rank))
    return {**evaluate_stages(run_dir, waveforms, targets), INTEGER: Evaluation.of(labels, targets, top)}, errors


def count_instructions(model: Path, chip: str) -> dict | str:
    """What `signwave bench` says of a model on a chip; where it cannot (no emulators here), the sentence that says why."""
    # By its command: this room imports none of the tools for boards.
    command = [sys.executable, "-m", "signwave_cli", "bench", str(model.resolve()), "--chip", chip, "--json"]
    home = Path(__file__).parents[1]  # where signwave_cli lies
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=home)
        return json.loads(done.stdout) if done.returncode == 0 else (done.stderr.splitlines() or ["no reason given"])[-1]
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        return f"signwave bench gave no answer ({error})"


def read_detection(run_dir: Path) -> tuple[dict[str, tuple[float, list[Detection]]], list[dict], list[Alarm]]:
    """detection.json as {split: (hours, words)}, the rounds of mining, and what came nearest to each word on the last split.

    What has no hours or no recordings is left out. All are empty where there is no such file. Raises DataError where it is
    damaged, AudioError.
    """
    path = run_dir / DETECTION
    if not path.exists():
        return {}, [], []
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        splits = {}
        for split in SPLITS:
            hours = float(told[split]["negative_hours"]) if split in told else 0.0
            words = [_detection(word, w, hours) for word, w in told[split]["words"].items() if w["n"]] if hours else []
            if words:
                splits[split] = hours, words
        rounds = [
            {k: None if row[k] is None else float(row[k]) for k in MINING} for row in told.get("mining", []) if "round" in row
        ]
        last = next((told[split]["words"] for split in reversed(SPLITS) if split in told), {})
        return splits, rounds, [alarm for word, w in last.items() for alarm in _alarms(word, w)]
    except AudioError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}): evaluate the run again") from None


def _alarms(word: str, w: dict) -> list[Alarm]:
    """With their sound; files that are gone are left out."""
    found = []
    for alarm in w.get("alarms", [])[:WORST]:
        sound, at_s, margin = Path(alarm["path"]), float(alarm["at_s"]), int(alarm["margin"])
        if sound.is_file():
            start = max(0.0, at_s - ALARM_SECONDS)
            samples = read_audio(sound, RATE_HZ, start, max(0.5, at_s - start))  # it may wake as the file begins
            found.append(Alarm(word, samples, sound, at_s, margin, margin >= w.get("threshold", math.inf)))
    return found


def _detection(word: str, w: dict, hours: float) -> Detection:
    """The chosen point where one is given, else that of no false accept."""
    n, curve = int(w["n"]), [(float(rate), float(miss)) for rate, miss in w["curve"]]
    chosen = w.get("chosen") or {"false_accepts": 0, "missed": round(w["miss_at_zero_false_accepts"] * n / 100)}
    wrong, missed = int(chosen["false_accepts"]), int(chosen["missed"])
    if not (0 <= missed <= n > 0 and 0 <= wrong <= MOST_EVENTS and curve and np.isfinite(curve).all() and np.min(curve) >= 0):
        raise ValueError(f"figures of {word!r} are out of range")
    point = wrong / hours, 100 * missed / n
    return Detection(word, n, curve, point, rate_interval(wrong, hours), wilson_interval(missed, n), w.get("threshold"))


def spoken_by(dataset: Dataset) -> dict[Path, str]:
    """{clip: synthesizer} of the clips whose manifest names a synthesizer's voice, and of those that kws.phrase had spoken."""
    kept = cache_folder() / "speech"
    found = {clip.path: "made from the phrases" for clip in dataset.all_clips if clip.path.is_relative_to(kept)}
    for root in {dataset.root, *(clip.path.parent.parent for clip in dataset.all_clips)}:
        try:
            with (root / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
                voiced = [row for row in csv.DictReader(file) if row.get("voice")]
        except (OSError, UnicodeDecodeError, csv.Error):
            continue  # no manifest there: no synthesizer made it
        found |= {root / (row.get("path") or ""): row.get("source") or "a synthesizer" for row in voiced}
    return {clip.path: found[clip.path] for clip in dataset.all_clips if clip.path in found}


def metrics(path: Path) -> list[dict]:
    """The rows of a metrics.jsonl: nothing where it is missing or not whole."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []


# --- The page


def _body(run_dir: Path, model: Model, dataset: Dataset, found: Findings) -> list[Html]:
    path, synthetic = run_dir / MODEL, spoken_by(dataset)
    facts = describe(model, path.stat().st_size)
    student, teacher = metrics(run_dir / METRICS), metrics(run_dir / "teacher" / METRICS)
    learned = sections.training(_facts(run_dir, model, student, teacher), dataset, synthetic, student, teacher)
    parts = [
        *_measured(model, found),
        ("training", "What it learned from", learned),
        ("costs", "What it costs", sections.costs(facts, found.counts)),
        ("install", "Onto a board", sections.install(str(path), _SNIPPET.format(path=path.name))),
    ]
    seconds = sum(row["seconds"] for row in [*student, *teacher])
    header = tag(
        "header",
        tag("div", mark(), "Signwave", class_="mark"),
        tag("h1", model.metadata["name"]),
        tag("p", _lead(model, facts), class_="lead"),
        [tag("p", line, class_="note", role="note") for line in _notices(dataset, synthetic)],
        tag("dl", _tiles(facts, found, seconds, sum(clip.split == "train" for clip in dataset.all_clips)), class_="tiles"),
        tag("nav", [tag("a", heading, href=f"#{name}") for name, heading, _ in parts], aria_label="On this page"),
    )
    made = time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime))
    again = tag("code", f"signwave kws report {shlex.quote(str(run_dir))} --data DIR")
    last = [f"Model file of {made}. This page stands alone and fetches nothing. "]
    if not found.detection:  # of wake words much was spoken for the training alone
        last += ["To make it again, with the training's data: ", again]
    footer = tag("footer", tag("p", last))
    return [header, tag("main", [tag("section", tag("h2", heading), part, id=name) for name, heading, part in parts]), footer]


def _measured(model: Model, found: Findings) -> list[tuple[str, str, Html]]:
    """The sections about what was measured, as far as it was: (name, heading, content)."""
    parts = [("detection", "While it listens", sections.detection(found.detection, found.mining))] if found.detection else []
    if found.alarms:
        parts.append(("alarms", "What wakes it wrongly", sections.alarms(found.alarms, list(found.detection)[-1])))
    if found.measured:
        parts += [
            ("accuracy", "How well it hears", sections.accuracy(found.networks)),
            ("confusion", "What it takes for what", sections.confusion(found.measured)),
            ("errors", "Its worst errors", sections.errors(found.errors, logits_of_one(model))),
        ]
    return parts


def _lead(model: Model, facts: dict) -> str:
    words = [f"“{label}”" for label in model.labels if not label.startswith("_")]
    return (
        f"A 1-bit network of {facts['file_bytes'] / 1024:.1f} KiB that hears {listing(words, 12)} offline, on a microcontroller."
    )


def _notices(dataset: Dataset, synthetic: dict[Path, str]) -> list[str]:
    """What must be known before any figure is believed."""
    measured = [clip for clip in dataset.all_clips if clip.split != "train" and clip.label != SILENCE]
    spoken = sum(clip.path in synthetic for clip in measured)
    if not spoken:
        return []
    share = "All" if spoken == len(measured) else f"{100 * spoken / len(measured):.0f} % of"
    makers = listing(sorted({synthetic[clip.path] for clip in measured if clip.path in synthetic}))
    return [f"{share} clips measured here are synthetic speech ({makers}): the figures say nothing yet about human voices."]


def _tiles(facts: dict, found: Findings, seconds: float, clips: int) -> list[Html]:
    """The figures that are asked for first: (what, figure, what it means)."""
    tiles = []
    for split, (_, words) in list(found.detection.items())[-1:]:
        for word in words:
            low, high = word.miss_interval
            under = f"of {word.n:,}; 95 % interval {low:.1f} to {high:.1f} %; false accepts an hour: {sections.rate(word)}"
            tiles.append((f"“{word.word}” missed, {split}", f"{word.point[1]:.1f} %", under))
    if measured := found.measured:
        low, high = measured.interval
        under = f"of {measured.n:,} clips; 95 % interval {low:.1f} to {high:.1f} %"
        tiles.append((f"Right answers, {found.last}", f"{measured.accuracy:.1f} %", under))
    known = [value for value in found.counts.values() if isinstance(value, dict)]
    ram = known[0]["ram_bytes"] if known else facts["graph_ram_bytes"]
    tiles.append(("Flash", f"{facts['file_bytes'] / 1024:.1f} KiB", f"the model file; {ram / 1024:.1f} KiB of RAM for its state"))
    if known:
        load = known[0]["instructions_per_second_of_audio"]
        under = f"instructions a second of audio, {100 * load / CORE_HZ:.1f} % of a 160 MHz core ({known[0]['chip']})"
        tiles.append(("Work", f"{load / 1e6:.2f} M", under))
    else:
        tiles.append(("Work", f"{facts['binary_macs_per_second'] / 1e6:.1f} M", "1-bit multiply-accumulates a second of audio"))
    if seconds:
        tiles.append(("Training", duration(seconds), f"all stages together, on {clips:,} clips"))
    return [
        tag("div", tag("dt", name), tag("dd", tag("span", figure, class_="big"), tag("small", under)), class_="tile")
        for name, figure, under in tiles
    ]


def _facts(run_dir: Path, model: Model, student: list[dict], teacher: list[dict]) -> list[tuple[str, str]]:
    """What was trained, and for how long, from the model file, config.json and metrics.jsonl."""
    settings = json.loads((run_dir / CONFIG).read_text(encoding="utf-8")) if (run_dir / CONFIG).exists() else {}
    config = settings.get("config", {})
    blocks, window = [op for op in model.ops if isinstance(op, Conv1b)], model.ops[-1].taps
    channels = listing([str(n) for n in sorted({op.cout for op in blocks})])
    reach_s = field(model) / model.listening().frames_per_second
    shape = (
        f"{len(blocks)} 1-bit layers of {channels} channels; the mean of {window} frames answers, {reach_s:.1f} s of sound in all"
    )
    facts = [
        ("Network", shape),
        ("Teacher", _spent("Transformer, trained here", teacher) if teacher else "as given" if "taught_by" in config else "none"),
    ]  # fmt: skip
    for stage in settings.get("stages", []):
        rows = [row for row in student if row["stage"] == stage["name"]]
        facts.append((f"Stage “{stage['name']}”", _spent(_STAGES.get(stage["precision"], stage["precision"]), rows)))
    if config.get("extra"):
        facts.append(("Further clips", f"{config['extra']:,}, for training alone"))
    return [*facts, ("Seed", str(settings.get("seed", "not told")))]


def _spent(what: str, rows: list[dict]) -> str:
    """A stage in words, from its rows of metrics.jsonl."""
    if not rows:
        return what
    best = max(row["val"] for row in rows)
    return f"{what}: {len(rows)} epochs in {duration(sum(row['seconds'] for row in rows))}, validation at best {best:.1f} %"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
