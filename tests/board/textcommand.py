"""Typed commands: decisions, rejections and slots are the host's; a text leaves nothing behind but its result.

Expectations come from the host in text_expected.py, made for lights.swm.
"""

import gc
import sys

import signwave


def raises(error, call, *arguments):
    try:
        call(*arguments)
    except error as fault:
        return str(fault)
    raise AssertionError(f"{arguments} passed")


def check_decisions():
    command = signwave.TextCommand("lights.swm")
    assert command.reader.self_test()
    for text, label, best, score, margin, slots in COMMANDS:
        for form in (text, text.encode()):
            found = command.classify(form)
            assert found == (label, score, margin, slots), (text, found)
            assert command.best() == best
    assert "_unknown_" not in command.labels and "light_on" in command.labels


def check_slots():
    from signwave.slots import Slots

    slots = Slots(LISTS)
    for text, found in FOUND:
        assert slots.find(text.encode()) == found, (text, slots.find(text.encode()))


def check_long_and_odd_input():
    command = signwave.TextCommand("lights.swm")
    gc.collect()
    assert command.classify("turn on the light " + "x" * 10000)[0] == "light_on"
    assert command.classify("turn on the light " * 600)[0] == "light_on"
    for odd in (b"", b"\0" * 300, b"\xff\xfe\x80", bytearray(b"?"), memoryview(b"\xf0\x9f")):
        assert command.classify(odd)[0] is None, odd
    raises(TypeError, command.classify, None)
    assert "reads text" in raises(ValueError, signwave.Model, "lights.swm")


def check_hostile_lists():
    from signwave.slots import Slots

    for section in (b"room", b"room\n", b"\ta\n", b"room\ta=\n", b"room\t\xff\n", b"a\tb\n" * 5000):
        assert "slots: " in raises(ValueError, Slots, section)


def check_nothing_is_allocated_but_the_result():
    command = signwave.TextCommand("lights.swm")
    lines = (b"turn on the light", "set a timer for half past seven and 20 percent")
    for line in lines:
        command.classify(line)
    word = 4 if sys.maxsize < 1 << 32 else 8
    for line in lines:
        gc.collect()
        gc.disable()
        before = gc.mem_alloc()
        found = command.classify(line)
        used = gc.mem_alloc() - before
        gc.enable()
        # In blocks of four words: the list, its room for four, the Command; a tuple for each slot; the label, cut out of the
        # file (a slice, a view, an object, at most 16 bytes of text); a view of the line.
        room = 4 * word * (1 + 1 + 2 + len(found.slots) + 5 + 1)
        assert used <= room, (line, used, room)


check_long_and_odd_input()  # first: it takes memory in large pieces
gc.collect()
from text_expected import COMMANDS, FOUND, LISTS  # noqa: E402

check_decisions()
check_slots()
check_hostile_lists()
if hasattr(gc, "mem_alloc") and sys.implementation.name == "micropython" and "native" in signwave.text.reason:
    check_nothing_is_allocated_but_the_result()
print("checked", signwave.text.kernels_name)
