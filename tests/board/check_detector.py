"""Detector and cascade: events, settings, callbacks, captured sound, asyncio, and what is refused.

The model is audio.swm (its labels: expected.py); sounds come from a generator of its own, alike everywhere.
"""

import gc
from array import array
from io import BytesIO

import expected
import signwave
from signwave import Model, backend
from signwave.detector import Event
from signwave.wav import WavSource, wav_head

SOME, MANY = [8000] * len(expected.LABELS), [2000] * len(expected.LABELS)  # margins that the sounds below cross often


class Random:
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 1103515245 + 12345) & 0x3FFFFFFF
        return (self.state >> 8) % n


def refusal(function, *arguments, **settings):
    try:
        function(*arguments, **settings)
    except ValueError as error:
        return str(error)
    raise AssertionError("nothing was refused")


class Recorder:
    """In the place of a detector's Decider: keeps the results that it is asked to decide."""

    def __init__(self, model):
        self.model, self.rows = model, []

    def reset(self):
        pass

    def step(self, top, margin):
        self.rows.append(self.model.scores())


def hops(model, seed, count):
    random = Random(seed)
    noise = array("h", [random.below(16384) - 8192 for _ in range(2 * model.hop)])
    for _ in range(count):
        loud, at = (0, 1, 300, 9000)[random.below(4)], random.below(model.hop)
        yield array("h", [v * loud >> 13 for v in noise[at : at + model.hop]])


def check_events():
    """Events have frame, label and margin of the moment, and each of the settings takes part."""
    model = Model("audio.swm")
    detector = signwave.Detector(model, thresholds=SOME, hits=2, refractory_ms=100, discard_ms=100, ignore=())
    heard, told = [], []
    detector.on_event = told.append
    for i, hop in enumerate(hops(model, 6, 100)):
        event = detector.feed(hop)
        if event:
            assert event.frame == i + 1 == detector.frames
            assert (event.label, event.margin) == (model.labels[model.top], model.margin)
            heard.append(event)
    assert heard == told and len(heard) > 1, heard
    assert heard[0].frame >= 5 + 2
    for i in range(1, len(heard)):
        assert heard[i].frame - heard[i - 1].frame >= 5
    assert detector.frames == detector.frames_run + 5 == 100
    detector.reset()
    ignored = signwave.Detector(model, thresholds=SOME, ignore=expected.LABELS)
    assert not any([ignored.feed(hop) for hop in hops(model, 6, 100)])


def check_begins_as_after_silence():
    """The first results are those behind silence longer than the network's field, whatever was heard before a reset."""
    model = Model("audio.swm")
    for _ in range(model.field):
        model.step(bytes(2 * model.hop))
    wanted = []
    for hop in hops(model, 3, 12):
        model.step(hop)
        wanted.append(model.scores())
    for settings in ({}, {"gate_level": -128}):
        detector = signwave.Detector(model, discard_ms=0, **settings)
        for _ in range(2):
            detector._decider = Recorder(model)
            detector.reset()
            for hop in hops(model, 3, 12):
                detector.feed(hop)
            assert detector._decider.rows == wanted, settings


def check_amplified():
    """Twice the sound is one doubling, to the bit where nothing is lost."""
    soft, loud = Model("audio.swm"), Model("audio.swm")
    soft.amplify(2)
    a, b = array("b", bytes(soft.channels)), array("b", bytes(soft.channels))
    for hop in hops(soft, 7, 10):
        hop = array("h", [v >> 1 for v in hop])
        soft.features(array("h", [v // 4 for v in hop]), a)
        loud.features(array("h", [v // 4 * 4 for v in hop]), b)
        assert a == b
    assert "16 bits" in refusal(soft.amplify, 100)
    assert not soft.same_front_end(loud) and loud.same_front_end(Model("audio.swm"))


def check_callbacks():
    """What a callback raises is counted and kept, and ends nothing."""
    model, seen = Model("audio.swm"), []

    def fail(event):
        seen.append(event)
        raise RuntimeError(event.label)

    detector = signwave.Detector(model, thresholds=SOME, hits=1, refractory_ms=40, ignore=(), on_event=fail)
    for hop in hops(model, 6, 100):
        detector.feed(hop)
    assert len(seen) > 1 and detector.callback_errors == len(seen), seen
    assert str(detector.last_error) == seen[-1].label and isinstance(seen[-1], Event)


def check_capture():
    model = Model("audio.swm")
    detector = signwave.Detector(model, capture_ms=100)  # five hops
    sound = list(hops(model, 8, 13))
    for count in range(13):
        detector.feed(sound[count])
        older, newer = detector.captured()
        wanted = b"".join([bytes(hop) for hop in sound[max(0, count - 4) : count + 1]])
        assert bytes(older) + bytes(newer) == wanted, count
    assert bytes(signwave.Detector(model).captured()[0]) == b""
    try:
        detector.save("captured.wav")
    except OSError:  # a read-only emulated board
        return
    source, hop = WavSource("captured.wav"), bytearray(640)
    for count in range(8, 13):
        assert source.read_into(hop) and bytes(hop) == bytes(sound[count])
    assert not source.read_into(hop)
    source.close()


class Sound:
    """A WAV file of hops that are made as they are read, and one byte too many: it needs no memory."""

    def __init__(self, model, seed, count):
        self.head = BytesIO(wav_head(2 * model.hop * count + 1, 16000))
        self.hops = hops(model, seed, count)

    def read(self, n):
        return self.head.read(n)

    def readinto(self, buffer):
        buffer[:] = bytes(next(self.hops))
        return len(buffer)


def check_listening_styles():
    """Polling, callbacks and asyncio give the same events."""
    model = Model("audio.swm")
    make = lambda: signwave.Detector(model, thresholds=SOME, hits=2, refractory_ms=100, ignore=())  # noqa: E731
    model.reset()
    detector, polled = make(), []
    source, hop = WavSource(Sound(model, 6, 100)), detector.buffer()
    while source.read_into(hop):
        event = detector.feed(hop)
        if event:
            polled.append(event)
    model.reset()
    detector, called = make(), []
    detector.on_event = called.append
    detector.listen(WavSource(Sound(model, 6, 100)))
    assert polled == called and len(polled) > 1 and detector.frames == 100
    model.reset()
    detector = make()
    detector.on_event = lambda event: detector.stop()
    detector.listen(WavSource(Sound(model, 6, 100)))
    assert detector.frames == polled[0].frame
    try:
        import asyncio
    except ImportError:
        return
    model.reset()
    awaited = []

    async def listen():
        async for event in make().events(WavSource(Sound(model, 6, 100))):
            awaited.append(event)

    asyncio.run(listen())
    assert awaited == polled


def check_cascade():
    model, commands = Model("audio.swm"), Model("audio.swm")
    labels = model.labels
    wake = {"thresholds": MANY, "hits": 1, "refractory_ms": 40, "ignore": (), "discard_ms": 0}
    for command, replay_ms, kinds in (
        ({"thresholds": MANY, "hits": 1, "ignore": ()}, 0, ("wake", "command")),
        ({"thresholds": MANY, "hits": 1, "ignore": ()}, 200, ("wake", "command")),
        ({"ignore": labels}, 0, ("wake", "timeout")),
        ({"ignore": labels, "gate_level": 127}, 100, ("wake", "timeout")),
    ):
        model.reset()
        told = []
        settings = {"wake": wake, "command": command, "replay_ms": replay_ms, "on_event": told.append}
        cascade = signwave.Cascade(model, commands, 0.2, **settings)
        events = []
        for hop in hops(model, 6, 100):
            event = cascade.feed(hop)
            if event:
                events.append(event)
                assert cascade.awake == (event.kind == "wake")
        assert events == told and len(events) > 3, events
        for i, event in enumerate(events):
            assert event.kind == kinds[i % 2], events
            assert (event.label is None) == (event.kind == "timeout")
            if event.kind != "wake":
                assert 0 < event.frame - events[i - 1].frame <= 10
                assert event.kind == "command" or event.frame - events[i - 1].frame == 10
        assert cascade.frames == 100 >= cascade.frames_run - 11 * len(events)
    first = signwave.Cascade(model, commands, 0.2, wake=wake, command=command)
    first.reset()
    assert "front ends differ" in refusal(signwave.Cascade, model, Model("features.swm"))
    commands.amplify(1)
    assert "front ends differ" in refusal(signwave.Cascade, model, commands)
    commands.amplify(-1)
    assert "replay_ms 9000" in refusal(signwave.Cascade, model, commands, replay_ms=9000)


def check_command_network_starts_anew():
    """Behind a wake word the command network's results are those of a network that hears from there, or from the replay on."""
    model, commands = Model("audio.swm"), Model("audio.swm")
    fresh, features = Model("audio.swm"), [array("b", bytes(model.channels)) for _ in range(40)]
    for i, hop in enumerate(hops(model, 9, 40)):
        model.features(hop, features[i])
    for replay in (0, 7):
        model.reset()
        cascade = signwave.Cascade(model, commands, 9, replay_ms=20 * replay, wake={"ignore": model.labels})
        cascade.command._decider = Recorder(commands)
        for i, hop in enumerate(hops(model, 9, 40)):
            if i == 20:  # as where a wake word was heard
                cascade._left = 450
                cascade.command.restart(cascade._replay)
            cascade.feed(hop)
        got = cascade.command._decider.rows
        fresh.rest()
        for frame in features[20 - replay : 20]:
            fresh.advance(frame)
        for i in range(20, 20 + len(got)):
            fresh.step_features(features[i])
            assert got[i - 20] == fresh.scores(), (replay, i)
        assert len(got) == 20


def check_refusals():
    model = Model("audio.swm")
    make = signwave.Detector
    assert "cannot listen" in refusal(make, Model("features.swm"))
    assert "no label 'maybe'" in refusal(make, model, thresholds={"maybe": 1})
    assert "3 thresholds" in refusal(make, model, thresholds=[1, 2, 3])
    assert "gate level 128" in refusal(make, model, gate_level=128)
    assert "burst 1" in refusal(make, model, gate_level=0, burst=1)
    assert "refractory_ms 20" in refusal(make, model, gate_level=0, refractory_ms=20)
    for samples in (b"", bytes(639), bytes(1280)):
        refusal(make(model).feed, samples)


for check in (check_events, check_begins_as_after_silence, check_amplified, check_callbacks, check_capture,
              check_listening_styles, check_cascade, check_command_network_starts_anew, check_refusals):  # fmt: skip
    gc.collect()
    check()
print("checked detectors:", backend.name)
