"""Where samples come from: an I2S microphone (Mic), a WAV file (WavSource), a UART or another stream (StreamSource).

    with signwave.mic.open() as source:        # the microphone; where there is none, the WAV file on the command line
        while source.read_into(hop):           # fills a bytearray with 16-bit mono samples; False at the end
            ...
    await source.read_async(hop)               # the same, with other tasks let in

rate_hz: samples a second; overruns: hops lost because they were not fetched in time;
gain: doublings that bring its speech to the level of the recordings models are trained on, for Model.amplify.
"""

import sys

RATE_HZ = 16000


def __getattr__(name):
    """WavSource, without its RAM where a microphone is heard."""
    if name != "WavSource":
        raise AttributeError(name)
    from .wav import WavSource

    return WavSource


def open(path=None, rate_hz=RATE_HZ, **wiring):
    """A WavSource if `path` is given; else the microphone (see Mic for its wiring); else the WAV file in sys.argv[1].

    Raises OSError where there is none of these, ValueError where the file does not fit.
    """
    if path is None:
        try:
            return Mic(rate_hz=rate_hz, **wiring)
        except ImportError:
            if len(sys.argv) < 2:
                raise OSError("no machine.I2S here: name a WAV file to hear instead of a microphone")  # noqa: B904
            path = sys.argv[1]
    from .wav import WavSource

    return WavSource(path, rate_hz)


class Source:
    """What sources have in common."""

    overruns = gain = 0

    def __init__(self, rate_hz):
        self.rate_hz = rate_hz

    def read_into(self, buffer):
        """Fill a bytearray with the next samples. False where there are not so many left."""
        raise NotImplementedError

    async def read_async(self, buffer):
        """As read_into, for asyncio."""
        import asyncio

        await asyncio.sleep(0)
        return self.read_into(buffer)

    def close(self):
        """Free what the source uses."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class StreamSource(Source):
    """16-bit mono samples from an open stream, a UART or a socket: anything with readinto.

    A stream that gives None has nothing yet and is asked again; one that gives 0 has ended. For asyncio it must not block
    and be such as MicroPython can poll. Samples that come in several pieces allocate a little, whole hops nothing.
    """

    _ends = True  # where nothing is read

    def __init__(self, stream, rate_hz=RATE_HZ):
        super().__init__(rate_hz)
        self._stream, self._reader = stream, None

    def read_into(self, buffer):
        at = 0
        while at < len(buffer):
            n = self._stream.readinto(memoryview(buffer)[at:] if at else buffer)
            if n == 0:
                return False
            if n is None:
                _sleep()
            else:
                at += n
        return True

    async def read_async(self, buffer):
        return await self._gather(buffer) > 0

    async def _gather(self, buffer):
        """The number of pieces in which the buffer was filled, or 0 where the stream ended."""
        import asyncio

        if self._reader is None:
            self._reader = asyncio.StreamReader(self._stream)
        at = pieces = 0
        while at < len(buffer):
            n = await self._reader.readinto(memoryview(buffer)[at:] if at else buffer)
            if n == 0 and self._ends:
                return 0
            if n:
                pieces, at = pieces + 1, at + n
        return pieces

    def close(self):
        if hasattr(self._stream, "close"):
            self._stream.close()


def _sleep():
    import time

    time.sleep(0.001)


def _pins():
    """GPIO numbers (sck, ws, sd) that are free on most boards with this chip: the first ESP32, or a later one."""
    chip = getattr(sys.implementation, "_machine", "").split("ESP32")[-1].replace("-", "")
    return (4, 5, 6) if chip[:1] in ("S", "C", "H") or chip[:2] == "P4" else (32, 25, 33)


class Mic(StreamSource):
    """An I2S microphone, wired as an INMP441 by default: 24 bits in slots of 32, L/R to ground (the left slot).

    sck, ws, sd: GPIO numbers of bit clock, word select and data; number: which I2S peripheral;
    buffer_ms: sound that the driver keeps until it is fetched, 8 bytes of memory a sample.
    The upper 16 bits of each sample are kept. A voice at half a metre (66 dB SPL) comes from an INMP441 at -54 dBFS;
    recordings for training have it at about -20: hence a gain of five doublings, 30 dB.
    Raises ImportError where the firmware has no machine.I2S. Microphones that give PDM are not for this.
    """

    gain, _ends = 5, False

    def __init__(self, sck=None, ws=None, sd=None, number=0, rate_hz=RATE_HZ, buffer_ms=100):
        from time import ticks_add, ticks_diff, ticks_ms

        from machine import I2S, Pin

        pins = [Pin(default if pin is None else pin) for pin, default in zip((sck, ws, sd), _pins())]  # noqa: B905
        pieces = max(2, -(-buffer_ms * rate_hz // 256000))  # the driver's: 256 samples, 8 bytes each
        i2s = I2S(number, sck=pins[0], ws=pins[1], sd=pins[2], mode=I2S.RX, bits=16, format=I2S.MONO, rate=rate_hz,
                  ibuf=2048 * pieces)  # fmt: skip
        super().__init__(i2s, rate_hz)
        self._ticks, self._diff, self._add = ticks_ms, ticks_diff, ticks_add
        self._room_ms, self._since, self._read, self._lost_ms = pieces * 256000 // rate_hz, None, 0, 0

    def read_into(self, buffer):
        begin = self._ticks()
        n = self._stream.readinto(buffer)
        self._watch(len(buffer), self._diff(self._ticks(), begin) > 1)
        return n == len(buffer)

    async def read_async(self, buffer):
        pieces = await self._gather(buffer)
        self._watch(len(buffer), pieces > 1)
        return pieces > 0

    def _watch(self, size, waited):
        """Count what the driver had to drop: it says nothing, but sound comes by the clock.

        What it holds is the time since it was last empty, which it was where a read had to wait, less what was read since.
        """
        now = self._ticks()
        if waited or self._since is None:
            self._since, self._read = now, 0
            return
        self._read += size // 2
        if self._read >= self.rate_hz:
            self._read -= self.rate_hz
            self._since = self._add(self._since, 1000)
        late_ms = self._diff(now, self._since) - self._read * 1000 // self.rate_hz - self._room_ms
        if late_ms > 0:
            self._since = self._add(self._since, late_ms)
            self._lost_ms += late_ms
            self.overruns = 1 + self._lost_ms * self.rate_hz // (500 * size)

    def close(self):
        self._stream.deinit()
