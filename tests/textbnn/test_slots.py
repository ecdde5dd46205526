"""Numbers, times and items of lists are found in texts, by the file that boards run."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.board.signwave.lexicon import MAX_BYTES, Lexicon, fold
from device.board.signwave.slots import ROOM, Slots
from export.graph import FormatError
from textbnn.data import DataError
from textbnn.slots import decode, describe, encode, find, folded

ROOMS = {
    "room": {"kitchen": "kitchen", "Living Room": "Living Room", "lounge": "Living Room", "living": "living"},
    "thing": {"kitchen lamp": "lamp", "TV 2": "TV 2", "Küche": "Küche", "リビング": "living", "ночь": "night",
              "3d printer": "printer"},  # fmt: skip
}

FOUND = {
    "turn on the kitchen lights": [("room", "kitchen")],
    "KITCHEN, please!": [("room", "kitchen")],
    "the kitchens": [],
    "kitchenette": [],
    "living-room and living": [("room", "Living Room"), ("room", "living")],
    "the living   room.": [("room", "Living Room")],
    "living rooms": [("room", "living")],
    "in the lounge": [("room", "Living Room")],
    "kitchen lamp": [("thing", "lamp")],
    "tv 2 or tv 3": [("thing", "TV 2"), ("number", 3)],
    "start the 3D printer": [("thing", "printer")],
    "KÜCHE küche Küche": [("thing", "Küche")] * 3,
    "ku\u0308che": [],
    "НОЧЬ": [("thing", "night")],
    "リビングの電気を２０": [("thing", "living"), ("number", 20)],
    "20%": [("percent", 20)],
    "by 12.5 percent": [("percent", 12.5)],
    "one hundred per cent": [("percent", 100)],
    "set it to 21.5": [("number", 21.5)],
    "set it to 21,5 degrees": [("number", 21.5)],
    "1,000,000": [("number", 1000000)],
    "10,20": [("number", 10.2)],
    "-5 degrees, minus ten": [("number", -5), ("number", -10)],
    "-0.5": [("number", -0.5)],
    "5-10": [("number", 5), ("number", 10)],
    "mp3 file on usb2": [],
    "version 1.2.3": [],
    "12345678901": [],
    "999999999": [("number", 999999999)],
    "٣٠ ۴۵ ३० ３０": [("number", 30), ("number", 45), ("number", 30), ("number", 30)],
    "twenty-one": [("number", 21)],
    "twenty one point five": [("number", 21.5)],
    "one two three": [("number", 1), ("number", 2), ("number", 3)],
    "a hundred and five": [("number", 105)],
    "a hundred and": [("number", 100)],
    "a and an": [],
    "an hour": [("duration", 3600)],
    "half an hour": [("duration", 1800)],
    "a quarter of an hour": [("duration", 900)],
    "an hour and a half": [("duration", 5400)],
    "two and a half hours": [("duration", 9000)],
    "5min": [("duration", 300)],
    "1h30m": [("duration", 5400)],
    "1 hour and 30 minutes and 5": [("duration", 5400), ("number", 5)],
    "1.5 hours": [("duration", 5400)],
    "ninety seconds": [("duration", 90)],
    "30 minutes 1 hour": [("duration", 1800), ("duration", 3600)],
    "a second lamp": [("duration", 1)],
    "the second lamp": [],
    "vitamin d, 5 d": [("duration", 432000)],
    "7:30": [("time", 450)],
    "7:30 pm": [("time", 1170)],
    "12:15am": [("time", 15)],
    "12 pm": [("time", 720)],
    "19:30 pm": [("time", 1170)],
    "24:00 7:60 7:5": [],
    "seven a.m.": [("time", 420)],
    "7 o'clock": [("time", 420)],
    "seven thirty pm": [("time", 1170)],
    "at seven thirty": [("time", 450)],
    "at seven": [("number", 7)],
    "half past seven": [("time", 450)],
    "a quarter to eight pm": [("time", 1185)],
    "ten past six": [("time", 370)],
    "ten minutes to six": [("time", 350)],
    "75 past six": [("number", 75), ("number", 6)],
    "add 5 minutes to 1 hour timer": [("duration", 300), ("duration", 3600)],
    "1/2 an hour": [("duration", 1800)],
    "3/4 of a minute": [("duration", 45)],
    "open 24/7 from 5/10": [],
    "from ten to six": [("number", 10), ("number", 6)],
    "noon and midnight": [("time", 720), ("time", 0)],
    "": [],
    "\0\0 \x7f % - . ,": [],
    "tenía": [],
    "dim the kitchen to 20 percent for an hour and a half": [("room", "kitchen"), ("percent", 20), ("duration", 5400)],
}


@pytest.mark.parametrize("text", FOUND)
def test_what_is_found(text):
    assert find(encode(ROOMS), text) == FOUND[text]


ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
ONES += " eighteen nineteen"
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def spelled(n: int) -> str:
    """English words of a number below 1000 million."""
    for size, name in ((1000000, "million"), (1000, "thousand"), (100, "hundred")):
        if n >= size:
            joint = " and " if name == "hundred" and n % 2 else " "
            return f"{spelled(n // size)} {name}" + (joint + spelled(n % size) if n % size else "")
    if n < 20:
        return ONES.split()[n]
    return TENS.split()[n // 10 - 2] + (f"-{ONES.split()[n % 10]}" if n % 10 else "")


@given(st.integers(0, 999_999_999) | st.integers(0, 2000))
def test_numbers_in_words_and_digits(n):
    assert find(b"", f"Set {spelled(n)}, please") == find(b"", f"set {n:,} please") == find(b"", f"{n}") == [("number", n)]


@given(st.integers(0, 99999), st.integers(1, 999), st.booleans())
def test_decimals(whole, thousandths, comma):
    digits = f"{whole}.{thousandths:03}".rstrip("0")
    text = digits.replace(".", ",") if comma and len(digits.split(".")[1]) != 3 else digits
    assert find(b"", f"to {text} degrees") == [("number", float(digits))]


@given(st.integers(1, 99), st.integers(1, 59), st.integers(1, 59))
def test_durations(hours, minutes, seconds):
    total = 3600 * hours + 60 * minutes + seconds
    for text in (f"{hours}h{minutes}m{seconds}s", f"{hours} hours, {minutes} minutes and {seconds} seconds",
                 f"{spelled(hours)} hrs {spelled(minutes)} min {spelled(seconds)} sec"):  # fmt: skip
        assert find(b"", f"wait {text} then") == [("duration", total)]


@given(st.integers(0, 23), st.integers(0, 59))
def test_times(hour, minute):
    assert find(b"", f"at {hour}:{minute:02}.") == [("time", 60 * hour + minute)]
    half = "pm" if hour >= 12 else "a.m."
    assert find(b"", f"({(hour + 11) % 12 + 1}:{minute:02}{half})") == [("time", 60 * hour + minute)]


LETTERS = st.text("abcü日-' 7.%:É", max_size=8)


@given(st.lists(LETTERS.filter(lambda t: folded(t)), max_size=6), LETTERS, LETTERS)
def test_lists_find_the_longest_item_wherever_words_match(items, before, after):
    keys = {folded(item) for item in items}
    lexicon = Lexicon(("x\t" + "\t".join(sorted(keys)) + "\n").encode() if keys else b"")
    buffer = bytearray(ROOM)
    text = " ".join([before, *items[:1], after])
    n = fold(text.encode(), buffer)
    words = bytes(buffer[:n]).decode()
    for start in (i for i in range(n) if not i or buffer[i - 1] == 32):
        rest = buffer[start:n].decode(errors="ignore")
        fitting = [k for k in keys if rest == k or rest.startswith(k + " ")]
        end = lexicon.find(buffer, start)
        assert end == (start + len(max(fitting, key=lambda k: len(k.encode())).encode()) if fitting else 0), words


@given(st.text() | st.text("ab1 .,:-%'É日٣\u2019", max_size=12))
def test_folding_folded_words_changes_nothing(text):
    once = folded(text)
    assert folded(once) == once and "  " not in once and once == once.strip()


GRAMMAR = st.lists(st.sampled_from("5 a half and minutes past to seven at pm % - hundred million point minus".split()))


USED = Slots(encode(ROOMS))


@given(st.binary(max_size=300) | GRAMMAR.map(" ".join).map(str.encode), st.sampled_from([0, 240, 245, 250]))
def test_any_bytes_are_searched_and_leave_nothing_behind(data, before):
    data = b"x" * before + b" " + data
    found = USED.find(data)
    assert found == Slots(encode(ROOMS)).find(data) and all(isinstance(name, str) for name, _ in found)


def test_long_texts_lose_their_last_words_and_never_a_half():
    assert len(folded("a" * 2000)) == 0 and find(encode(ROOMS), "x" * 10_000 + " kitchen") == []
    text = "word " * 50 + "seventeen"  # the buffer ends within the last word
    for cut in range(12):
        assert find(b"", text[cut:]) in ([], [("number", 17)])
    assert find(b"", "5 " + "word " * 2000) == [("number", 5)]


def test_sections_go_there_and_back():
    section = encode(ROOMS)
    assert decode(section)["room"] == {
        "kitchen": "kitchen", "living room": "Living Room", "lounge": "Living Room", "living": "living"}  # fmt: skip
    assert decode(section)["thing"]["kÜche"] == "Küche" and decode(b"") == {} and encode({}) == b""
    assert encode(dict(reversed(ROOMS.items()))) == section


@pytest.mark.parametrize("lists, word", [
    ({"time": {"x": "x"}}, "choose another name"),
    ({"": {"x": "x"}}, "choose another name"),
    ({"room": {"!?": "!?"}}, "holds 0 bytes of words"),
    ({"room": {"x" * 65: "x"}}, "holds 65 bytes"),
    ({"room": {"x" * 5000: "x"}}, "allowed are 1 to 64"),
    ({"room": {"Hall": "a", "hall!": "b"}}, "'hall!' (b) reads like an item of room = a"),
    ({"room": {"hall": "hall"}, "thing": {"hall": "hall"}}, "reads like"),
    ({"room": {f"item number {i}": "x" for i in range(2000)}}, "a file holds 16,384"),
])  # fmt: skip
def test_lists_that_cannot_be_kept_are_named(lists, word):
    with pytest.raises(DataError, match="slot list") as error:
        encode(lists)
    assert word in str(error.value)


@pytest.mark.parametrize("section", [
    b"room", b"room\n", b"\tkitchen\n", b"room\t\n", b"room\ta\t\tb\n", b"room\t=b\n", b"\n", b"room\ta\n\n", b"room\ta=\n",
    b"=\n", b"a\tb\n" * (MAX_BYTES // 4 + 1), b"room\t\xff\n",
])  # fmt: skip
def test_sections_that_are_not_valid_are_refused(section):
    with pytest.raises(FormatError, match="slots: "):
        decode(section)
    with pytest.raises(FormatError, match="slots: "):
        find(section, "kitchen")


PIECES = st.lists(st.sampled_from([b"\t", b"\n", b"=", b"a", b"x\ty=z\n", b"\xc3", b"\xbc"])).map(b"".join)


@given(st.binary(max_size=60) | PIECES, st.binary(max_size=30))
def test_a_hostile_section_is_refused_or_searched(section, text):
    try:
        lexicon = Lexicon(section)
    except ValueError:
        return
    buffer = bytearray(64)
    fold(section + text, buffer)
    for i in range(60):
        if lexicon.find(buffer, i):
            name, value = lexicon.slot()
            assert name.encode() in section and value.encode() in section


def test_slots_for_people():
    assert [describe(*slot) for slot in [("time", 450), ("duration", 5400), ("percent", 20)]] == [
        "time 07:30", "duration 1:30:00", "percent 20"]  # fmt: skip
    assert describe("time", "kitchen") == "time kitchen"  # a list of that name, in a file that was not made here


def test_the_boards_files_import_nothing_of_the_host():
    for name in ("lexicon", "slots"):
        lines = (Path(__file__).parents[2] / f"device/board/signwave/{name}.py").read_text().splitlines()
        assert [line for line in lines if "import " in line and not line.startswith((" ", '"'))] in (
            [], ["from .lexicon import Lexicon, fold"])  # fmt: skip
