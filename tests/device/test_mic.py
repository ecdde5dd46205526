"""Sources under MicroPython's asyncio: streams that come in pieces, and an I2S peripheral that has nothing yet."""

from device.micropython import native_module, package_files
from tests.device.test_detector import asyncio_files
from tests.device.test_micropython import board_files, target_or_skip

_STREAM = """
import asyncio, io
from signwave import mic

class Stream(io.IOBase):
    def __init__(self, pieces):
        self.pieces, self.next = pieces, 0
    def ioctl(self, request, arg):
        return arg & 1  # always readable
    def readinto(self, buffer):
        n = self.pieces.pop(0) if self.pieces else 0
        if n is None: return None
        n = min(n, len(buffer))
        for i in range(n):
            buffer[i] = self.next & 255
            self.next += 1
        return n
"""

_PIECES = (
    _STREAM
    + """
async def main():
    global ticks
    source, buffer, ticks = mic.StreamSource(Stream([10, None, 3, 7, 20, 5])), bytearray(20), 0
    async def tick():
        global ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)
    task = asyncio.create_task(tick())
    while await source.read_async(buffer):
        print(list(buffer))
    print(ticks > 4)
asyncio.run(main())
"""
)

_I2S = (
    _STREAM
    + """
import sys
class I2S(Stream):
    RX = MONO = 1
    def __init__(self, number, **settings):
        super().__init__([0, 400, 0, 0, 240, 640, 640])
class Machine: pass
Machine.I2S, Machine.Pin = I2S, int
sys.modules["machine"] = Machine
import signwave
async def main():
    source = mic.open()
    detector = signwave.Detector(signwave.Model("audio.swm"), discard_ms=0)
    events = detector.events(source)
    for _ in range(3):
        await source.read_async(events._hop)
        detector.feed(events._hop)
    print(detector.frames, source.overruns, source._stream.next)
asyncio.run(main())
"""
)


def run(script: str) -> list[str]:
    target = target_or_skip("pc")
    files = {"audio.swm": board_files()["audio.swm"], **package_files(native_module(target.arch)), **asyncio_files()}
    return target.run(script, files).check().splitlines()


def test_a_stream_that_comes_in_pieces_fills_whole_buffers_beside_other_tasks():
    assert run(_PIECES) == [str(list(range(20))), str(list(range(20, 40))), "True"]


def test_an_i2s_peripheral_that_has_nothing_yet_has_not_ended():
    assert run(_I2S) == ["3 0 1920"]
