"""A text as folded words, and lists of words to look up in it: integers alone and nothing imported, as the host runs it too.

    n = fold("Dim the Living-Room".encode(), buffer)      # b"dim the living room"
    lexicon = Lexicon(b"room\tkitchen\tliving room\n")
    lexicon.find(buffer, 8), lexicon.slot()               # 19, ("room", "living room")
"""

MAX_BYTES = 1 << 14

_SEPARATOR, _LETTER, _DIGIT, _ALONE = 0, 1, 2, 3


def fold(text, out):
    """Write words to `out`, lower-case and with one space between, and a space and a zero behind; their length in bytes.

    Characters of scripts without spaces are words of their own, and so are letters behind the digits of a number (5min).
    Marks stay where they belong to a number: 7:30, -5, 1.5, 1/2, 20 %. Words that find no room in `out` are left out.
    """
    i = n = last = 0
    numeric = False
    while i < len(text):
        c, step = text[i], 1
        if 97 <= c <= 122 and last == 1 and n + 4 <= len(out):  # the most frequent case, soon over: a letter of a word
            out[n] = c
            n += 1
            i += 1
            continue
        if c < 128:
            kind = _narrow(text, i, last)
            if kind == _LETTER:
                c |= 32
        else:
            step = 2 if 0xC2 <= c < 0xE0 else 3 if 0xE0 <= c < 0xF0 else 4 if 0xF0 <= c < 0xF5 else 1
            kind = _wide(text, i) if 1 < step <= len(text) - i else _SEPARATOR
            if kind > _ALONE:
                c, kind = kind, _DIGIT
        if kind < 0:
            i += step
            continue
        if kind == _SEPARATOR:
            i, last = i + step, 0
            continue
        if n + step + 3 > len(out):
            return _end(out, _cut(out, n))
        apart = last == _SEPARATOR or last == _ALONE or kind == _ALONE
        if n and (apart or (numeric and kind != last)):
            out[n] = 32
            n += 1
        if apart:
            numeric = kind == _DIGIT
        out[n] = c
        if kind != _DIGIT:
            for k in range(1, step):
                out[n + k] = text[i + k]
            n += step
        else:
            n += 1
        i, last = i + step, kind
    return _end(out, n)


def _end(out, n):
    out[n], out[n + 1] = 32, 0
    return n


def _cut(out, n):
    """The length without the last word, which may not be whole."""
    while n and out[n - 1] != 32:
        n -= 1
    return n - 1 if n else 0


def _narrow(text, i, last):
    """The kind of an ASCII character behind one of kind `last`, or -1 for an apostrophe."""
    c = text[i]
    if 97 <= c | 32 <= 122:
        return _LETTER
    if 48 <= c <= 57:
        return _DIGIT
    if c == 39:  # don't: dont
        return -1
    if c == 37:
        return _ALONE
    if i + 1 < len(text) and 48 <= text[i + 1] <= 57:
        if last == _DIGIT and (c == 58 or c == 44 or c == 46 or c == 47) or last == _SEPARATOR and c == 45:
            return _DIGIT
    return _SEPARATOR


def _wide(text, i):
    """The kind of a character of several bytes, the ASCII code of the digit that it means, or -1 for an apostrophe."""
    a, b, c = text[i], text[i + 1], text[i + 2] if text[i] >= 0xE0 else 0
    if a < 0xE0:
        if a == 0xD9 and 0xA0 <= b <= 0xA9 or a == 0xDB and 0xB0 <= b <= 0xB9:  # Arabic, Persian
            return 48 + (b & 15)
        return _SEPARATOR if a == 0xC2 else _LETTER
    if a == 0xE0 and b == 0xA5 and 0xA6 <= c <= 0xAF:  # Devanagari
        return 48 + c - 0xA6
    if a == 0xE2 and 0x80 <= b <= 0x82:  # dashes, quotes, currencies
        return -1 if b == 0x80 and c == 0x99 else _SEPARATOR
    if a == 0xE3 and b == 0x80:
        return _SEPARATOR
    if a == 0xEF and b == 0xBC and c <= 0xA0:  # full width
        return 48 + (c & 15) if 0x90 <= c <= 0x99 else _SEPARATOR
    spaced = a == 0xE0 and b < 0xB8 or a == 0xE1 and b >= 0xB8  # India's scripts; more of Latin and Greek
    return _LETTER if spaced else _ALONE


class Lexicon:
    """Lists in text: a line each, `name<tab>item<tab>item=value...`, items as `fold` leaves them.

    After `find`, `at` is the place of the item in the text. Raises ValueError where the text is not so.
    """

    def __init__(self, text):
        self.text, self.longest, self.at = text, 0, 0
        self._first = bytearray(256)  # 1 where an item begins with that byte
        if len(text) > MAX_BYTES:
            raise ValueError(f"slots: {len(text)} bytes, allowed are {MAX_BYTES}")
        if len(text) and text[len(text) - 1] != 10:
            raise ValueError("slots: the last line is not ended")
        try:
            str(text, "utf-8")
        except ValueError:  # UnicodeError is one
            raise ValueError("slots: not UTF-8")  # noqa: B904  (MicroPython warns of "from")
        self._table = sorted(self._entries())

    def _entries(self):
        """16 bits of an item's hash, then 14 of its place."""
        text, start, h, line, named = self.text, 0, 0, True, False
        out = []
        for i in range(len(text)):
            c = text[i]
            if c == 9 or c == 10:
                if i == start or c == 10 and line:
                    raise ValueError(f"slots: nothing stands before byte {i}")
                if not line and not named:
                    out.append(self._entry(h, start, i))
                start, h, line, named = i + 1, 0, c == 10, False
            elif c == 61 and not line and not named:
                out.append(self._entry(h, start, i))
                start, named = i + 1, True
            elif not named:
                h = h * 31 + c & 0xFFFF
        return out

    def _entry(self, h, start, end):
        if start == end:
            raise ValueError(f"slots: nothing stands before byte {end}")
        self.longest = max(self.longest, end - start)
        self._first[self.text[start]] = 1
        return h << 14 | start

    def find(self, b, i):
        """Where in the folded text `b` the longest item ends that begins at i; 0 if there is none."""
        if not self._first[b[i]]:
            return 0
        h = best = 0  # four names in one assignment would allocate a tuple
        j, last = i, i + self.longest
        while j <= last:
            c = b[j]
            if c <= 32:
                if not c:
                    break
                at = self._search(h, b, i, j)
                if at >= 0:
                    best, self.at = j, at
            h = h * 31 + c & 0xFFFF
            j += 1
        return best

    def _search(self, h, b, i, j):
        table, text = self._table, self.text
        low, high = 0, len(table)
        h <<= 14
        while low < high:
            middle = (low + high) >> 1
            if table[middle] < h:
                low = middle + 1
            else:
                high = middle
        while low < len(table) and table[low] >> 14 == h >> 14:
            at = table[low] & 0x3FFF
            k = 0
            while k < j - i and text[at + k] == b[i + k]:
                k += 1
            if k == j - i and (text[at + k] == 9 or text[at + k] == 10 or text[at + k] == 61):
                return at
            low += 1
        return -1

    def kind(self):
        """The first byte of the list's name that the item stands in."""
        i = self.at
        while i and self.text[i - 1] != 10:
            i -= 1
        return self.text[i]

    def number(self):
        """The item's value, a number."""
        i, value = self.at, 0
        while self.text[i] != 61:
            i += 1
        while 48 <= self.text[i + 1] <= 57:
            i, value = i + 1, 10 * value + self.text[i + 1] - 48
        return value

    def slot(self):
        """(name, value) of the item."""
        text, start = self.text, self.at
        while start and text[start - 1] != 10:
            start -= 1
        middle = start
        while text[middle] != 9:
            middle += 1
        first = last = self.at
        while text[last] != 9 and text[last] != 10:
            if text[last] == 61 and text[first - 1] != 61:
                first = last + 1
            last += 1
        return str(text[start:middle], "utf-8"), str(text[first:last], "utf-8")
