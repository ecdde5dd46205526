"""Typed or received commands on a board: a text in, what it asks for and the values in it out.

    command = signwave.TextCommand("lights.swm")
    label, score, margin, slots = command.classify("turn on the kitchen lights for 5 minutes")
    # label "light_on", slots [("room", "kitchen"), ("duration", 300)]; label None: not for us

`signwave.text.reason` says which kernels run and why. With native ones nothing is allocated but the result.
"""

import sys
from collections import namedtuple

from .slots import Slots
from .text import Text

_MICROPYTHON = sys.implementation.name == "micropython"

# label: None where the text is rejected; score: how surely it is for us, at least the file's threshold where it is accepted;
# margin: the best label's lead over the next; slots: [(name, value), ...] in the order of the text, durations in seconds,
# times in minutes after midnight.
Command = namedtuple("Command", ("label", "score", "margin", "slots"))


class TextCommand:
    """Decides texts by a model file's path or bytes (4-byte aligned).

    Raises ValueError saying what is wrong with the file, OSError where it cannot be read.
    """

    def __init__(self, source):
        self.reader = Text(source)
        self._slots = Slots(self.reader.slots or b"")

    @property
    def labels(self):
        """What it may answer, in a new list."""
        return [label for i, label in enumerate(self.reader.labels) if i != self.reader.unknown]

    def classify(self, line):
        """The Command in a text (str, or bytes of UTF-8). One whose words the model does not know at all is rejected."""
        reader = self.reader
        accepted = reader.run(line)
        if isinstance(line, str):  # MicroPython lets its bytes be read in place
            line = memoryview(line) if _MICROPYTHON else line.encode("utf-8", "surrogatepass")
        label = None if accepted is None else reader.label(accepted)
        return Command(label, reader.surety, reader.margin, self._slots.find(line))

    def best(self):
        """The best label of the text before, accepted or not."""
        return self.reader.label(self.reader.top)
