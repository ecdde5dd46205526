"""Whole recordings, decided as a board decides them while it listens: the same events at the same frames.

    for event in events_of("model.swm", samples):
        print(event.at_s, event.label)

Results come from the C core, and events from the very file that runs on the board (device/board/signwave/decision.py).
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from device.board.signwave.decision import DISCARD_MS, HITS, IGNORED, REFRACTORY_MS, decider_for, frames_in
from export import native
from export.format import Model, decide, read
from export.graph import encode_graph


@dataclass(frozen=True)
class Event:
    """What was heard: label and margin, after how many frames from the start, and that in seconds."""

    label: str
    margin: int
    frame: int
    at_s: float


@dataclass(frozen=True)
class Heard:
    """The events of a recording; its frames, and how many of them the network runs (fewer where a gate rests it)."""

    events: list[Event]
    frames: int
    frames_run: int

    @property
    def duty_cycle(self) -> float:
        """Share of frames that the network runs; more than 1 is possible, because a gate that opens runs some again."""
        return self.frames_run / max(1, self.frames)


def events_of(model: Model | str | os.PathLike, samples: np.ndarray, **settings) -> list[Event]:
    """The events in a recording (sample,) int16: see `listen`, whose settings it takes."""
    return listen(model, samples, **settings).events


def listen(
    model: Model | str | os.PathLike,
    samples: np.ndarray,
    *,
    thresholds: Sequence[int] | Mapping[str, int] | None = None,
    ignore: Collection[str] = IGNORED,
    hits: int = HITS,
    refractory_ms: int = REFRACTORY_MS,
    discard_ms: int = DISCARD_MS,
    gate_level: int | None = None,
    gain: int = 0,
) -> Heard:
    """Listen to a recording (sample,) int16 with the settings of the board's Detector; `gain` is that of Model.amplify.

    A board whose gate has just opened runs behind for some frames: what it had not run yet when the recording ends is
    counted here all the same. Raises FormatError where the model cannot be read or has no front end, ValueError where a
    setting does not fit it.
    """
    if not isinstance(model, Model):
        model = read(model)
    front_end = model.listening()
    decider = decider_for(
        model.labels, model.thresholds, front_end.hop, front_end.rate_hz, thresholds, ignore, hits, refractory_ms
    )
    discarded = frames_in(discard_ms, front_end.hop, front_end.rate_hz)
    amplified = replace(front_end, offset=front_end.offset + 512 * gain)  # a doubling is two octaves of power
    features = native.log_mel(samples, amplified.encode())
    heard = features[discarded:]
    runs, frames_run = gate(heard, field(model), gate_level)
    top, margin = _after_silence(model, heard)
    events = []
    for i, (t, m, run) in enumerate(zip(top.tolist(), margin.tolist(), runs.tolist(), strict=True)):
        label = decider.step(t, m) if run else decider.skip()
        if label is not None:
            frame = discarded + i + 1
            events.append(Event(model.labels[label], m, frame, round(frame / front_end.frames_per_second, 3)))
    return Heard(events, len(features), frames_run)


def results(model: Model, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best label and its margin at every frame of a recording (sample,) int16, both (frame,): what decisions follow from."""
    return _after_silence(model, native.log_mel(samples, model.listening().encode()))


def _after_silence(model: Model, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of features (frame, band) int8, from the state that a board's Detector begins in."""
    before = field(model)
    silence = np.full((before, features.shape[1]), -128, np.int8)
    top, margin = decide(native.Graph(encode_graph(model.ops)).run(np.concatenate([silence, features])))
    return top[before:], margin[before:]


def field(model: Model) -> int:
    """Frames that a result follows from, itself included."""
    return 1 + sum((op.taps - 1) * op.dilation for op in model.ops)


def gate(features: np.ndarray, field: int, level: int | None) -> tuple[np.ndarray, int]:
    """Which frames of features (frame, band) int8 are decided behind the board's energy gate, and how many are run.

    A frame is decided where any of the `field` frames up to it has a band at or above `level`. Those that it needs and
    that were not run before are run first.
    """
    n = len(features)
    if level is None or n == 0:
        return np.ones(n, bool), n
    if not -128 <= level <= 127:
        raise ValueError(f"gate level {level}: features reach from -128 to 127")
    frame = np.arange(n)
    loud = np.maximum.accumulate(np.where(features.max(1) >= level, frame, -field))
    decided = frame - loud < field
    resting = frame - np.maximum.accumulate(np.where(decided, frame, -1))  # frames on end that were not decided
    opens = decided & ~np.concatenate([[False], decided[:-1]])
    missed = np.concatenate([[0], resting[:-1]])[opens]
    return decided, int(decided.sum() + np.minimum(missed, field - 1).sum())
