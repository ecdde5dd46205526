"""Listening: hops of samples in, events out.

    detector = signwave.Detector(signwave.Model("model.swm"))
    with signwave.mic.open() as source:
        hop = detector.buffer()
        while source.read_into(hop):                       # polling
            event = detector.feed(hop)
            if event:
                print(event.label, event.margin, event.frame)

    detector.listen(source)                                # or callbacks: Detector(model, on_event=...)
    async for event in detector.events(source): ...        # or asyncio

With native kernels a frame without an event allocates nothing.
"""

import os
from array import array
from collections import namedtuple

from .decision import DISCARD_MS, HITS, IGNORED, REFRACTORY_MS, decider_for, frames_in
from .model import copy_into

# frame: hops heard until then, so that frame * hop is the sample after which the event was known.
Event = namedtuple("Event", ("label", "margin", "frame"))


class Listener:
    """What detectors have in common: loops over a source, callbacks, and the sound heard last.

    overruns: hops that the source lost because they were not fetched in time;
    callback_errors, last_error: how often on_event raised an Exception, and the last one. Listening goes on.
    """

    def __init__(self, model, capture_ms, on_event):
        if model.hop is None:
            raise ValueError(f"model '{model.metadata['name']}' has no front end: it reads features and cannot listen")
        self.hop, self.rate_hz, self.on_event = model.hop, model.rate_hz, on_event
        self.frames = self.overruns = self.callback_errors = 0
        self.last_error, self._stopped = None, False
        self._features = array("b", bytes(model.channels))
        hops = frames_in(capture_ms, model.hop, model.rate_hz)
        self._sound, self._hop_form = bytearray(hops * 2 * model.hop), f"{2 * model.hop}s"
        self._sound_at, self._sound_full = 0, False

    def buffer(self):
        """A new bytearray for one hop of samples."""
        return bytearray(2 * self.hop)

    def feed(self, samples):
        """Hear the next `hop` samples (16 bits each); an Event where one became known with them, else None."""
        raise NotImplementedError

    def listen(self, source):
        """Feed a source (see signwave.mic) until it ends or `stop` is called; events go to on_event."""
        hop, self._stopped = self.buffer(), False
        while not self._stopped and source.read_into(hop):
            self.overruns = source.overruns
            self.feed(hop)

    def events(self, source):
        """The events of a source, for `async for`."""
        return _Events(self, source)

    def stop(self):
        """End `listen` or `events` after this hop."""
        self._stopped = True

    def _tell(self, event):
        if self.on_event:
            try:
                self.on_event(event)
            except Exception as error:
                self.callback_errors += 1
                self.last_error = error
        return event

    def _remember(self, samples):
        if self._sound:
            copy_into(self._hop_form, self._sound, self._sound_at, samples)
            self._sound_at += 2 * self.hop
            if self._sound_at == len(self._sound):
                self._sound_at, self._sound_full = 0, True

    def captured(self):
        """The samples of the last capture_ms, as two pieces of memory in order; the next feed changes them."""
        sound = memoryview(self._sound)
        return sound[self._sound_at if self._sound_full else len(sound) :], sound[: self._sound_at]

    def save(self, path):
        """Write what is captured to a WAV file, whole or not at all."""
        from .wav import wav_head

        older, newer = self.captured()
        size = len(older) + len(newer)
        with open(path + ".tmp", "wb") as f:
            f.write(wav_head(size, self.rate_hz))
            f.write(older)
            f.write(newer)
        os.rename(path + ".tmp", path)


class Detector(Listener):
    """Hears the words of one model, from its start as though there had been silence.

    thresholds: instead of the file's, a list of margins or {label: margin};
    hits: accepted frames on end that make an event (decision.Decider says why);
    refractory_ms: no other event for so long after one, best no shorter than the model's window;
    ignore: labels that make no events; discard_ms: what is not listened to at the start, while a microphone settles;
    gate_level, burst: the network rests while it is quiet (gate.Gate), and a frame on which it rests accepts nothing;
    capture_ms: how much sound `captured` and `save` have. on_event(event) is called with every event.
    frames, frames_run: frames heard, and frames that the network ran: their ratio is the duty cycle.
    Raises ValueError where a setting does not fit the model.
    """

    def __init__(self, model, *, thresholds=None, ignore=IGNORED, hits=HITS, refractory_ms=REFRACTORY_MS,
                 discard_ms=DISCARD_MS, gate_level=None, burst=None, capture_ms=0, on_event=None):  # fmt: skip
        super().__init__(model, capture_ms, on_event)
        self.model, self.frames_run, self.gate = model, 0, None
        self._decider = decider_for(
            model.labels, model.thresholds, self.hop, self.rate_hz, thresholds, ignore, hits, refractory_ms
        )
        self._discard = frames_in(discard_ms, self.hop, self.rate_hz)
        if gate_level is not None:
            from .gate import BURST, Gate

            self.gate = Gate(model, gate_level, burst or BURST)
            if frames_in(refractory_ms, self.hop, self.rate_hz) < self.gate.burst:
                raise ValueError(f"refractory_ms {refractory_ms} is less than the {self.gate.burst} hops of a burst")
        self.restart()

    def reset(self):
        """Forget what was heard; counters go on."""
        self.model.reset()
        self.restart()

    def restart(self, context=0):
        """Begin anew with the next frame, or with the last `context` frames that were skipped (which needs a gate).

        As after silence; the front end goes on: this is for what shares one.
        """
        self._decider.reset()
        self.model.rest()
        if self.gate:
            self.gate.restart(context)

    def feed(self, samples):
        self.model.features(samples, self._features)
        self._remember(samples)
        return self.hear(self._features)

    def skip(self, features):
        """Let a frame pass that is not to be decided."""
        self.frames += 1
        if self.gate:
            self.gate.skip(features)

    def hear(self, features):
        """As `feed`, from a frame of features, an array("b") that is overwritten."""
        self.frames += 1
        if self.frames <= self._discard:
            return None
        if self.gate:
            return self._hear_gated(features)
        return self._run(features, self.frames)

    def _hear_gated(self, features):
        gate, event = self.gate, None
        if not gate.push(features):
            return self._decider.skip()
        for _ in range(gate.burst):
            if not gate.pop(features):
                break
            if gate.is_context:
                self.model.advance(features)
                self.frames_run += 1
            else:
                event = self._run(features, self.frames - gate.pending) or event
        return event

    def _run(self, features, frame):
        model = self.model
        model.step_features(features)
        self.frames_run += 1
        label = self._decider.step(model.top, model.margin)
        return None if label is None else self._tell(Event(model.labels[label], model.margin, frame))


class _Events:
    """Asynchronous iteration; a class, because MicroPython has no asynchronous generators."""

    def __init__(self, listener, source):
        self._listener, self._source, self._hop = listener, source, listener.buffer()
        listener._stopped = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        listener, source = self._listener, self._source
        while not listener._stopped and await source.read_async(self._hop):
            listener.overruns = source.overruns
            event = listener.feed(self._hop)
            if event:
                return event
        raise StopAsyncIteration
