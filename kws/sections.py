"""What a report shows, part by part: plain values in, HTML out. kws/report.py gathers the values."""

import base64
import io
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from bnn.intervals import rate_interval, wilson_interval
from kws import charts
from kws.audio import RATE_HZ
from kws.charts import Detection
from kws.data import SILENCE, SPLITS, Clip, Dataset
from kws.evaluate import Evaluation
from kws.page import Html, listing, table, tag

CORE_HZ = 160e6
BOARDS = {"rv32imc": "ESP32-C3, C6", "xtensawin": "ESP32, S2, S3"}
ERROR_SECONDS = 3.0
KINDS = {
    "conv_i4": "4-bit convolution",
    "conv_1b": "1-bit convolution",
    "dense_i8": "int8 dense",
    "sum_window": "sum over a window",
}
INTEGER = "1-bit, integer graph"


@dataclass(frozen=True)
class Error:
    """A clip (sample,) int16 decided wrongly: labels, by what margin, and where the right one stood (1: first)."""

    clip: Clip
    samples: np.ndarray
    spoken: str
    heard: str
    margin: int
    rank: int


@dataclass(frozen=True)
class Alarm:
    """What came nearest to a word, or woke it, where nobody said it: sound (sample,) int16, file, second in it, margin."""

    word: str
    samples: np.ndarray
    path: Path
    at_s: float
    margin: int
    woke: bool


# --- How good


def accuracy(results: dict[str, dict[str, Evaluation]]) -> Html:
    """{split: {network: evaluation}} as dots with their intervals."""
    span = Span(min(e.interval[0] for networks in results.values() for e in networks.values()))
    rows = []
    for split, networks in results.items():
        for name, e in networks.items():
            figure = tag("b", f"{e.accuracy:.1f}") if name == INTEGER else f"{e.accuracy:.1f}"
            low, high = e.interval
            rows.append([name, split, f"{e.n:,}", figure, f"{low:.1f} to {high:.1f}", span(e.accuracy, e.interval)])
    head = ["network", "split", "clips", "right, %", "95 % interval", span.head]
    text = (
        "The interval (Wilson, 1927) says how far chance alone may have moved a figure. It counts clips: where many are of one "
        "speaker, they tell less than it seems."
    )
    return tag("div", tag("p", text), table("Share of clips decided right", head, rows, text_columns=2))


def _by_label(e: Evaluation) -> Html:
    found = [(*row, int(e.confusion[i, i])) for i, row in enumerate(e.per_class())]
    intervals = [wilson_interval(hits, n) if n else None for _, n, _, _, hits in found]
    span = Span(min((interval[0] for interval in intervals if interval), default=0.0))
    rows = []
    for (label, n, recall, precision, _), interval in zip(found, intervals, strict=True):
        shown = [f"{recall:.1f}", span(recall, interval)] if interval else ["", tag("td")]
        rows.append([label, f"{n:,}", *shown, "" if math.isnan(precision) else f"{precision:.1f}"])
    caption = "Recall: the share of a label's clips that was recognized. Precision: the share of its answers that was right"
    return table(caption, ["spoken", "clips", "recall, %", span.head, "precision, %"], rows)


class Span:
    """Cells that show a percentage with its interval on a common scale, which begins at a round value below all."""

    def __init__(self, lowest: float):
        self.low = min(90.0, max(0.0, 10 * (lowest // 10)))

    @property
    def head(self) -> Html:
        return tag("th", f"{self.low:.0f} to 100 %", scope="col", class_="t wide")

    def __call__(self, value: float, interval: tuple[float, float]) -> Html:
        at = [f"{(v - self.low) / (100 - self.low) * 100:.1f}" for v in (*interval, value)]
        bar = tag("span", tag("i"), tag("b"), class_="span", style=f"--a:{at[0]};--b:{at[1]};--m:{at[2]}", aria_hidden="true")
        return tag("td", bar, class_="wide")


def confusion(e: Evaluation) -> Html:
    """The confusion matrix in percent of what was spoken, beside recall and precision by label."""
    share = 100 * e.confusion / np.maximum(1, e.confusion.sum(1, keepdims=True))
    head = ["", *(tag("th", tag("span", label), scope="col") for label in e.labels)]
    rows = [
        [label, *(_cell(share[i, j], e.confusion[i, j], i == j) for j in range(len(e.labels)))]
        for i, label in enumerate(e.labels)
    ]
    wrong = e.confusion - np.diag(np.diag(e.confusion))
    pairs = [divmod(int(k), len(e.labels)) for k in np.argsort(-wrong, axis=None, kind="stable")[:3]]
    worst = [f"“{e.labels[i]}” for “{e.labels[j]}” ({wrong[i, j]} of {e.confusion[i].sum()})" for i, j in pairs if wrong[i, j]]
    text = f"Most often it took {listing(worst)}." if worst else "It confused nothing."
    grid = table("Rows: what was spoken. Columns: what was decided. Percent of the row", head, rows)
    return tag(
        "div",
        tag("p", text),
        tag("div", tag("div", grid, class_="matrix"), _by_label(e), class_="pair" if len(rows) <= 12 else None),
    )


def _cell(percent: float, count: int, right: bool) -> Html:
    if not count:
        return tag("td")
    # Few errors must still be seen: their colour grows with the root of their share.
    depth = percent if right else min(100.0, 10 * percent**0.5 + 8)
    name = ("hit" if right else "miss") + (" full" if depth > 58 else "")
    return tag("td", f"{percent:.0f}", class_=name, style=f"--p:{depth:.0f}", title=f"{count} clips")


def errors(found: list[Error], logit_unit: float | None) -> Html:
    """The worst errors, each with what was said, what was heard, and its sound."""
    if not found:
        return tag("p", "It made none.")
    text = "The clips that it got wrong with the greatest margin. Listen: some are mislabelled, cut off or hard for people too."
    return tag("div", tag("p", text), tag("ol", [_error(e, logit_unit) for e in found], class_="cards"))


def _error(e: Error, logit_unit: float | None) -> Html:
    samples = e.samples[: int(ERROR_SECONDS * RATE_HZ)]
    lead = f"ahead by {e.margin * logit_unit:.1f} logits" if logit_unit else f"margin {e.margin:,}"
    place = f"“{e.spoken}” came {_ordinal(e.rank)}"
    where = "/".join(e.clip.path.parts[-2:])
    return tag(
        "li",
        tag("audio", src=wav(samples), controls=True, preload="none", aria_label=f"Play: {e.spoken}, heard as {e.heard}"),
        tag("p", "said ", tag("b", e.spoken), ", heard ", tag("b", e.heard, class_="heard")),
        charts.waveform(samples),
        tag("p", f"{lead}; {place} · {where}", class_="soft"),
        class_="card",
    )


def alarms(found: list[Alarm], split: str) -> Html:
    """What sounded most like each word and was none, each with its sound up to the moment."""
    text = f"What it took for its words, or came nearest to, in the {split} recordings without them, the greatest margin first."
    return tag("div", tag("p", text), tag("ol", [_alarm(a) for a in found], class_="cards"))


def _alarm(a: Alarm) -> Html:
    return tag(
        "li",
        tag("audio", src=wav(a.samples), controls=True, preload="none", aria_label=f"Play: taken for {a.word}"),
        tag("p", "woke " if a.woke else "near ", tag("b", a.word, class_="heard" if a.woke else None)),
        charts.waveform(a.samples),
        tag("p", f"margin {a.margin:,} at {a.at_s:.1f} s · {'/'.join(a.path.parts[-2:])}", class_="soft"),
        class_="card",
    )


def _ordinal(n: int) -> str:
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def wav(samples: np.ndarray) -> str:
    """Samples (sample,) int16 as the address of a 16-bit WAV that holds them itself."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, subtype="PCM_16", format="WAV")
    return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def detection(splits: dict[str, tuple[float, list[Detection]]], mining: list[dict]) -> Html:
    """{split: (hours of negatives, words)}: curves, what was measured at the chosen point, and what mining changed."""
    text = (
        "Whole recordings through the detector that the board runs. A lower threshold misses less and wakes more often for "
        "nothing. The dot is the threshold in the file, the cross its 95 % intervals (Wilson, 1927; Garwood, 1936)."
    )
    figures, rows = [], []
    for split, (hours, words) in splits.items():
        most = rate_interval(0, hours)[1]
        sure = f"{split}: {60 * hours:.0f} minutes without the word. Silence in all of them shows fewer than {most:.2g} an hour."
        keys = [tag("span", charts.key(i), word.word) for i, word in enumerate(words)]
        told = tag("figcaption", tag("p", keys, class_="keys"), tag("p", sure))
        figures.append(tag("figure", charts.det(words, hours), told))
        for w in words:
            missed = [f"{w.point[1]:.1f}", "{:.1f} to {:.1f}".format(*w.miss_interval)]
            rows.append([w.word, split, f"{w.n:,}", *missed, rate(w), "" if w.threshold is None else f"{w.threshold:,}"])
    head = ["word", "split", "spoken", "missed, %", "95 % interval", "false accepts an hour", "threshold"]
    points = table("At the threshold", head, rows, text_columns=2)
    return tag("div", tag("p", text), tag("div", figures, class_="pair"), points, _mined(mining) if mining else None)


def _mined(rounds: list[dict]) -> Html:
    """Training again with what woke the network wrongly in training audio."""
    names = ["before", "after", *(f"after round {i}" for i in range(2, len(rounds)))]
    rows = []
    for name, r in zip(names, rounds, strict=False):
        missed = "" if r["miss_percent"] is None else f"{r['miss_percent']:.1f}"
        rows.append([name, f"{r['false_accepts_per_hour']:.2g}", missed, f"{r['mined']:.0f}" if r["mined"] else ""])
    head = ["hard negatives", "false accepts an hour, training audio", "missed on validation, %", "pieces added next"]
    return table("Trained again with what woke it wrongly; the last that validation does not call worse was kept", head, rows)


def rate(w: Detection) -> str:
    """False accepts an hour at a word's threshold, with their interval."""
    low, high = w.rate_interval
    return f"{w.point[0]:.2g} ({low:.2g} to {high:.2g})" if w.point[0] else f"none (fewer than {high:.2g})"


# --- From what


def training(facts: list[tuple[str, str]], dataset: Dataset, spoken_by: dict, student: list[dict], teacher: list[dict]) -> Html:
    """What was trained (pairs of name and value), on what, and its curves (rows of metrics.jsonl)."""
    pairs = [[tag("dt", name), tag("dd", value)] for name, value in facts]
    best = max((row["val"] for row in teacher), default=None)
    curves = [("val", "validation, % right", best), ("loss", "training loss", None)]
    figures = [tag("figure", charts.training_curves(student, *curve)) for curve in curves if student]
    return tag(
        "div",
        tag("div", tag("dl", pairs, class_="facts"), tag("div", _clips(dataset, spoken_by)), class_="pair"),
        tag("div", figures, class_="pair"),
        tag("details", tag("summary", "Clips by label"), _counts(dataset)),
    )


def _clips(dataset: Dataset, spoken_by: dict) -> Html:
    groups = {split: [c for c in dataset.all_clips if c.split == split and not c.extra] for split in SPLITS}
    further = [clip for clip in dataset.all_clips if clip.extra]
    if further:
        groups = {"train": groups.pop("train"), "train, further": further, **groups}
    rows = []
    for name, clips in groups.items():
        made = sum(clip.path in spoken_by for clip in clips)
        share = f"{100 * made / len(clips):.0f} %" if clips else ""
        rows.append([name, f"{len(clips):,}", speakers(clips), share if made else "none" if clips else ""])
    text = (
        "No speaker is in two of train, val and test unless a warning said so. Choices are made on val; test is looked at once."
    )
    return tag("div", table("Clips", ["split", "clips", "speakers", "synthetic speech"], rows), tag("p", text, class_="soft"))


def speakers(clips: list[Clip]) -> str:
    """How many people speak, as far as the data say; noise has no speaker."""
    named = {clip.speaker for clip in clips if clip.speaker and clip.label != SILENCE}
    return "not told" if any(name.startswith("file:") for name in named) else f"{len(named):,}"


def _counts(dataset: Dataset) -> Html:
    counts = dataset.counts()
    rows = [[label, *(f"{counts[split][label]:,}" for split in SPLITS)] for label in dataset.labels]
    return table("Clips by label and split, further material included", ["label", *SPLITS], rows)


# --- At what cost


def costs(facts: dict, counts: dict[str, dict | str]) -> Html:
    """The layer table: `facts` of export.cli.describe, `counts` a chip's figures of `signwave bench`, or why there are none."""
    known = {chip: value for chip, value in counts.items() if isinstance(value, dict)}
    why = {chip: value.removeprefix("error: ") for chip, value in counts.items() if isinstance(value, str)}
    keys = ("binary_macs", "int8_macs", "file_bytes", "ram_bytes")
    head = [
        "layer",
        "channels",
        "taps",
        "1-bit MAC",
        "int MAC",
        "flash, bytes",
        "RAM, bytes",
        *(f"instructions, {c}" for c in known),
    ]
    totals = {c: v["front_end_instructions_per_frame"] + v["graph_instructions_per_frame"] for c, v in known.items()}

    def instructions(of: Callable[[dict], int]) -> list[Html]:
        return [tag("td", f"{of(v):,}", class_="cost", style=f"--p:{100 * of(v) / totals[c]:.0f}") for c, v in known.items()]

    front = facts["front_end"]
    rows = [
        [
            "log-mel front end",
            f"{front['bands']} bands",
            *[""] * 5,
            *instructions(lambda v: v["front_end_instructions_per_frame"]),
        ]
    ]
    for i, layer in enumerate(facts["layers"]):
        inputs, outputs = (layer[key].partition("[")[2].rstrip("]") for key in ("reads", "gives"))
        taps = f"{layer['taps']} × {layer['dilation']}" if layer["dilation"] > 1 else f"{layer['taps']}"
        numbers = [f"{layer[key]:,}" if layer[key] else "" for key in keys]
        cost = instructions(lambda v, i=i: v["layers"][i]["instructions"])
        rows.append([KINDS.get(layer["name"], layer["name"]), f"{inputs} → {outputs}", taps, *numbers, *cost])
    sums = [f"{sum(layer[key] for layer in facts['layers']):,}" for key in keys]
    rows.append(["all", "", "", *sums, *(f"{n:,}" for n in totals.values())])
    caption = f"One frame of {1000 * front['hop'] / front['rate_hz']:.0f} ms; taps × dilation"
    missing = [tag("p", f"Instructions on {chip} were not counted: {text}", class_="note") for chip, text in why.items()]
    return tag("div", table(caption, head, rows, total=True), missing, _by_chip(known) if known else None)


def _by_chip(known: dict[str, dict]) -> Html:
    def load(of: Callable[[dict], float]) -> list[str]:
        return [f"{of(v) / 1e6:.2f} M, {100 * of(v) / CORE_HZ:.1f} % of a 160 MHz core" for v in known.values()]

    rows = [
        ["instructions", *load(lambda v: v["instructions_per_second_of_audio"])],
        ["while the energy gate is closed", *load(lambda v: v["front_end_instructions_per_frame"] * v["frames_per_second"])],
        ["the same with naive popcount", *load(lambda v: v["naive_per_second_of_audio"])],
        ["the same all in int8", *load(lambda v: v["int8_per_second_of_audio"])],
        ["native code", *(f"{v['code_bytes']:,} bytes" for v in known.values())],
        ["RAM for state and buffers", *(f"{v['ram_bytes']:,} bytes" for v in known.values())],
    ]
    text = "Counted under emulation on made-up syllables, one instruction a cycle: memory and branches cost more on silicon."
    return table(text, ["a second of audio", *(f"{chip}: {BOARDS[chip]}" for chip in known)], rows)


def install(path: str, program: str) -> Html:
    """Commands from this file to a board that listens."""
    file = shlex.quote(path)
    steps = [
        ("MicroPython 1.24 or newer from micropython.org/download. It asks before it erases.",
         "signwave device flash --firmware ESP32_GENERIC.bin"),
        ("Package, the chip's kernels and this model, verified by checksum.", f"signwave device install {file}"),
        ("What is on the board, whether the model fits, what to do next.", f"signwave device doctor --model {file}"),
        ("In main.py, with an I2S microphone.", program),
    ]  # fmt: skip
    items = [tag("li", text, tag("pre", tag("code", command), class_="copy")) for text, command in steps]
    return tag("ol", items, class_="steps")
