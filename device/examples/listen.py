"""Prints what it hears. On a board: microphone wired as in signwave/mic.py, model.swm beside this file.

Elsewhere (MicroPython on a PC): micropython listen.py recording.wav
"""

import signwave
from signwave import mic

# The network rests while no band is louder than this (1/8 octave of power, -128 to 127). The loudest moment of a word
# is about 70 to 127 where the gain is right, a quiet room 5 to 20: choose what is well below the one and above the other.
GATE_LEVEL = 30

model = signwave.Model("model.swm")
with mic.open() as source:
    model.amplify(source.gain)
    detector = signwave.Detector(model, gate_level=GATE_LEVEL)
    hop = detector.buffer()
    while source.read_into(hop):
        event = detector.feed(hop)
        if event:
            print(event.label, event.margin, "at", event.frame * model.hop // model.rate_hz, "s")
    print("frames", detector.frames, "of them computed", detector.frames_run, "lost", source.overruns)
