"""A wake word, then a command: two models in turn on one front end.

    cascade = signwave.Cascade(signwave.Model("wake.swm"), signwave.Model("commands.swm"), window_s=4)
    with signwave.mic.open() as source:
        cascade.listen(source)          # on_event, or polling, or asyncio: as with signwave.Detector

Features are computed once, and only one of the two networks runs on them.
"""

from collections import namedtuple

from .decision import frames_in
from .detector import Detector, Listener

# kind: "wake", "command", or "timeout" where no command came (label None); the rest as in detector.Event.
CascadeEvent = namedtuple("CascadeEvent", ("kind", "label", "margin", "frame"))


class Cascade(Listener):
    """After each wake word, one command within `window_s` seconds or a timeout; then it waits for the wake word again.

    wake, command: settings of the two Detectors, as dicts; each begins its turn anew, as after silence (Model.rest).
    replay_ms: the command network begins so much before the wake word was known, for who speaks on without a pause;
    that takes memory for a frame's features for each frame of its field, and it may take the wake word itself for a command.
    Raises ValueError where the models' front ends differ.
    """

    def __init__(
        self, wake_model, command_model, window_s=4, *, wake=None, command=None, replay_ms=0, capture_ms=0, on_event=None
    ):
        super().__init__(wake_model, capture_ms, on_event)
        if not wake_model.same_front_end(command_model):
            raise ValueError("the two models' front ends differ: export both with the same, and amplify both alike")
        settings = {"discard_ms": 0}
        settings.update(command or {})
        if replay_ms and settings.get("gate_level") is None:
            settings["gate_level"] = -128  # never closed: there for its memory
        self.wake, self.command = Detector(wake_model, **(wake or {})), Detector(command_model, **settings)
        self._window = frames_in(int(1000 * window_s), self.hop, self.rate_hz)
        self._replay = frames_in(replay_ms, self.hop, self.rate_hz)
        if self._window < 1 or self._replay > command_model.field:
            raise ValueError(f"window_s {window_s} or replay_ms {replay_ms}: no frame, or over {command_model.field} frames")
        self._left = 0  # frames in which a command may still come

    @property
    def awake(self):
        """Whether a command is being waited for."""
        return self._left > 0

    @property
    def frames_run(self):
        """Frames that either network ran."""
        return self.wake.frames_run + self.command.frames_run

    def reset(self):
        """Forget what was heard, and wait for the wake word."""
        self.wake.reset()
        self.command.restart()
        self._left = 0

    def feed(self, samples):
        self.wake.model.features(samples, self._features)
        self._remember(samples)
        self.frames += 1
        return self._hear_command() if self._left else self._hear_wake()

    def _hear_wake(self):
        self.command.skip(self._features)
        event = self.wake.hear(self._features)
        if event is None:
            return None
        self._left = self._window
        self.command.restart(self._replay)
        return self._tell(CascadeEvent("wake", *event))

    def _hear_command(self):
        self.wake.skip(self._features)
        self._left -= 1
        event = self.command.hear(self._features)
        if event is None and self._left:
            return None
        self._left = 0
        self.wake.restart()
        return self._tell(CascadeEvent("command", *event) if event else CascadeEvent("timeout", None, 0, self.frames))
