"""Listens, and takes a new model over a serial line meanwhile: update_send.py on a PC sends it.

Name it main.py. The board restarts to try what has arrived; the old model comes back if the new one fails its self-test, or
if three starts on end do not get as far as to confirm it: with a watchdog (watchdog.py) this needs nobody to look after it.
Who can reach the line can change the model.

On a PC (MicroPython): micropython update_over_uart.py recording.wav, the model comes by standard input, and instead of a
restart the recording is heard again.
"""

import asyncio
import sys

import signwave
from signwave import mic
from signwave.update import Store

GOOD_AFTER_S = 60  # of listening: long enough for what a bad model breaks in your program to show


def serial_line():
    """(stream that models arrive on, function that answers)"""
    try:
        from machine import UART
    except ImportError:
        return sys.stdin.buffer, sys.stdout.write
    uart = UART(1, 115200, tx=17, rx=18, rxbuf=2048, timeout=0)  # C3, C5, H2, PSRAM: other pins
    return uart, uart.write


async def receive(store, line, answer):
    """Take models until one has arrived whole. A "+" asks for the next piece: flash is slow, and nothing is lost so."""
    reader = asyncio.StreamReader(line)
    while True:
        try:
            await store.receive(reader, lambda missing: answer("+" if missing else "."))
            answer("arrived\n")
            return
        except (ValueError, OSError) as error:
            await silence(reader)
            answer(f"refused: {error}\n")


async def silence(reader):
    """Let the rest of what was refused pass."""
    try:
        while True:
            if not await asyncio.wait_for(reader.read(1), 1):
                await asyncio.sleep(1)
    except asyncio.TimeoutError:  # noqa: UP041  (MicroPython's own)
        pass


async def run(store, line, answer):
    """One run, from a start until another model is to be tried; False where there is nothing more to hear."""
    model = store.open()
    print("runs", model.metadata["name"], "on trial" if store.trial else "", store.refused or "")
    task = asyncio.create_task(receive(store, line, answer))
    with mic.open() as source:
        model.amplify(source.gain)
        detector = signwave.Detector(model)
        hop, good_after = detector.buffer(), GOOD_AFTER_S * model.rate_hz // model.hop
        while not task.done() and await source.read_async(hop):
            event = detector.feed(hop)
            if event:
                print(event.label, event.margin)
            if detector.frames == good_after:
                store.confirm()
    print("heard", detector.frames, "frames")
    arrived = task.done()
    task.cancel()
    return arrived


store = Store("model.swm")
line, answer = serial_line()
while asyncio.run(run(store, line, answer)):
    try:
        from machine import reset
    except ImportError:  # a PC: what the run before had is garbage by now, and the new model finds room
        continue
    reset()
