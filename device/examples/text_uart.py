"""Takes commands over a serial line, one a line, does them and answers. On the board: lights.swm and text_actions.py beside it.

On a PC: echo "turn on the kitchen light" | micropython text_uart.py
"""

import asyncio
import sys

import signwave
from text_actions import Lines, act


def serial_line():
    """(stream that commands arrive on, function that answers)"""
    try:
        from machine import UART
    except ImportError:
        return sys.stdin.buffer, sys.stdout.write
    uart = UART(1, 115200, tx=17, rx=18, rxbuf=1024, timeout=0)  # C3, C5, H2, PSRAM: other pins
    return uart, uart.write


async def main():
    command = signwave.TextCommand("lights.swm")
    stream, answer = serial_line()
    lines = Lines(stream)
    while True:
        line = await lines.read()
        if line is None:
            return
        found = command.classify(line)
        answer(f"{act(found.label, found.slots)}\n")


asyncio.run(main())
