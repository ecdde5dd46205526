"""Waits for a wake word, then for one command within four seconds. Two models that were exported with the same front end.

Keep the wake word's model small: it runs all day. Here it rests too while the room is quiet.
"""

import signwave
from signwave import mic


def on_event(event):
    if event.kind == "wake":
        print("yes?")
    elif event.kind == "command":
        print("command:", event.label)
    else:
        print("no command")


wake, commands = signwave.Model("wake.swm"), signwave.Model("commands.swm")
with mic.open() as source:
    wake.amplify(source.gain)
    commands.amplify(source.gain)
    cascade = signwave.Cascade(wake, commands, window_s=4, wake={"gate_level": 30}, on_event=on_event)
    cascade.listen(source)
    print("frames", cascade.frames, "of them computed", cascade.frames_run)
