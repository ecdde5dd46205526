"""Signwave on a board: runs .swm models under MicroPython 1.24 or newer (and CPython, for tests).

    import signwave
    model = signwave.Model("model.swm")
    label, margin, scores = model.classify(samples)     # a clip: 16-bit samples, in bytes or array("h")
    top = model.step(hop_of_samples)                    # or a stream: the index of an accepted label, else None
    detector = signwave.Detector(model)                 # or events, from microphones in signwave.mic: see detector.py
    command = signwave.TextCommand("lights.swm")        # or text instead of sound
    label, score, margin, slots = command.classify("turn on the light in the kitchen")

The whole folder goes to the board's library folder as it is; `signwave.backend.reason` says which kernels run and why.
"""

import gc
import sys

_version = sys.implementation.version
if sys.implementation.name == "micropython" and _version[:2] < (1, 24):
    # Before 1.24 the collector could free a native module's code, and older function tables differ.
    raise ImportError(f"signwave needs MicroPython 1.24 or newer, this is {_version[0]}.{_version[1]}: install newer firmware")

# Compiling leaves garbage between what stays. Collected often meanwhile, the heap keeps one large piece free for a model:
# on a heap of 130 KiB, 82 KiB instead of 29.
_threshold = gc.threshold() if hasattr(gc, "threshold") else None
if _threshold is not None:
    gc.collect()
    gc.threshold(4096)

from . import backend  # noqa: E402
from .model import Model  # noqa: E402

if _threshold is not None:
    gc.collect()
    gc.threshold(_threshold)

__all__ = ["Cascade", "Detector", "Model", "TextCommand", "backend", "classify", "mic", "text", "update"]

_LATER = {"Cascade": "cascade", "Detector": "detector", "TextCommand": "textcommand", "mic": "mic", "Store": "update"}
_LATER["text"], _LATER["update"] = "text", "update"


def __getattr__(name):
    """Modules that not every board needs take their RAM at first use."""
    if name not in _LATER:
        raise AttributeError(name)
    gc.collect()  # as above
    module = __import__(__name__ + "." + _LATER[name], None, None, (name,))
    return module if name == _LATER[name] else getattr(module, name)


def classify(path, samples):
    """(label or None, margin, scores) of one clip by the model in a file."""
    return Model(path).classify(samples)
