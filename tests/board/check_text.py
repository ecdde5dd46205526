"""Files that read text: every text gives the reference's integers, wrong files are refused, a text leaves the heap as it is."""

import gc
import sys

from signwave import Model
from signwave.text import Text, kernels_name, reason
from signwave.words import i32, u32


def all_of(path):
    with open(path, "rb") as f:
        return f.read()


def refusal(function, *arguments):
    """The message of the ValueError that a call raises."""
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    raise AssertionError("nothing was refused")


def check_kernels():
    expected = str(all_of("expected_backend"), "utf-8").replace("kernels_", "text_")
    assert kernels_name == expected, (kernels_name, reason)


def check_texts():
    text, data, at = Text("text.swm"), memoryview(all_of("texts.bin")), 4
    for i in range(u32(data, 0)):
        n = u32(data, at)
        accepted = text.run(data[at + 4 : at + 4 + n])
        at += 4 + n
        expected = [i32(data, at + 4 + 4 * k) for k in range(text.count)]
        assert text.hits == u32(data, at) and text.scores() == expected, (i, text.hits, text.scores(), expected)
        assert text.top == expected.index(max(expected))
        assert text.surety == 3 * (2 * max(expected[:2]) - expected[2]) - sum(expected)  # label 2 is _unknown_
        sure = text.hits and text.top != 2 and text.surety >= text.thresholds[text.top]
        assert accepted == (text.top if sure else None)
        at += 4 + 4 * text.count
    assert at == len(data)
    assert text.run("") is None and not text.hits


def check_contents():
    text = Text("text.swm")
    assert text.labels == ["lights_on", "größer", "_unknown_"] == [text.label(i) for i in range(text.count)]
    assert text.thresholds == [5, 5, 5] and text.metadata["name"] == "text"
    assert bytes(text.slots) == b"room\tkitchen\n" and Text("many.swm").slots is None
    assert text.self_test() and Text("many.swm").self_test() and Text(all_of("text.swm")).count == 3
    assert text.run("größer") == text.run("größer".encode())


def check_bad_files():
    for line in str(all_of("badtext/index"), "utf-8").split("\n")[:-1]:
        name, part = line.split("\t")
        message = refusal(Text, "badtext/" + name)
        assert part in message, (name, part, message)
    assert "TextCommand" in refusal(Model, "text.swm")


def check_memory():
    """On MicroPython with native kernels: 4 KiB beside the file of 151 labels, nothing in a run."""
    if sys.implementation.name != "micropython" or kernels_name == "portable":
        return
    data = bytearray(all_of("many.swm"))
    gc.collect()
    before = gc.mem_alloc()
    text = Text(data)
    gc.collect()
    beside = gc.mem_alloc() - before
    assert beside < 3072, beside  # and 1,024 bytes of stack
    text.run("turn on the lights")
    gc.collect()
    before = gc.mem_alloc()
    text.run("turn on the kitchen lights")
    assert gc.mem_alloc() == before


check_kernels()
check_texts()
check_contents()
check_bad_files()
check_memory()
print("checked texts:", kernels_name)
