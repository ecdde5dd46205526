"""The examples run as they are in MicroPython on this computer; a WAV file stands in for the microphone."""

from pathlib import Path

import numpy as np
import pytest

from device.micropython import native_module, package_files
from export import format as swm
from kws.stream import events_of, listen
from tests.device.test_detector import MODEL, asyncio_files, hour
from tests.device.test_micropython import target_or_skip

EXAMPLES = Path(__file__).parents[2] / "device" / "examples"


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return hour.synthetic(60, seed=3)


def run(name: str, sound: np.ndarray, **more: bytes) -> list[str]:
    target = target_or_skip("pc")
    files = {**package_files(native_module(target.arch)), **asyncio_files(), "sound.wav": hour.wav(sound),
             "example.py": (EXAMPLES / name).read_bytes(), "model.swm": MODEL.read_bytes(),
             **{f"{stem}.swm": data for stem, data in more.items()}}  # fmt: skip
    script = "import sys\nsys.argv[1:] = ['sound.wav']\nimport example\n"
    return target.run(script, files).check().splitlines()


def heard(events) -> list[str]:
    return [f"{event.label} {event.margin} at {event.frame // 50} s" for event in events]


def test_every_example_is_tested():
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert all(f'"{path.name}"' in text for path in EXAMPLES.glob("*.py"))


def test_listen_prints_what_the_host_hears(sound):
    host = listen(MODEL, sound, gate_level=30)
    *lines, last = run("listen.py", sound)
    assert lines == heard(host.events) and len(lines) > 2
    assert last == f"frames 3000 of them computed {host.frames_run} lost 0"


def test_listening_leaves_other_tasks_their_time(sound):
    *lines, last = run("listen_asyncio.py", sound)
    assert lines == heard(events_of(MODEL, sound))
    assert int(last.split()[1]) > 0


def test_a_wake_word_then_a_command(sound):
    model = swm.read(MODEL)
    words = [label for label in model.labels if not label.startswith("_")]
    never = [1 << 30] * len(model.labels)
    first = events_of(model, sound, gate_level=30)[0].label
    wake = [0 if label == first else n for label, n in zip(model.labels, never, strict=True)]
    commands = swm.Model(model.metadata, model.labels, [0] * len(wake), model.front_end, model.ops, model.golden)
    wake = swm.Model(model.metadata, model.labels, wake, model.front_end, model.ops, model.golden)
    *lines, last = run("wake_then_command.py", sound, wake=swm.encode(wake), commands=swm.encode(commands))
    assert lines[0] == "yes?" and lines[1::2] and last.startswith("frames 3000 of them computed ")
    assert set(lines[::2]) == {"yes?"}
    assert all(line == "no command" or line.removeprefix("command: ") in words for line in lines[1::2])


def test_a_failing_callback_ends_nothing(sound):
    lines = run("watchdog.py", sound)
    labels = [event.label for event in events_of(MODEL, sound)]
    assert lines[:2] == labels[:2] and lines[2] == "callback failed 1 times, last: the lamp did not answer"
    assert lines[3:-1] == labels[2:] and lines[-1] == f"heard {len(labels)}"
