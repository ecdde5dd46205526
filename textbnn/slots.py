"""Slot lists of a model file: from declarations to the bytes of the section "slots" and back (FORMAT.md).

    section = encode({"room": {"kitchen": "kitchen", "lounge": "living room"}})
    find(section, "turn on the light in the Lounge for 5 minutes")      # [("room", "living room"), ("duration", 300)]

What boards do with them, and what they find without any list, is device/board/signwave/slots.py, which runs here too.
"""

import unicodedata

from device.board.signwave.lexicon import MAX_BYTES, fold
from device.board.signwave.slots import NAMES, ROOM, Slots
from export.graph import FormatError
from textbnn.data import DataError

MAX_ITEM_BYTES = 64


def encode(lists: dict[str, dict[str, str]]) -> bytes:
    """The section of some lists {list: {item: value}}, empty where there are none. Raises DataError naming list and item."""
    lines = []
    owners: dict[str, str] = {}
    for name, items in sorted(lists.items()):
        if name in NAMES or not name:
            raise DataError(f"slot list '{name}': choose another name, {', '.join(NAMES)} are found without a list")
        cells = []
        for item, value in items.items():
            value = " ".join(unicodedata.normalize("NFC", value).split())
            for key in _keys(name, item):
                if owners.setdefault(key, f"{name} = {value}") != f"{name} = {value}":
                    raise DataError(f"slot list '{name}': '{item}' ({value}) reads like an item of {owners[key]}; remove one")
                cells.append(key if key == value else f"{key}={value}")
        lines.append("\t".join([name, *dict.fromkeys(cells)]) + "\n")
    section = "".join(lines).encode()
    if len(section) > MAX_BYTES:
        raise DataError(f"the slot lists take {len(section):,} bytes, a file holds {MAX_BYTES:,}; leave items out")
    return section


def _keys(name: str, item: str) -> list[str]:
    """An item as boards read it. They know the case of ASCII alone, so letters beyond it come in each case."""
    item = unicodedata.normalize("NFC", item)
    keys = dict.fromkeys(folded(form) for form in (item, item.lower(), item.upper(), item.title()))
    for key in keys:
        size = len(key.encode())
        if not 1 <= size <= MAX_ITEM_BYTES:
            raise DataError(f"slot list '{name}': '{item[:40]}' holds {size} bytes of words, allowed are 1 to {MAX_ITEM_BYTES}")
    return list(keys)


def folded(text: str) -> str:
    """The words of a text as slots see them."""
    out = bytearray(4 * ROOM)
    return bytes(out[: fold(text.encode("utf-8", "replace"), out)]).decode("utf-8", "replace")


def decode(section: bytes) -> dict[str, dict[str, str]]:
    """The lists of a section, {list: {item as it is looked up: value}}. Raises FormatError where it is not valid."""
    _reader(section)
    lists = {}
    for line in section.decode().splitlines():
        name, *cells = line.split("\t")
        items = [cell.partition("=") for cell in cells]
        lists.setdefault(name, {}).update({key: value if equals else key for key, equals, value in items})
    return lists


def find(section: bytes, text: str | bytes) -> list[tuple[str, str | int | float]]:
    """(name, value) of the slots of a text, in its order. Durations are in seconds, times in minutes after midnight.

    Raises FormatError where the section is not valid.
    """
    return _reader(section).find(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)


def _reader(section: bytes) -> Slots:
    try:
        return Slots(section)
    except ValueError as error:
        raise FormatError(str(error)) from None


def describe(name: str, value: str | int | float) -> str:
    """A slot for people: `time 07:30`, `duration 1:30:00`, `percent 20`."""
    if isinstance(value, str):  # of a list, whatever that calls itself
        return f"{name} {value}"
    if name == "time":
        return f"time {value // 60:02}:{value % 60:02}"
    if name == "duration":
        return f"duration {value // 3600}:{value // 60 % 60:02}:{value % 60:02}"
    return f"{name} {value}"
