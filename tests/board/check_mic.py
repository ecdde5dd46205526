"""Sources of samples: WAV files good and bad, streams that come in pieces, and an I2S peripheral with a clock, made up here."""

import struct
import sys
from io import BytesIO

from signwave import backend, mic
from signwave.wav import WavSource, wav_head


def refusal(function, *arguments):
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    raise AssertionError("nothing was refused")


def riff(*chunks):
    body = b"".join([name + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for name, data in chunks])
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def form(code=1, channels=1, rate=16000, bits=16):
    return b"fmt ", struct.pack("<HHIIHH", code, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)


def check_wav_files():
    data = bytes([i & 255 for i in range(1000)])
    list_chunk, odd = (b"LIST", bytes(600)), (b"note", b"odd")
    wide = (b"fmt ", form(0xFFFE)[1] + bytes(24))
    for chunks in ([form(), (b"data", data)], [list_chunk, odd, wide, odd, (b"data", data), list_chunk]):
        source, hop = WavSource(BytesIO(riff(*chunks))), bytearray(400)
        assert source.rate_hz == 16000 and source.overruns == source.gain == 0
        assert source.read_into(hop) and hop == data[:400]
        assert source.read_into(hop) and hop == data[400:800]
        assert not source.read_into(hop) and not source.read_into(hop)
        source.close()
    endless = bytearray(riff(form(), (b"data", data)))
    endless[40:44] = b"\xff\xff\xff\xff"  # as a recorder leaves it that was switched off
    source, count = WavSource(BytesIO(bytes(endless))), 0
    while source.read_into(hop):
        count += 1
    assert count == 2
    written = wav_head(1000, 16000) + data
    assert written == riff(form(), (b"data", data))


def check_bad_wav_files():
    data = (b"data", bytes(10))
    for content, part in (
        (b"", "does not begin"),
        (b"fLaC" + bytes(100), "does not begin"),
        (riff(form())[:30], "kind 0"),
        (riff(form()), "ends before"),
        (riff(data), "its format"),
        (riff(form(code=3, bits=32), data), "32-bit samples of kind 3"),
        (riff(form(bits=8), data), "8-bit"),
        (riff(form(channels=2), data), "2 channels"),
        (riff(form(rate=44100), data), "44100"),
        (riff((b"LIST", bytes(10)))[:16] + b"\xff\xff\xff\xff", "ends before"),
    ):
        message = refusal(WavSource, BytesIO(content))
        assert part in message, (part, message)
    assert "8000 are needed" in refusal(WavSource, BytesIO(riff(form(), data)), 8000)


class Pieces:
    """A stream that gives what each number says, None included, and then nothing any more."""

    def __init__(self, *pieces):
        self.pieces, self.next = list(pieces), 0

    def readinto(self, buffer):
        n = self.pieces.pop(0) if self.pieces else 0
        if n is None:
            return None
        n = min(n, len(buffer))
        for i in range(n):
            buffer[i] = self.next & 255
            self.next += 1
        return n


def check_streams():
    slept = []
    mic._sleep = lambda: slept.append(1)
    source, buffer = mic.StreamSource(Pieces(10, None, 3, None, 7, 20, 5)), bytearray(20)
    assert source.read_into(buffer) and bytes(buffer) == bytes(range(20)) and len(slept) == 2
    assert source.read_into(buffer) and bytes(buffer) == bytes(range(20, 40))
    assert not source.read_into(buffer)
    source.close()


class clock:  # noqa: N801
    """The module `time` as far as it is needed; milliseconds wrap around as on a board."""

    now = (1 << 30) - 500

    @staticmethod
    def ticks_ms():
        return clock.now & ((1 << 30) - 1)

    @staticmethod
    def ticks_add(a, b):
        return (a + b) & ((1 << 30) - 1)

    @staticmethod
    def ticks_diff(a, b):
        return ((a - b + (1 << 29)) & ((1 << 30) - 1)) - (1 << 29)


class Pin:
    def __init__(self, number):
        self.number = number


class I2S:
    """A microphone: samples come by the clock, whole pieces of 256 are kept, and the oldest dropped where there is no room."""

    RX, MONO = 1, 2

    def __init__(self, number, **settings):
        self.settings, self.closed = settings, False
        self.come = self.taken = self.dropped = 0  # samples; self.come of them since `begun`
        self.begun, self.room = clock.now, settings["ibuf"] // 8

    def readinto(self, buffer):
        count = len(buffer) // 2
        while True:
            self.come = (clock.now - self.begun) * 16 // 256 * 256
            lost = self.come - self.taken - self.room
            if lost > 0:
                self.taken += lost
                self.dropped += lost
            if self.come - self.taken >= count:
                break
            clock.now += 1
        self.taken += count
        return len(buffer)

    def deinit(self):
        self.closed = True


class Machine:
    pass


def with_machine(check):
    """Run a check in a world with a clock and an I2S peripheral."""
    kept = [(name, sys.modules.get(name)) for name in ("time", "machine")]
    Machine.I2S, Machine.Pin = I2S, Pin
    sys.modules["time"], sys.modules["machine"] = clock, Machine
    try:
        check()
    finally:
        for name, module in kept:
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def check_wiring():
    source = mic.open(sck=7, sd=9)
    settings = source._stream.settings
    default = mic._pins()
    assert (settings["sck"].number, settings["ws"].number, settings["sd"].number) == (7, default[1], 9)
    assert (settings["mode"], settings["bits"], settings["format"], settings["rate"]) == (I2S.RX, 16, I2S.MONO, 16000)
    assert settings["ibuf"] == 7 * 2048 and source.gain == 5  # 100 ms are 6.25 pieces of 256 samples
    source.close()
    assert source._stream.closed


def check_default_pins():
    class Implementation:
        _machine = ""

    class System:
        implementation = Implementation
        argv = ()

    real, mic.sys = mic.sys, System
    for machine, sck in (
        ("Generic ESP32 module with ESP32", 32),
        ("Board with ESP32-PICO-D4", 32),
        ("ESP32 module with ESP32-D2WD", 32),
        ("Generic ESP32S3 module with ESP32S3", 4),
        ("Board with ESP32-S3-PICO-1-N8R2", 4),
        ("ESP32C3 module with ESP32C3", 4),
        ("ESP32-C3FH4", 4),
        ("ESP32P4 module with ESP32P4", 4),
    ):
        Implementation._machine = machine
        assert mic._pins()[0] == sck, machine
    mic.sys = real


def check_overruns():
    """In time: none are counted. Late: as many as were lost, but for what a piece and the clock's steps leave open."""
    hop = bytearray(640)
    for busy_ms, pause_ms in ((0, 0), (17, 0), (19, 60), (1, 100), (0, 500), (15, 2000), (30, 0)):
        source = mic.open()
        for i in range(500):
            assert source.read_into(hop)
            clock.now += busy_ms + (pause_ms if i % 100 == 50 else 0)
        lost = source._stream.dropped / 320
        if not lost:
            assert source.overruns == 0, (busy_ms, pause_ms, source.overruns)
        else:
            assert 0.8 * lost - 20 <= source.overruns <= 1.1 * lost + 20, (busy_ms, pause_ms, source.overruns, lost)
            assert source.overruns
        assert bool(lost) == (busy_ms > 20 or pause_ms >= 500), (busy_ms, pause_ms, lost)


def check_open_without_microphone():
    argv, sys.argv[:] = list(sys.argv), ["name"]
    try:
        mic.open()
        raise AssertionError("there is no microphone")
    except OSError as error:
        assert "name a WAV file" in str(error)
    finally:
        sys.argv[:] = argv


check_wav_files()
check_bad_wav_files()
check_streams()
check_default_pins()
with_machine(check_wiring)
with_machine(check_overruns)
check_open_without_microphone()
print("checked sources:", backend.name)
