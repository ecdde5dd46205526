"""TextCommand gives what the host gives: in CPython, in MicroPython's PC port and on both boards' architectures."""

import functools
import random

import pytest

from device.micropython import native_module, package_files
from export.format import encode
from tests.device.test_micropython import BOARD, PLACES, run_cpython, target_or_skip
from tests.textbnn.lights import FOREIGN, TEXTS, lights
from tests.textbnn.test_slots import FOUND, ROOMS
from textbnn.evaluate import classify
from textbnn.slots import encode as encode_lists
from textbnn.slots import find

MORE = ["Turn on the lights in the KÜCHE for 5min", "dim to 20 % at 7:30 pm", "größer, 日本 🔥", "twenty-one point five"]
MORE += ["xyzzy", "", "\0"]


PIECES = "7 21.5 -3 1,000 7:30 20% 1h30m half quarter an a hour minutes and past to at seven thirty pm hundred million point"
PIECES += " minus of kitchen living room Küche KÜCHE リビング ночь tv 2 ٣٠ ３ % - ' . , : \u2019 o'clock noon é 日 🔥 x"


def random_texts(count: int) -> list[str]:
    """Texts of what the grammar knows and of what it does not, and of any code points at all."""
    rng = random.Random(7)
    texts = [rng.choice(["", " "]).join(rng.choices(PIECES.split(), k=rng.randrange(1, 12))) for _ in range(count)]
    ends = [127, 0x7FF, 0xD7FF, 0x1FFFF]
    return texts + ["".join(chr(rng.choice(ends) - rng.randrange(127)) for _ in range(9)) for _ in range(20)]


@functools.cache
def files() -> dict[str, bytes]:
    """The model, and what the host says to some texts."""
    model, commands = lights(), []
    for text in [text for group in TEXTS.values() for text in group] + FOREIGN + MORE:
        found = classify(model, text)
        commands.append((text, found.label, found.best, found.score, found.margin, found.slots))
    lists = encode_lists(ROOMS)
    found = [(text, find(lists, text)) for text in [*FOUND, *random_texts(100)]]
    values = {"COMMANDS": commands, "FOUND": found, "LISTS": lists}
    module = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    return {"lights.swm": encode(model), "text_expected.py": module.encode()}


@pytest.mark.parametrize("place", PLACES)
def test_the_boards_answers_are_the_hosts(place, tmp_path):
    name, native = PLACES[place]
    if name is None:
        assert "checked portable" in run_cpython("textcommand.py", {**files(), **package_files()}, tmp_path)
        return
    target = target_or_skip(name)
    module = native_module(target.arch, name="text") if native else None
    output = target.run(BOARD / "textcommand.py", {**files(), **package_files(module)}, timeout_s=200).check()
    assert output.strip() == f"checked {module.stem if module else 'portable'}"


COST = """
import gc, machine, signwave
signwave.TextCommand, signwave.text
gc.collect()
before, file = gc.mem_alloc(), open("lights.swm", "rb").data
command = signwave.TextCommand(file)
gc.collect()
print(gc.mem_alloc() - before)
for line in LINES:
    command.classify(line)
    gc.collect()
    begun = machine.mem32[0x0200bff8]
    command.classify(line)
    print((machine.mem32[0x0200bff8] - begun) * 100)
"""


def test_a_command_of_40_characters_is_quick_and_takes_little_memory():
    """Without a large model's part, which test_counts.py knows: 2.4 million instructions and 4 KiB are what all may take."""
    target = target_or_skip("rv32")
    lines = [b"turn on the kitchen lights for 5 minutes", b"set a timer for an hour and a half please",
             b"set the volume to twenty five percent ok", b"please dim the lights in the living room"]  # fmt: skip
    modules = [native_module(target.arch, name=kind) for kind in ("kernels", "text")]
    board = {**package_files(*modules), "lights.swm": encode(lights())}
    ram, *counts = map(int, target.run(COST.replace("LINES", repr(lines)), board, count=True).check().split())
    assert ram < 3600 and len(counts) == 4 and max(counts) < 1_500_000, (ram, counts)
