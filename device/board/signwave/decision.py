"""From results to events: integers alone and nothing imported, so that the host decides whole recordings with this very file.

    decider = Decider([40, 40, 60], ignored=[2], hits=3, refractory=50)
    label = decider.step(top, margin)      # on every frame: the index of the label that has just been heard, or None
"""

IGNORED = ("_silence_", "_unknown_")
HITS, REFRACTORY_MS, DISCARD_MS = 15, 1000, 250  # 15 frames: 0.3 s at 50 a second


def frames_in(ms, hop, rate_hz):
    """Frames of `hop` samples that cover `ms` milliseconds."""
    return -(-ms * rate_hz // (1000 * hop))


def decider_for(labels, stored, hop, rate_hz, thresholds=None, ignore=IGNORED, hits=HITS, refractory_ms=REFRACTORY_MS):
    """The Decider of a model: `stored` are the file's thresholds, `thresholds` a list instead or {label: least margin}.

    Raises ValueError naming what does not fit.
    """
    margins = list(stored if thresholds is None or isinstance(thresholds, dict) else thresholds)
    if len(margins) != len(labels):
        raise ValueError(f"{len(margins)} thresholds, the model has {len(labels)} labels")
    if isinstance(thresholds, dict):
        for label in thresholds:
            if label not in labels:
                raise ValueError(f"no label '{label}' to set a threshold of; there are {', '.join(labels)}")
            margins[labels.index(label)] = thresholds[label]
    ignored = [i for i in range(len(labels)) if labels[i] in ignore]
    return Decider(margins, ignored, hits, frames_in(refractory_ms, hop, rate_hz))


class Decider:
    """An event is `hits` accepted frames of one label on end. It lasts until the label is not accepted for a frame.

    thresholds: the least margin at which each label is accepted; ignored: indices of labels that make no events;
    refractory: frames after an event within which there is no other.
    The network's window has averaged already, but speech that is only alike for a moment leads for less long than a word does
    (docs/ablations.md).
    """

    def __init__(self, thresholds, ignored=(), hits=HITS, refractory=50):
        if hits < 1 or refractory < 0:
            raise ValueError(f"hits {hits} or refractory time {refractory} frames: at least 1 and 0 are needed")
        self._thresholds, self._hits, self._refractory = thresholds, hits, refractory
        self._ignored = bytes([1 if i in ignored else 0 for i in range(len(thresholds))])
        self.reset()

    def reset(self):
        """Forget all decisions before."""
        self._label, self._run, self._wait, self._told = -1, 0, 0, False

    def skip(self):
        """A frame without a result: nothing is accepted."""
        self._label = -1
        if self._wait:
            self._wait -= 1

    def step(self, top, margin):
        """A frame's best label and its lead over the next; the label's index where it makes an event, else None."""
        if margin < self._thresholds[top]:
            return self.skip()
        if self._wait:
            self._wait -= 1
        if top != self._label:
            self._label, self._run, self._told = top, 0, False
        if self._run < self._hits:
            self._run += 1
        if self._run < self._hits or self._told or self._wait or self._ignored[top]:
            return None
        self._told, self._wait = True, self._refractory
        return top
