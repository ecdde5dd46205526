"""Listens beside other tasks: here one that blinks an LED, where the board has one on pin 2, else counts."""

import asyncio

import signwave
from signwave import mic

blinks = 0


async def blink():
    global blinks
    try:
        from machine import Pin

        led = Pin(2, Pin.OUT)
    except Exception:  # not every machine has pins, or this one
        led = None
    while True:
        blinks += 1
        if led:
            led.value(blinks & 1)
        await asyncio.sleep(0.02)


async def main():
    model = signwave.Model("model.swm")
    task = asyncio.create_task(blink())
    with mic.open() as source:
        model.amplify(source.gain)
        async for event in signwave.Detector(model).events(source):
            print(event.label, event.margin, "at", event.frame * model.hop // model.rate_hz, "s")
    task.cancel()
    print("blinked", blinks, "times")


asyncio.run(main())
