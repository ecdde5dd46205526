"""Listening on a board: minutes of sound give the host's events at the host's frames, and 10,000 frames allocate nothing."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from device.micropython import mpy_dir, native_module, package_files
from tests.device.test_micropython import BOARD, board_files, target_or_skip

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("hour", ROOT / "bench" / "hour.py")
hour = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hour)
MODEL = hour.MODEL


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return hour.synthetic(150)


SETTINGS = {
    "as the file says": {},
    "eager": {"hits": 1, "refractory_ms": 120, "discard_ms": 0, "ignore": ()},
    "gated": {"hits": 1, "refractory_ms": 200, "gate_level": -40},
    "choosy": {"thresholds": {"yes": 200, "no": 1 << 20}, "gate_level": -80, "ignore": ("stop",)},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_minutes_of_sound_give_the_hosts_events(name, sound):
    target_or_skip("pc")
    board = hour.on_board(MODEL, sound, timeout_s=200, **SETTINGS[name])
    events, frames, frames_run = host = hour.on_host(MODEL, sound, **SETTINGS[name])
    assert board == host
    assert len(events) > (2 if name == "choosy" else 10) and frames == 150 * 50
    assert (frames_run < frames) if "gate_level" in SETTINGS[name] else (frames_run == frames - (0 if name == "eager" else 13))


_MEMORY = """
import gc, signwave
from io import BytesIO
from struct import pack_into
from signwave.wav import WavSource, wav_head

class Endless:
    def __init__(self):
        self.head, self.count = BytesIO(wav_head(640 * FRAMES, 16000)), 0
        self.quiet, self.loud = bytes(640), bytes([i * 37 & 255 for i in range(640)])
    def read(self, n):
        return self.head.read(n)
    def readinto(self, buffer):
        self.count += 1
        pack_into("640s", buffer, 0, self.loud if self.count % 100 < 9 else self.quiet)
        return len(buffer)

model = signwave.Model("model.swm")
for settings in ({}, {"gate_level": -40, "capture_ms": 60}):
    detector = signwave.Detector(model, ignore=model.labels, **settings)
    source, hop = WavSource(SOUND), detector.buffer()
    for _ in range(200):
        source.read_into(hop)
        detector.feed(hop)
    gc.collect()
    before = gc.mem_free()
    while source.read_into(hop):
        detector.feed(hop)
    print(detector.frames, detector.frames_run, gc.mem_free() - before)
"""


@pytest.mark.parametrize("name", ["pc", "rv32"])
def test_ten_thousand_frames_leave_the_heap_as_it_is(name, sound):
    target = target_or_skip(name)
    files = package_files(native_module(target.arch)) | {"model.swm": board_files()["audio.swm"]}
    script = _MEMORY.replace("FRAMES", "10200")
    if name == "pc":  # a real file; the emulated board's allocate
        files["sound.wav"] = hour.wav(np.resize(sound, 10200 * 320))
        script = script.replace("SOUND", "'sound.wav'")
    lines = target.run(script.replace("SOUND", "Endless()"), files, timeout_s=250).check().splitlines()
    plain, gated = ([int(v) for v in line.split()] for line in lines)
    assert plain[0] == gated[0] == 10200 and plain[2] == gated[2] == 0
    assert plain[1] == 10187 and 1000 < gated[1] < 10000


def asyncio_files() -> dict[str, bytes]:
    """MicroPython's own asyncio, which the emulated firmwares do not have built in."""
    return {f"asyncio/{path.name}": path.read_bytes() for path in (mpy_dir() / "extmod" / "asyncio").glob("*.py")}


def test_the_detectors_check_passes_with_asyncio():
    target = target_or_skip("pc")
    files = {**board_files(), **package_files(native_module(target.arch)), **asyncio_files()}
    assert "checked" in target.run(BOARD / "check_detector.py", files).check()
