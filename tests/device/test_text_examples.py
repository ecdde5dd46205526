"""The examples of typed commands run as they are in MicroPython on this computer; standard input is the serial line.

All of them act by the table in "text_actions.py".
"""

import json
import subprocess

import numpy as np
import pytest

from device.micropython import native_module, package_files
from export import format as swm
from kws.stream import events_of
from tests.device.test_detector import MODEL, asyncio_files, hour
from tests.device.test_examples import EXAMPLES
from tests.device.test_micropython import target_or_skip
from tests.textbnn.lights import lights

# Speaks for a broker: hands on messages one by one, then the network is gone.
UMQTT = '''
class MQTTClient:
    def __init__(self, client, server, keepalive=0):
        self.server, self.left = server, [b"Turn on the light in the lounge", b"tell me a story about whales", b"\\xff\\x00",
            b"set a timer for 5 minutes"]
    def set_callback(self, f): self.f = f
    def connect(self): print("connected to", self.server)
    def subscribe(self, topic): self.topic = topic
    def publish(self, topic, message): print(topic.decode(), message.decode())
    def wait_msg(self):
        if not self.left: raise OSError("gone")
        self.f(self.topic, self.left.pop(0))
'''


@pytest.fixture
def run(tmp_path):
    """Call with an example's name and what is typed; returns (standard output as lines, standard error)."""

    def call(name: str, typed: bytes = b"", files: dict[str, bytes] | None = None) -> tuple[list[str], str]:
        target = target_or_skip("pc")
        modules = [native_module(target.arch, name=kind) for kind in ("kernels", "text")]
        files = {**package_files(*modules), **asyncio_files(), "lights.swm": swm.encode(lights()), **(files or {}),
                 **{path.name: path.read_bytes() for path in EXAMPLES.glob("text_*.py")}}  # fmt: skip
        for path, data in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
        command = [str(target.program), "-X", "heapsize=4m", name, "sound.wav"]
        done = subprocess.run(command, cwd=tmp_path, input=typed, capture_output=True, timeout=120)
        return done.stdout.decode().splitlines(), done.stderr.decode()

    return call


def test_commands_over_a_serial_line(run):
    typed = ["turn on the kitchen lights", "lights off please\r", "", "tell me a story about whales", "x" * 10_000, "\0\0"]
    typed += ["set a timer for an hour and a half", "start a timer", "set the volume to 20 %", "Turn ON the light, größer"]
    lines, error = run("text_uart.py", "\n".join([*typed, "turn on the li"]).encode() + b"\xff\n\xfe\n")
    assert not error and lines[0] == "light in kitchen on" and lines[1] == "light in every room off", error
    assert lines[2:4] == ["not for me"] * 2 and lines[4] == "not for me"  # the long line is passed over
    assert lines[5:8] == ["timer rings in 5400 s", "timer: for how long?", "volume at 20 %"]
    assert lines[8] == "light in every room on" and len(lines) == 11


def test_a_bridge_over_mqtt(run):
    assert "no module named 'umqtt" in run("text_mqtt.py")[1]
    lines, error = run("text_mqtt.py", files={"umqtt/simple.py": UMQTT.encode()})
    assert lines[0] == "connected to 192.168.1.10" and "gone" in error
    told = [json.loads(line.removeprefix("home/command ")) for line in lines if line.startswith("home/command")]
    assert [(t["label"], t["slots"]) for t in told] == [
        ("light_on", [["room", "living room"]]), ("timer", [["duration", 300]])]  # fmt: skip


SPOKEN = {"on": "light in every room on", "off": "light in every room off"}
SPOKEN |= {"go": SPOKEN["on"], "stop": SPOKEN["off"]}


def wake_and_command(model: swm.Model) -> tuple[np.ndarray, str, str]:
    """Sound in which a word of the table follows another word within what a cascade waits."""
    for seed in range(20):
        sound = hour.synthetic(60, seed=seed)
        events = events_of(model, sound)
        for first, then in zip(events, events[1:], strict=False):
            if then.label in SPOKEN and first.label != then.label and 1.2 < then.at_s - first.at_s < 3.8:
                return sound, first.label, then.label
    raise AssertionError("the model hears no such pair of words")


def test_typed_and_spoken_commands_share_a_table(run):
    model = swm.read(MODEL)
    sound, wake, word = wake_and_command(model)

    def only(*words: str) -> bytes:
        thresholds = [0 if label in words else 1 << 30 for label in model.labels]
        return swm.encode(swm.Model(model.metadata, model.labels, thresholds, model.front_end, model.ops, model.golden))

    files = {"wake.swm": only(wake), "commands.swm": only(word, "left"), "sound.wav": hour.wav(sound)}
    lines, error = run("text_and_speech.py", b"turn on the kitchen lights\nbook a flight\n", files)
    assert not error, error
    assert [line for line in lines if line.startswith("read")] == ["read: light in kitchen on", "read: not for me"]
    assert f"heard {word}: {SPOKEN[word]}" in lines and lines[-1] == "heard all", lines
    assert {line for line in lines if line.startswith("heard left")} <= {"heard left: not for me"}
