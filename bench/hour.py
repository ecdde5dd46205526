"""An hour of sound through MicroPython on this computer and through the host: the same events at the same frames, and how fast.

    python bench/hour.py [MODEL.swm] [--minutes 60] [--threshold N] [--gate LEVEL] [--json]

The sound is made here: words by eSpeak NG among noise, tones and silence. Its events show agreement, not accuracy.
"""

import argparse
import io
import json
import sys
import time
import wave
from pathlib import Path

import numpy as np

from device.micropython import MicroPythonError, Target, native_module, package_files
from export.format import FormatError, read
from kws.audio import RATE_HZ
from kws.espeak import SynthesisError
from kws.stream import listen
from kws.synthesize import synthesize

MODEL = Path(__file__).resolve().parents[1] / "device" / "models" / "commands12-m.swm"
VOICES = ("en-us", "en-us+f1", "en-us+m3")

_SCRIPT = """
import json, signwave
from signwave import mic
model = signwave.Model("model.swm")
detector = signwave.Detector(model, **SETTINGS)
if signwave.backend.name == "portable": raise RuntimeError(signwave.backend.reason)
detector.on_event = lambda event: print(json.dumps([event.label, event.margin, event.frame]))
detector.listen(mic.WavSource("sound.wav"))
print(json.dumps([detector.frames, detector.frames_run]))
"""


def synthetic(seconds: int, seed: int = 0, words: tuple[str, ...] = ("yes", "no", "stop", "left", "zebra")) -> np.ndarray:
    """Sound (sample,) int16 at 16 kHz: stretches of noise, tones, words and silence, each of its own loudness; silence last."""
    rng = np.random.default_rng(seed)
    spoken = [synthesize(word, voice) for word in words for voice in VOICES]
    out = np.zeros(seconds * RATE_HZ, np.int16)
    at, end = 0, len(out) - 4 * RATE_HZ
    while at < end:
        n = int(rng.integers(RATE_HZ // 5, 3 * RATE_HZ))
        kind, loud = rng.choice(4), np.exp(rng.uniform(np.log(3), np.log(12000)))
        if kind == 0:
            part = rng.uniform(-loud, loud, n)
        elif kind == 1:
            part = loud * np.sin(np.arange(n) * rng.uniform(0.02, 2)) + rng.uniform(-5, 5, n)
        elif kind == 2:
            word = spoken[rng.integers(len(spoken))]
            part = np.concatenate([word, np.zeros(RATE_HZ // 2)]) + rng.uniform(-9, 9, len(word) + RATE_HZ // 2)
        else:
            part = np.zeros(n)
        part = part[: end - at]
        out[at : at + len(part)] = np.clip(part, -32768, 32767)
        at += len(part)
    return out


def wav(samples: np.ndarray) -> bytes:
    """A WAV file of 16 kHz mono int16 samples."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def on_board(model: Path, samples: np.ndarray, timeout_s: float, **settings) -> tuple[list[tuple[str, int, int]], int, int]:
    """(label, margin, frame) of each event as MicroPython has it with native kernels; frames heard, and frames run."""
    target = Target("pc")
    files = {**package_files(native_module(target.arch)), "model.swm": model.read_bytes(), "sound.wav": wav(samples)}
    output = target.run(_SCRIPT.replace("SETTINGS", repr(settings)), files, timeout_s)
    *events, counts = [json.loads(line) for line in output.check().splitlines()]
    return [tuple(event) for event in events], *counts


def on_host(model: Path, samples: np.ndarray, **settings) -> tuple[list[tuple[str, int, int]], int, int]:
    """The same by the C core and kws.stream."""
    heard = listen(model, samples, **settings)
    return [(event.label, event.margin, event.frame) for event in heard.events], heard.frames, heard.frames_run


def compare(model: Path, seconds: int, **settings) -> dict:
    """Both on `seconds` of synthetic sound: whether they are equal, how many events, frames run, and times real time."""
    samples = synthetic(seconds)
    start = time.perf_counter()
    board = on_board(model, samples, timeout_s=60 + seconds, **settings)
    middle = time.perf_counter()
    host = on_host(model, samples, **settings)
    end = time.perf_counter()
    speeds = {"micropython_times_real_time": seconds / (middle - start), "host_times_real_time": seconds / (end - middle)}
    return {"equal": board == host, "seconds": seconds, "events": len(host[0]),
            "frames": host[1], "frames_run": host[2], **speeds}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL, help="a .swm file (the one that comes along)")
    parser.add_argument("--minutes", type=int, default=60, help="length of the sound (60)")
    parser.add_argument("--threshold", type=int, help="least margin for every label, instead of the file's")
    parser.add_argument("--gate", type=int, metavar="LEVEL", help="with the energy gate at this level too (-128 to 127)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    if args.minutes < 1:
        parser.error(f"--minutes is {args.minutes}; at least 1 is needed")
    try:
        return _run(args)
    except (OSError, FormatError, MicroPythonError, SynthesisError, ValueError) as error:
        print(f"hour: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    labels, different = len(read(args.model).labels), False
    settings = {"thresholds": None if args.threshold is None else [args.threshold] * labels}
    for level in [None] if args.gate is None else [None, args.gate]:
        result = compare(args.model, 60 * args.minutes, gate_level=level, **settings)
        different |= not result["equal"]
        if args.json:
            print(json.dumps({"gate_level": level, **result}))
            continue
        gate = "without gate" if level is None else f"gate at {level}: {100 * result['frames_run'] / result['frames']:.0f} % run"
        print(f"{args.minutes} min, {gate}: {result['events']} events, {'equal' if result['equal'] else 'DIFFERENT'}; "
              f"MicroPython {result['micropython_times_real_time']:.0f} times real time, "
              f"host {result['host_times_real_time']:.0f}")  # fmt: skip
    return int(different)


if __name__ == "__main__":
    sys.exit(main())
