"""Typed text on a board: a .swm file that reads, held in place, checked completely, run text by text (export/FORMAT.md).

    text = Text("commands.swm")
    accepted = text.run("turn on the lights")        # index of a label, or None
"""

from binascii import crc32

from . import backend
from .model import _GOLDEN, _GRAPH, _LABELS, _METADATA, _SLOTS, _TEXT, _labels, _metadata, _read, _sections
from .words import i32, u16, u32

kernels, kernels_name, reason = backend.choose("text")


class Text:
    """A reader of text from a file's path or from a buffer (4-byte aligned) that holds one.

    count: labels; label(i): the name of one (they stay in the file, where they take no more RAM);
    hits, top, margin: features known to the dictionary, index of the greatest score and its lead over the next, after a run;
    surety: how surely that text is for any of the labels, which the threshold is for (FORMAT.md, 2.2); unknown: the index of
    the label _unknown_, or -1;
    slots: the bytes of the file's lists, or None. Raises ValueError saying what is wrong, OSError where it cannot be read.
    """

    def __init__(self, source):
        sections = _sections(_read(source) if isinstance(source, str) else memoryview(source))
        if _TEXT not in sections:
            raise ValueError("this file hears sound: open it with signwave.Model")
        self._metadata, self._golden, self.slots = sections[_METADATA], sections[_GOLDEN], sections.get(_SLOTS)
        _metadata(self._metadata)
        self._labels = sections[_LABELS]
        names = self.labels
        self.count = len(names)
        self.unknown = names.index("_unknown_") if "_unknown_" in names else -1
        self._text, self._graph = sections[_TEXT], sections[_GRAPH]
        if self.slots is not None and not 1 <= len(self.slots) <= 16384:
            raise ValueError(f"slots: {len(self.slots)} bytes, allowed are 1 to 16384")
        value_size = kernels.text_check(self._text, self._graph)
        self._layers, last = u32(self._graph, 0), 4
        for _ in range(self._layers - 1):
            last += u32(self._graph, last + 4)
        if self._graph[last + 10] | self._graph[last + 11] << 8 != self.count:
            raise ValueError(f"the graph does not give one score for each of the {self.count} labels")
        self._check_golden()
        self._value = bytearray(value_size)
        self.hits = self.top = self.margin = self.surety = 0

    def _check_golden(self):
        golden = self._golden
        if len(golden) < 13 or u32(golden, 0) or u32(golden, 4) != len(golden) - 12 or len(golden) > 268:
            raise ValueError(f"golden: {len(golden)} bytes are not three numbers and a text of 1 to 256 bytes")
        try:
            str(golden[12:], "utf-8")
        except ValueError:  # UnicodeError is one
            raise ValueError("golden: the text is not UTF-8")  # noqa: B904  (MicroPython warns of "from")

    @property
    def metadata(self):
        """The file's own words about itself, as a dict."""
        return _metadata(self._metadata)

    @property
    def labels(self):
        """All names, in a new list."""
        return _labels(self._labels, True)[0]

    @property
    def thresholds(self):
        """The least sureties at which labels are accepted, in a new list."""
        return _labels(self._labels, True)[1]

    def label(self, i):
        """The name of label i."""
        raw = self._labels
        at = 4 + 4 * (1 if raw[2] else self.count)
        for _ in range(i):
            at += 1 + raw[at]
        return str(raw[at + 1 : at + 1 + raw[at]], "utf-8")

    def run(self, text):
        """Read a text (str, or bytes of UTF-8); the index of an accepted label, or None, always so if nothing in it is known.

        With native kernels nothing is allocated.
        """
        value = self._value
        kernels.text_rows(self._text, text, value)
        self.hits = u16(value, 0)
        kernels.text_step(self._graph, value, 0, self._layers)
        top = best = second = lead = None
        total = 0
        for i in range(self.count):
            y = i32(value, 4 * i)
            total += y
            if best is None or y > best:
                top, best, second = i, y, best
            elif second is None or y > second:
                second = y
            if i != self.unknown and (lead is None or y > lead):
                lead = y
        self.top, self.margin = top, 0 if second is None else best - second
        return top if self._accepts(total, lead) else None

    def _accepts(self, total, lead):
        if lead is None:  # there is no label but _unknown_
            lead = 0
        if self.unknown >= 0:
            lead = 2 * lead - i32(self._value, 4 * self.unknown)
        self.surety = self.count * lead - total
        threshold = i32(self._labels, 4 if self._labels[2] else 4 + 4 * self.top)
        return self.hits and self.top != self.unknown and self.surety >= threshold

    def scores(self):
        """The integer result for each label after the last run."""
        return [i32(self._value, 4 * i) for i in range(self.count)]

    def self_test(self):
        """Run the file's stored test; True if every bit of its result comes out."""
        self.run(self._golden[12:])
        return crc32(memoryview(self._value)[: 4 * self.count]) == u32(self._golden, 8)
