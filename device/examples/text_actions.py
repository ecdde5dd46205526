"""What commands do: one table for those that are typed, those that arrive and those that are spoken.

No program of its own: text_uart.py, text_mqtt.py and text_and_speech.py use it. Put your labels and your pins here.
"""

import asyncio

MAX_LINE = 255  # bytes; longer lines are dropped whole


def light(slots, on):
    return f"light in {slots.get('room', 'every room')} {'on' if on else 'off'}"


def timer(slots):
    seconds = slots.get("duration")
    return f"timer rings in {seconds} s" if seconds else "timer: for how long?"


def volume(slots):
    return f"volume at {slots['percent']} %" if "percent" in slots else "volume: how many percent?"


ACTIONS = {"light_on": lambda slots: light(slots, True), "light_off": lambda slots: light(slots, False), "timer": timer,
           "volume": volume}  # fmt: skip
# Words of the spoken model, and what they ask for.
SPOKEN = {"on": "light_on", "go": "light_on", "off": "light_off", "stop": "light_off"}


def act(label, slots=()):
    """Do what a label asks for, with the slots as TextCommand gives them; the answer."""
    if label not in ACTIONS:
        return "not for me"  # None too: what was rejected
    return ACTIONS[label](dict(slots))


class Lines:
    """Lines that come over a UART or another stream."""

    def __init__(self, stream):
        self.reader, self.buffer = asyncio.StreamReader(stream), bytearray(MAX_LINE)

    async def read(self):
        """The next line without its end, or None where the stream has ended."""
        n = 0
        while True:
            byte = await self.reader.read(1)
            if byte == b"":
                return None
            if byte == b"\n" and n <= MAX_LINE:
                return bytes(self.buffer[:n]).strip()
            if byte == b"\n":
                n = 0
            elif byte:  # a UART may have nothing after all
                if n < MAX_LINE:
                    self.buffer[n] = byte[0]
                n += 1
