"""Survives: the board restarts where no sound is processed for eight seconds, and a callback that fails ends nothing.

Name it main.py, and it begins again after each restart.
"""

import signwave
from signwave import mic

try:
    from machine import WDT
except ImportError:  # a PC has none

    class WDT:
        def __init__(self, timeout):
            self.timeout = timeout

        def feed(self):
            pass


heard = 0


def on_event(event):
    global heard
    heard += 1
    print(event.label)
    if heard == 2:
        raise RuntimeError("the lamp did not answer")


model = signwave.Model("model.swm")
with mic.open() as source:
    model.amplify(source.gain)
    detector = signwave.Detector(model, on_event=on_event)
    hop, errors = detector.buffer(), 0
    watchdog = WDT(timeout=8000)  # last: loading a model takes its time
    while source.read_into(hop):
        detector.feed(hop)
        watchdog.feed()  # only here: neither silence of the driver nor a loop elsewhere keeps the board alive
        if detector.callback_errors > errors:
            errors = detector.callback_errors
            print("callback failed", errors, "times, last:", detector.last_error)
    print("heard", heard)
