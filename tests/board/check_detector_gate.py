"""The energy gate: not one bit of difference where it is open, and no allocation while listening.

The model is audio.swm; random features come from a generator of its own, alike everywhere.
"""

import gc
import sys
from array import array
from io import BytesIO

import signwave
from signwave import Model, backend
from signwave.wav import WavSource, wav_head

QUIET = -50


class Random:
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 1103515245 + 12345) & 0x3FFFFFFF
        return (self.state >> 8) % n


def stretches(seed, frames, channels):
    """Frames of features: stretches of sound and of quiet, some longer than the network's field."""
    random, left, quiet = Random(seed), 0, 0
    out = [array("b", bytes(channels)) for _ in range(frames)]
    for frame in out:
        if not left:
            quiet = random.below(2)
            left = 1 + random.below(40 if quiet else 6)
        for c in range(channels):
            frame[c] = -128 + random.below(-QUIET)
        if not quiet:
            frame[random.below(channels)] = QUIET + random.below(120)
        left -= 1
    return out


class Recorder:
    """In the place of a detector's Decider: keeps the results that it is asked to decide."""

    def __init__(self, model):
        self.model, self.rows = model, []

    def reset(self):
        pass

    def step(self, top, margin):
        self.rows.append(self.model.scores())

    def skip(self):
        self.rows.append(None)


def results(model, frames, **settings):
    """The result on each frame, None where the gate was closed; and the frames that the network ran."""
    model.reset()
    detector = signwave.Detector(model, discard_ms=0, **settings)
    detector._decider = Recorder(model)
    for frame in frames:
        assert detector.hear(array("b", frame)) is None
    return detector._decider.rows, detector.frames_run


def check_gate_keeps_every_bit():
    model = Model("audio.swm")
    assert model.field == 18  # stem 3 taps, two layers of 3 taps at dilations 1 and 2, a window of 10
    for seed, burst in ((1, 2), (2, 3), (3, 6), (4, 18)):
        frames = stretches(seed, 120, model.channels)
        plain, run = results(model, frames)
        assert run == len(frames)
        gated, run = results(model, frames, gate_level=QUIET, burst=burst)
        closed = 0
        for i in range(len(gated)):
            near = frames[max(0, i - model.field + 1) : i + 1]
            is_open = max([max(frame) for frame in near]) >= QUIET
            assert gated[i] == (plain[i] if is_open else None), (seed, i)
            closed += not is_open
        assert 0 < closed < 110 and run <= 2 * (len(frames) - closed), (closed, run)
        assert len(frames) - len(gated) < model.field


def check_field_is_exact():
    """A frame changes results for `field` frames, so that no smaller one would do."""
    model = Model("audio.swm")
    frames = stretches(5, 60, model.channels)
    before, _ = results(model, frames)
    frames[20] = array("b", [-1 - v for v in frames[20]])
    after, _ = results(model, frames)
    changed = [i for i in range(60) if before[i] != after[i]]
    assert changed and changed[0] >= 20 and changed[-1] < 20 + model.field, changed


def check_no_allocation():
    """Native kernels on MicroPython: hops without an event leave the heap as it is, gate closed, opening and open."""
    if sys.implementation.name != "micropython" or backend.name == "portable":
        return
    model = Model("audio.swm")
    quiet, loud = bytearray(640), bytearray([i * 37 & 255 for i in range(640)])
    sound = BytesIO(wav_head(640 * 20, 16000) + bytes(640 * 20))
    for settings in ({}, {"gate_level": QUIET}, {"gate_level": QUIET, "capture_ms": 200}):
        detector = signwave.Detector(model, ignore=model.labels, **settings)
        for _ in range(3):
            detector.feed(quiet)
        source = WavSource(sound)
        gc.collect()
        before = gc.mem_alloc()
        while source.read_into(quiet):
            detector.feed(quiet)
        for i in range(100):
            detector.feed(loud if i % 50 < 5 else quiet)
        after = gc.mem_alloc()
        assert after == before, (settings, after - before)
        assert detector.frames_run < detector.frames or not settings
        sound.seek(0)
    cascade = signwave.Cascade(model, Model("audio.swm"), replay_ms=100, wake={"ignore": model.labels})
    cascade.feed(quiet)
    gc.collect()
    before = gc.mem_alloc()
    for i in range(40):
        cascade.feed(loud if i % 20 < 5 else quiet)
    after = gc.mem_alloc()
    assert after == before, after - before


check_gate_keeps_every_bit()
check_field_is_exact()
check_no_allocation()
print("checked the gate:", backend.name)
