"""The energy gate: no network while it is quiet, and not one bit of difference where it is not.

A result follows from the last `model.field` frames alone, because the graph has no feedback. Where all of them are
below the level, it is not computed. When a frame at or above the level comes, the network first runs the frames it
has missed (at most `field`, kept here), so that every result from there on is the one it would have been.
"""

from io import BytesIO

BURST = 6


class Gate:
    """Frames on their way to the network, and whether it has to run.

    level: on features (1/8 octave of power, -128 to 127): a frame counts as quiet while its loudest band is below;
    burst: frames run on one new frame at most, 2 or more: what was missed is spread over about field / (burst - 1) frames.
    """

    def __init__(self, model, level, burst=BURST):
        if not -128 <= level <= 127 or burst < 2:
            raise ValueError(f"gate level {level} or burst {burst}: -128 to 127 and at least 2 are needed")
        self.burst, self.pending = burst, 0
        self._level, self._slots, self._width = level, model.field, model.channels
        self._ring = BytesIO(bytearray(model.field * model.channels))  # a file in memory copies without allocating
        self.restart(0)

    def restart(self, context):
        """Forget what was heard but for the last `context` frames that the network has not run; it is to be at rest."""
        drop = max(0, self.pending - context)
        self._first = (self._first + drop) % self._slots if self.pending > drop else 0
        self.pending -= drop
        self.stale = self.pending  # of the pending frames, how many come before those to be decided
        self.is_context = False
        self._quiet = 0 if self.pending else self._slots

    def skip(self, features):
        """Keep a frame that is not to be decided."""
        if self.pending == self._slots:
            self._first = (self._first + 1) % self._slots
            self.pending -= 1
        self._ring.seek((self._first + self.pending) % self._slots * self._width)
        self._ring.write(features)
        self.pending += 1
        self.stale = self.pending

    def push(self, features):
        """Keep a frame; True where the network is to run: `pop` then gives frames until it has nothing or for `burst` times."""
        stale = self.stale
        self.skip(features)
        if stale == self.pending:  # the oldest of a full ring had to go
            stale -= 1
        if max(features) >= self._level:
            self._quiet = 0
        elif self._quiet < self._slots:
            self._quiet += 1
        if self._quiet == self._slots:
            return False
        self.stale = stale
        return True

    def pop(self, features):
        """The oldest frame that the network has not run, into `features`; False where there is none.

        `is_context` then says whether it is run for the state's sake only.
        """
        if not self.pending:
            return False
        self._ring.seek(self._first * self._width)
        self._ring.readinto(features)
        self._first = (self._first + 1) % self._slots
        self.pending -= 1
        self.is_context = self.stale > 0
        if self.is_context:
            self.stale -= 1
        return True
