"""One table of actions for commands that are typed and for those that are spoken after a wake word.

wake.swm and commands.swm hear (see wake_then_command.py), lights.swm reads lines from the serial line; text_actions.py says
what all of them do. Three models take their memory: use small ones, or a board with PSRAM.

On a PC (MicroPython): echo "turn on the kitchen light" | micropython text_and_speech.py recording.wav
"""

import asyncio
import sys

import signwave
from signwave import mic
from text_actions import SPOKEN, Lines, act


async def listen(wake, commands):
    with mic.open() as source:
        wake.amplify(source.gain)
        commands.amplify(source.gain)
        cascade = signwave.Cascade(wake, commands, window_s=4, wake={"gate_level": 30})
        async for event in cascade.events(source):
            if event.kind == "command":
                print("heard", event.label + ":", act(SPOKEN.get(event.label)))
    print("heard all")


async def read(command):
    try:
        from machine import UART

        stream = UART(1, 115200, tx=17, rx=18, rxbuf=1024, timeout=0)  # C3, C5, H2, PSRAM: other pins
    except ImportError:
        stream = sys.stdin.buffer
    lines = Lines(stream)
    while True:
        line = await lines.read()
        if line is None:
            return
        found = command.classify(line)
        print("read:", act(found.label, found.slots))


async def main():
    wake, commands = signwave.Model("wake.swm"), signwave.Model("commands.swm")
    command = signwave.TextCommand("lights.swm")
    await asyncio.gather(listen(wake, commands), read(command))


asyncio.run(main())
