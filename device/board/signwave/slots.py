"""Values in a command: numbers, percentages, durations, times and items of lists, found by rules on integers.

    slots = Slots(section)                              # the lists of a model file (FORMAT.md), or b""
    slots.find(b"dim the kitchen to 20 percent for an hour and a half")
    # [("room", "kitchen"), ("percent", 20), ("duration", 5400)]     durations in seconds, times in minutes after midnight

Numbers are digits of any script and English words. Where two things begin alike the longer one counts, then the list.
Nothing is allocated but the result. The host finds slots with this very file.
"""

from .lexicon import Lexicon, fold

NAMES = ("number", "percent", "duration", "time")
_NUMBER, _PERCENT, _DURATION, _TIME_OF_DAY = 0, 1, 2, 3
ROOM = 256  # slots are looked for in the first words of a text, as many as fit into so many bytes

# As the lists of a file. Kinds: n ones and teens, t tens, h hundred, k larger, u units in seconds, v the same where digits
# stand before, f parts in thousandths, a articles, w other words of the grammar, c times of day.
_WORDS = b"""\
n	zero=0	one=1	two=2	three=3	four=4	five=5	six=6	seven=7	eight=8	nine=9
n	ten=10	eleven=11	twelve=12	thirteen=13	fourteen=14	fifteen=15	sixteen=16	seventeen=17	eighteen=18
n	nineteen=19
t	twenty=20	thirty=30	forty=40	fifty=50	sixty=60	seventy=70	eighty=80	ninety=90
h	hundred=100
k	thousand=1000	million=1000000
u	second=1	seconds=1	sec=1	secs=1	minute=60	minutes=60	min=60	mins=60
u	hour=3600	hours=3600	hr=3600	hrs=3600	day=86400	days=86400	week=604800	weeks=604800
v	s=1	m=60	h=3600	d=86400
f	half=500	quarter=250
a	a=1	an=1
w	and=1	point=2	minus=3	of=4	at=5	past=6	to=7	oclock=8	am=9	a m=9	pm=10	p m=10
w	percent=11	per cent=11	%=11
c	noon=720	midday=720	midnight=0
"""
_ONES, _TENS, _HUNDRED, _LARGER, _UNIT, _SHORT, _PART, _ARTICLE, _OTHER, _TIME = b"nthkuvfawc"
_AND, _POINT, _MINUS, _OF, _AT, _PAST, _TO, _OCLOCK, _AM, _PM, _OF_HUNDRED = range(1, 12)


class Slots:
    """Finds slots in texts. section: lists, as Lexicon reads them. Raises ValueError where they are not valid."""

    def __init__(self, section=b""):
        self._lists, self._words, self._b = Lexicon(section), Lexicon(_WORDS), bytearray(ROOM)
        self._at, self._ends, self._kinds = bytearray(16), bytearray(16), bytearray(16)  # words that were looked at
        self._values = [0] * 16
        self._name = self._kind = self._value = 0  # the last two: of the word that was looked at last
        self._whole = self._milli = 0  # of the number that was read last, and its sign
        self._negative = False

    def find(self, text):
        """[(name, value), ...] in the order of the text, which is UTF-8 in bytes."""
        b, found, i = self._b, [], 0  # at most three names: more would allocate a tuple
        n = fold(text, b)
        for k in range(16):
            self._at[k] = ROOM - 1  # no word begins there
            self._ends[k] = self._kinds[k] = 0
        while i < n:
            item = self._lists.find(b, i)
            end = self._quantity(i)
            if item and item >= end:
                found.append(self._lists.slot())
                end = item
            elif end:
                found.append((NAMES[self._name], self._result()))
            if not end:
                end = i
                while b[end] != 32:
                    end += 1
            i = end + 1
        return found

    def _result(self):
        value = (self._whole * 1000 + self._milli) / 1000 if self._milli else self._whole
        return -value if self._negative else value

    def _quantity(self, i):
        """The end of what begins at i, or 0. Its name lies in _name, its value in _whole, _milli and _negative."""
        c = self._b[i]
        if not (48 <= c <= 57 or c == 45 or self._word(i)):
            return 0
        self._name, end = _TIME_OF_DAY, self._time(i)
        if not end:
            self._name, end = _DURATION, self._duration(i)
        if not end:
            self._name, end = _NUMBER, self._number(i)
            percent = self._is(end + 1, _OF_HUNDRED) if end else 0
            if percent:
                self._name, end = _PERCENT, percent
        return end

    def _word(self, i):
        """The end of a word of the grammar at i, or 0; _kind and _value are its. The last few are remembered."""
        k = i & 15
        if self._at[k] != i:
            end = self._words.find(self._b, i)
            self._at[k], self._ends[k] = i, end
            self._kinds[k] = self._words.kind() if end else 0
            self._values[k] = self._words.number() if end else 0
        self._kind, self._value = self._kinds[k], self._values[k]
        return self._ends[k]

    def _is(self, i, value):
        """The end of just this word of kind w, or 0."""
        end = self._word(i)
        return end if self._kind == _OTHER and self._value == value else 0

    def _number(self, i):
        """The end of a number at i, or 0."""
        self._whole = self._milli = 0
        self._negative = self._b[i] == 45
        if self._negative or 48 <= self._b[i] <= 57:
            return self._digits(i + self._negative)
        minus = self._is(i, _MINUS)
        end = self._spelled(minus + 1 if minus else i)
        self._negative = minus > 0
        return end

    def _digits(self, i):
        """1000, 1,000, 1.5 or 1,5; of at most 9 digits and three behind the point; halves and quarters. Not 7:30, nor 1.2.3."""
        b, scale, first = self._b, 1000, i
        whole = milli = 0
        while 48 <= b[i] <= 57 or (whole and self._thousands(i)):
            if b[i] != 44:
                whole = 10 * whole + b[i] - 48
            i += 1
            if i - first > 11:
                return 0
        if b[i] == 46 or b[i] == 44:
            i += 1
            while 48 <= b[i] <= 57:
                scale //= 10
                milli += (b[i] - 48) * scale
                i += 1
        elif b[i] == 47 and b[i + 2] == 32 and (b[i + 1] == 50 or b[i + 1] == 52) and 0 < whole < b[i + 1] - 48:
            i, milli = i + 2, whole * 1000 // (b[i + 1] - 48)
            whole = 0
        self._whole, self._milli = whole, milli
        return i if b[i] == 32 and whole < 1000000000 else 0

    def _thousands(self, i):
        b = self._b
        return b[i] == 44 and 48 <= b[i + 1] <= 57 and 48 <= b[i + 2] <= 57 and 48 <= b[i + 3] <= 57 and not 48 <= b[i + 4] <= 57

    def _spelled(self, i):
        """Such as "two hundred and five" or "twenty one point five"."""
        total = current = last = end = 0
        scale = 1000000000
        while True:
            j = self._word(i)
            kind, v = self._kind, self._value
            joint = kind == _OTHER and v == _AND
            fits = last != _ONES and (last != _TENS or kind == _ONES and 0 < v < 10)
            if fits and (kind == _ONES or kind == _TENS):
                current += v
            elif kind == _HUNDRED and (not last or last == _ONES):
                current = (current or 1) * v
            elif kind == _LARGER and last != _LARGER and v < scale:
                total, current, scale = total + (current or 1) * v, 0, v
            elif kind == _ARTICLE and not last or joint and (last == _HUNDRED or last == _LARGER):
                i = j + 1  # "a hundred", "and five"; where none of it follows, this does not count either
                continue
            else:
                break
            end, last, i = j, kind, j + 1
        self._whole, self._milli = total + current, 0
        return self._decimals(end) if end else 0

    def _decimals(self, end):
        """The end with "point five" behind a number that ends at `end`."""
        i, scale = self._is(end + 1, _POINT), 1000
        while i:
            i = self._word(i + 1)
            if self._kind != _ONES or self._value > 9:
                break
            scale //= 10
            self._milli += self._value * scale
            end = i
        return end

    def _duration(self, i):
        """The end of such as "1h30m", "an hour and a half", "two and a half days", "half an hour", or 0. The value: seconds."""
        total = end = 0
        smallest = 1 << 29
        while True:
            short = 48 <= self._b[i] <= 57
            unit = self._amount(i)
            whole, milli = self._whole, self._milli
            j = self._word(unit) if unit and not self._negative else 0
            seconds = self._value
            if not (j and (self._kind == _UNIT or self._kind == _SHORT and short) and seconds < smallest):
                break
            total, smallest, end = total + whole * seconds + milli * seconds // 1000, seconds, j
            half = self._and_a_half(j + 1)
            if half:
                total, end = total + seconds // 2, half
            joined = self._is(end + 1, _AND)
            i = (joined or end) + 1
        self._whole, self._milli, self._negative = total, 0, False
        return end

    def _amount(self, i):
        """Where the unit begins behind an amount of it, or 0."""
        end = self._number(i)
        if end:
            half = self._and_a_half(end + 1)
            if half:
                self._milli += 500
            return (half or end) + 1 if self._whole else self._of_a(end + 1)
        self._whole, self._milli, article = 1, 0, self._word(i)
        if article and self._kind == _ARTICLE:
            i = article + 1
        else:
            article = 0
        part = self._word(i)
        if not part or self._kind != _PART:
            return i if article else 0
        self._whole, self._milli = 0, self._value
        return self._of_a(part + 1)

    def _of_a(self, i):
        """What follows on "of", "an" or "of an", if they stand at i."""
        of = self._is(i, _OF)
        i = of + 1 if of else i
        article = self._word(i)
        return article + 1 if self._kind == _ARTICLE else i

    def _and_a_half(self, i):
        i = self._is(i, _AND)
        if i:
            i = self._word(i + 1)
            if self._kind == _ARTICLE:
                i = self._word(i + 1)
                return i if self._kind == _PART and self._value == 500 else 0
        return 0

    def _time(self, i):
        """The end of a time of day at i, or 0. The value is in minutes after midnight."""
        self._milli, self._negative = 0, False
        if 48 <= self._b[i] <= 57:
            end = self._clock(i)
            if end:
                return self._half_of_day(end)
        elif self._kind == _TIME:
            self._whole = self._value
            return self._word(i)
        at = self._is(i, _AT)
        return self._relative(i) or self._hour(at + 1 if at else i, at)

    def _clock(self, i):
        """7:30 or 19:30."""
        b, end = self._b, i
        while 48 <= b[end] <= 57:
            end += 1
        if b[end] != 58 or not (48 <= b[end + 1] <= 53 and 48 <= b[end + 2] <= 57 and b[end + 3] == 32) or end - i > 2:
            return 0
        hour = b[i] - 48 if end - i == 1 else 10 * b[i] + b[i + 1] - 528
        self._whole = 60 * hour + 10 * b[end + 1] + b[end + 2] - 528
        return end + 3 if hour < 24 else 0

    def _hour(self, i, at):
        """7 pm, seven thirty am, seven o'clock; at seven thirty."""
        end = self._number(i)
        hour = self._whole
        if not end or self._milli or self._negative or hour > 23:
            return 0
        self._whole = 60 * hour
        more = self._is(end + 1, _OCLOCK)
        if more:
            return self._half_of_day(more)
        more = self._half_of_day(end)
        if more > end:
            return more
        more = self._number(end + 1)
        minutes = self._whole
        if not more or self._milli or self._negative or not 10 <= minutes < 60:
            return 0
        self._whole = 60 * hour + minutes
        end = self._half_of_day(more)
        return end if at or end > more else 0

    def _relative(self, i):
        """Half past seven, a quarter to eight pm, ten past six, ten minutes to six."""
        j = self._word(i)
        if j and self._kind == _ARTICLE:
            i, j = j + 1, self._word(j + 1)
        sure = self._kind == _PART
        minutes = self._value * 60 // 1000
        if not sure:
            j = self._number(i)
            minutes = self._whole
            unit = self._word(j + 1) if j and not self._milli and not self._negative and minutes < 60 else 0
            if unit and self._kind == _UNIT and self._value == 60:
                j, sure = unit, True
        past = self._is(j + 1, _PAST) if j and minutes < 60 else 0
        to = self._is(j + 1, _TO) if j and sure and not past else 0
        end = self._number((past or to) + 1) if past or to else 0
        if not end or self._milli or self._negative or not 1 <= self._whole <= 23:
            return 0
        self._whole = 60 * self._whole + (minutes if past else -minutes)
        unit = self._word(end + 1)
        return 0 if unit and self._kind == _UNIT else self._half_of_day(end)  # five minutes to the timer of an hour

    def _half_of_day(self, end):
        """The end with am or pm behind a time that ends at `end`; where neither stands there, `end`."""
        half = self._word(end + 1)
        if half and self._kind == _OTHER and _AM <= self._value <= _PM and self._whole < 780:
            self._whole = self._whole % 720 + (720 if self._value == _PM else 0)
            return half
        return end
