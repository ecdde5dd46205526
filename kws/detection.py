"""How well a file wakes up: misses against false accepts an hour, whole recordings through the detector that the board runs.

    model = read("model.swm")
    found = measure(model, recordings, ambient)           # one Detection a word
    thresholds = [d.threshold_for(1 / 24) for d in found]

The network runs once over each recording; decisions are then repeated for every threshold by device/board/signwave/decision.py.
A word is measured as if the detector listened for it alone. Before a recording there was silence, and SILENCE_S of it follow: a
device listens all the time.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from zlib import crc32

import numpy as np

from bnn.intervals import wilson_interval
from device.board.signwave.decision import HITS, IGNORED, REFRACTORY_MS, Decider, frames_in
from export.format import Model
from kws.audio import RATE_HZ, read_audio
from kws.data import Clip, plain
from kws.stream import results

SILENCE_S = 1.0
TAIL = 20  # the greatest false peaks that the rate of rarer ones is extrapolated from
GIVEN_UP = 0.05
CURVE_POINTS = 12  # in a file's metadata
ALARMS = 10  # the greatest false peaks, named with their recordings
METADATA_ROOM = 3000  # of the 4,096 bytes that it may take


@dataclass(frozen=True)
class Stream:
    """One recording as the network hears it: its word (empty: none), seconds, each frame's best label and margin, its file."""

    label: str
    seconds: float
    top: np.ndarray
    margin: np.ndarray
    path: Path = Path()
    start_s: float = 0.0  # where in the file it begins


@dataclass(frozen=True)
class Alarm:
    """A peak of a word's margin where nobody said it, at that second of a file."""

    margin: int
    path: str
    at_s: float


def hear(model: Model, clips: Iterable[Clip], condition=None) -> list[Stream]:
    """Run a model over recordings; `condition` (samples, number) -> samples makes listening harder.

    The number is drawn from a recording's folder, name and beginning: whatever else is listened to, it is made harder alike.
    """
    silence = np.zeros(round(SILENCE_S * RATE_HZ), np.int16)

    def run(clip: Clip) -> Stream:
        samples = read_audio(clip.path, RATE_HZ, clip.start_s, clip.seconds)
        seconds = len(samples) / RATE_HZ
        if condition is not None:
            name = f"{clip.path.parent.name}/{clip.path.name}/{clip.start_s}"
            samples = condition(samples, crc32(name.encode()))
        top, margin = results(model, np.concatenate([samples, silence]))
        return Stream(plain(clip.label), seconds, top.astype(np.int16), margin, clip.path, clip.start_s)

    with ThreadPoolExecutor() as pool:  # the C core runs without the interpreter's lock
        return list(pool.map(run, clips))


def firing_margin(stream: Stream, label: int, hits: int = HITS) -> int:
    """The greatest threshold at which a recording makes an event of a label; -1 where none does."""
    margin = np.where(stream.top == label, stream.margin, -1)
    if len(margin) < hits:
        return -1
    return int(np.lib.stride_tricks.sliding_window_view(margin, hits).min(1).max())


def count_events(streams: Sequence[Stream], label: int, labels: int, threshold: int, refractory: int) -> int:
    """Events of one label in some recordings at a threshold, each recording from the detector's first state."""
    decider = Decider([threshold] * labels, [i for i in range(labels) if i != label], HITS, refractory)
    events = 0
    for stream in streams:
        accepted = np.flatnonzero((stream.top == label) & (stream.margin >= threshold))
        if len(accepted) < HITS:
            continue
        decider.reset()
        last = -1
        for frame in accepted.tolist():
            for _ in range(min(frame - last - 1, refractory + 1)):  # more frames without a result change nothing
                decider.skip()
            events += decider.step(label, threshold) is not None
            last = frame
    return events


@dataclass(frozen=True)
class Detection:
    """One word: recordings of it, hours without it, and false accepts and misses by threshold."""

    word: str
    n: int
    hours: float
    hits: list[int] = field(repr=False)  # firing margins of the word's recordings, ascending
    thresholds: list[int]  # ascending
    false_accepts: list[int]  # at each threshold
    peaks: list[int] = field(repr=False)  # of negatives, second by second, descending
    alarms: list[Alarm] = field(default_factory=list, repr=False)  # where the greatest of them are

    def misses(self, threshold: int) -> int:
        """Recordings of the word that make no event at a threshold."""
        return int(np.searchsorted(self.hits, threshold))

    def miss_percent(self, threshold: int) -> float:
        """The same in percent; not a number without recordings."""
        return 100 * self.misses(threshold) / self.n if self.n else math.nan

    @property
    def quiet(self) -> int:
        """The least threshold without a single false accept."""
        return max(0, self.peaks[0] + 1) if self.peaks else 0

    def threshold_for(self, per_hour: float) -> int:
        """The threshold at which at most so many false accepts an hour are to be expected.

        Rare ones cannot be counted in a few hours: the greatest peaks fall off exponentially (Pickands, 1975), which tells how
        far above them the rate wanted lies. But a device that nobody can wake is of no use. So never more than half of the way
        from what these recordings demand to what GIVEN_UP of the word's recordings would be lost for: people unheard here are as
        hard to foresee as sounds unheard. And where one sound alone would cost more recordings than that, it may fire.
        """
        allowed, lost = per_hour * self.hours, int(GIVEN_UP * self.n)
        least, but_one = self.threshold_at(allowed), self.threshold_at(max(1, allowed))
        if self.misses(least) - self.misses(but_one) > max(1, lost):
            least = but_one
        rare = self._extrapolated(allowed)
        if not self.n:
            return least if rare is None else max(least, rare)
        half = (least + max(least, self.hits[min(self.misses(least) + lost, self.n - 1)])) // 2
        return half if rare is None else min(max(least, rare), half)

    def _extrapolated(self, allowed: float) -> int | None:
        """The threshold for so many false accepts by the tail of the peaks; None where there are too few to tell."""
        top = np.array(self.peaks[:TAIL], float)
        if len(top) < 5:
            return None
        scale = max(1.0, float((top[:-1] - top[-1]).mean()))
        return math.ceil(top[-1] + scale * math.log(len(top) / allowed))

    def threshold_at(self, most: float) -> int:
        """The least threshold with at most so many false accepts in these recordings."""
        return min((t for t, n in zip(self.thresholds, self.false_accepts, strict=True) if n <= most), default=self.quiet)

    def false_accepts_at(self, threshold: int) -> int:
        """False accepts in these recordings at a threshold, or at the nearest one below it that was counted."""
        return self.false_accepts[max(0, bisect_right(self.thresholds, threshold) - 1)]

    def curve(self, points: int | None = None) -> list[list[float]]:
        """[false accepts an hour, misses in percent] from many to none; at most so many points, spread over the misses.

        Empty without recordings of the word or without others.
        """
        if not self.n or not self.hours:
            return []
        rows: dict[float, list[float]] = {}
        for threshold, false in zip(self.thresholds, self.false_accepts, strict=True):
            row = [round(false / self.hours, 3), round(self.miss_percent(threshold), 2)]
            rows.setdefault(row[0], row)  # the fewest misses at that rate
        out = sorted(rows.values(), reverse=True)
        if points is not None and len(out) > points:
            out = [out[i] for i in sorted({round(i) for i in np.linspace(0, len(out) - 1, points)})]
        return out

    def as_dict(self, threshold: int | None = None) -> dict:
        """What `kws eval --stream --json` prints of a word; `threshold`: the one stored in the file."""
        at_zero = self.misses(self.quiet)
        value = {"n": self.n, "curve": self.curve(), "miss_at_zero_false_accepts": _percent(at_zero, self.n),
                 "interval": _interval(at_zero, self.n), "threshold_at_zero": self.quiet,
                 "alarms": [asdict(alarm) for alarm in self.alarms]}  # fmt: skip
        if threshold is not None:
            chosen = {"false_accepts": self.false_accepts_at(threshold), "missed": self.misses(threshold)}
            value |= {"threshold": threshold, "chosen": chosen}
        return value


def measure(model: Model, streams: Sequence[Stream]) -> list[Detection]:
    """Each word of a model on recordings that were heard: those of the word, and all others as negatives."""
    front_end = model.listening()
    refractory, second = frames_in(REFRACTORY_MS, front_end.hop, front_end.rate_hz), front_end.rate_hz / front_end.hop
    return [
        _measure_word(streams, i, model, refractory, second)
        for i, label in enumerate(model.labels)
        if label not in IGNORED
    ]


def _measure_word(streams: Sequence[Stream], index: int, model: Model, refractory: int, second: float) -> Detection:
    label, word = model.labels[index], plain(model.labels[index])
    own = [stream for stream in streams if stream.label == word]
    others = [stream for stream in streams if stream.label != word]
    hits = sorted(firing_margin(stream, index) for stream in own)
    alarms = [
        Alarm(margin, str(stream.path), round(stream.start_s + frame / second, 2))
        for stream in others
        for margin, frame in _peaks(stream, index, refractory)
    ]
    alarms = _apart(sorted(alarms, key=lambda alarm: -alarm.margin), refractory / second)
    peaks = [alarm.margin for alarm in alarms]
    wanted = {0, model.thresholds[index]} | {max(0, h) for h in hits}
    thresholds = sorted(wanted | {p + 1 for p in peaks[:TAIL]} | set(peaks[:100:5]))
    firing = [stream for stream in others if firing_margin(stream, index) >= 0]
    false = [count_events(firing, index, len(model.labels), t, refractory) for t in thresholds]
    hours = sum(stream.seconds for stream in others) / 3600
    return Detection(label, len(own), hours, hits, thresholds, false, peaks, alarms[:ALARMS])


def _apart(alarms: Sequence[Alarm], seconds: float) -> list[Alarm]:
    """Of alarms of one recording so close together the first alone: one sound that lies over two stretches.

    Looked for among the greatest: what follows is too low to matter, and long.
    """
    kept: list[Alarm] = []
    for alarm in alarms[: 10 * ALARMS]:
        if not any(alarm.path == other.path and abs(alarm.at_s - other.at_s) < seconds - 0.01 for other in kept):
            kept.append(alarm)
    return [*kept, *alarms[10 * ALARMS :]]


def _peaks(stream: Stream, label: int, every: int) -> list[tuple[int, int]]:
    """Firing margin and its frame, stretch by stretch of `every` frames of a recording; those that are none are left out."""
    margin = np.where(stream.top == label, stream.margin, -1)
    if len(margin) < HITS or margin.max() < 0:
        return []
    held = np.lib.stride_tricks.sliding_window_view(margin, HITS).min(1)
    best = [i + int(held[i : i + every].argmax()) for i in range(0, len(held), every)]
    return [(int(held[frame]), frame + HITS - 1) for frame in best if held[frame] >= 0]


def summary(model: Model, found: Sequence[Detection]) -> dict:
    """All words of a model as JSON. Every word has its own negatives: recordings of the other words are among them."""
    stored = dict(zip(model.labels, model.thresholds, strict=True))
    hours = round(max((d.hours for d in found), default=0.0), 4)
    return {"negative_hours": hours, "words": {d.word: d.as_dict(stored[d.word]) for d in found}}


def with_thresholds(model: Model, found: Sequence[Detection], per_day: float, source: str) -> Model:
    """The model with thresholds for at most `per_day` false wakes of each word, and what they were chosen from as metadata."""
    by_label = {d.word: d for d in found}
    thresholds = [by_label[label].threshold_for(per_day / 24) if label in by_label else 0 for label in model.labels]
    words = {}
    for d in found:
        misses = d.misses(thresholds[model.labels.index(d.word)])
        miss = {"n": d.n, "miss": _percent(misses, d.n), "interval": _interval(misses, d.n)}
        words[d.word] = miss | {"curve": d.curve(CURVE_POINTS)}
    told = {"chosen_on": source, "false_wakes_per_day": per_day, "negative_hours": round(max(d.hours for d in found), 3)}
    text = json.dumps({**told, "words": words}, separators=(",", ":"), ensure_ascii=False)
    if len(text.encode()) > METADATA_ROOM:  # many words: their curves stand in the run folder
        text = json.dumps({**told, "words": {}}, separators=(",", ":"))
    return replace(model, metadata={**model.metadata, "detection": text}, thresholds=thresholds)


def _percent(count: int, n: int) -> float | None:
    return round(100 * count / n, 2) if n else None


def _interval(count: int, n: int) -> list[float] | None:
    return [round(max(0.0, v), 2) for v in wilson_interval(count, n)] if n else None
