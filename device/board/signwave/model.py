"""A .swm model on a board: read in place, checked completely, run frame by frame (export/FORMAT.md).

The file's bytes are the network: they are read into one buffer and the kernels work on slices of it.
Nothing is allocated before the size that asks for it has been checked.
"""

import sys
from array import array
from binascii import crc32
from struct import pack_into

from . import backend
from .words import i16, i32, u16, u32

VERSION = 2
_METADATA, _LABELS, _FRONT_END, _GRAPH, _GOLDEN, _TEXT, _SLOTS = 1, 2, 3, 4, 5, 6, 7
_NAMES = ("", "metadata", "labels", "front end", "graph", "golden", "text", "slots")
_CONV_I4, _SUM_WINDOW = 1, 4


class Model:
    """A network from a file's path or from a buffer (4-byte aligned) that holds one.

    labels: list of str; thresholds: list of int, the least margin at which each label is accepted;
    hop, rate_hz: samples a step and a second (None where the network reads features);
    top, margin: index of the greatest score and its lead over the next, after the last step;
    field: frames that a result follows from, itself included (the graph has no feedback).
    Raises ValueError saying what is wrong with the file, OSError where it cannot be read.
    """

    def __init__(self, source):
        data = _read(source) if isinstance(source, str) else memoryview(source)
        sections = _sections(data)
        if _TEXT in sections or _SLOTS in sections:
            raise ValueError("this file reads text: open it with signwave.TextCommand (section kind 6 or 7)")
        self._metadata, self._golden = sections[_METADATA], sections[_GOLDEN]
        _metadata(self._metadata)
        self.labels, self.thresholds = _labels(sections[_LABELS])
        self._graph, self._params = sections[_GRAPH], sections.get(_FRONT_END)
        self._check_front_end()
        state_size, value_size = backend.kernels.graph_check(self._graph)
        self.layers, last = u32(self._graph, 0), 4
        for _ in range(self.layers - 1):
            last += u32(self._graph, last + 4)
        self._check_ends(last)
        self._copy_form = f"{self.frame_bytes}s"
        self.field = _field(self._graph, self.layers)
        self._check_golden()
        self._state, self._value = bytearray(state_size), bytearray(value_size)
        self.reset()

    def _check_front_end(self):
        self.hop = self.rate_hz = self._audio = None
        if self._params is not None:
            if len(self._params) < 16 or u16(self._params, 0) != 1:
                raise ValueError("front end: identity is not known here: update signwave on the board")
            self._audio = bytearray(backend.kernels.frontend_state_size(self._params))
            self.hop, self.rate_hz = u16(self._params, 2), u32(self._params, 4)

    def _check_ends(self, last):
        graph, params, count = self._graph, self._params, len(self.labels)
        if params is not None and (graph[4] != _CONV_I4 or u16(graph, 12) != u16(params, 8)):
            raise ValueError(f"the graph does not read what the front end gives: {u16(params, 8)} bands")
        if graph[last] != _SUM_WINDOW or u16(graph, last + 10) != count:
            raise ValueError(f"the graph does not give one score for each of the {count} labels")
        self.channels = u16(graph, 12)
        self.frame_bytes = self.channels * (1 if graph[4] == _CONV_I4 else 2)

    def _check_golden(self):
        golden, count = self._golden, len(self.labels)
        if len(golden) != 8 + 4 * count:
            raise ValueError(f"golden: {len(golden)} bytes, {count} labels need {8 + 4 * count}")
        if u32(golden, 0) == 0 or not 1 <= u32(golden, 4) <= 256:
            raise ValueError("golden: seed or frame count is out of range")

    @property
    def metadata(self):
        """The file's own words about itself, as a dict."""
        return _metadata(self._metadata)

    def reset(self):
        """Forget all that was heard."""
        self.forget()
        if self._audio is not None:
            backend.kernels.frontend_reset(self._params, self._audio)

    def forget(self):
        """Back to the state before the first frame of features; the front end goes on."""
        backend.kernels.graph_reset(self._graph, self._state)
        self.top = self.margin = 0

    def rest(self):
        """To the state after long silence. Of that before the first frame networks know nothing: they may take hiss for a word.

        `field` silent frames are run: with M some 12 million instructions, 75 ms of a core at 160 MHz.
        """
        self.forget()
        silence = bytes([128] * self.channels)  # -128 in every band
        for _ in range(self.field):
            self.advance(silence)

    def step(self, samples):
        """Take the next `hop` samples (16 bits each); the index of an accepted label, or None.

        With native kernels nothing is allocated. A network without a front end takes a frame of features instead.
        """
        self._input(samples)
        backend.kernels.graph_step(self._graph, self._state, self._value, 0, self.layers)
        return self._decide()

    async def step_async(self, samples):
        """As `step`, with other tasks let in between the layers."""
        import asyncio

        self._input(samples)
        for i in range(self.layers):
            await asyncio.sleep(0)
            backend.kernels.graph_step(self._graph, self._state, self._value, i, i + 1)
        return self._decide()

    def _input(self, samples):
        if self._audio is not None:
            backend.kernels.frontend_step(self._params, self._audio, samples, self._value)
        else:
            self._features(samples)

    def _features(self, frame):
        if len(frame) != self.frame_bytes:
            raise ValueError(f"a frame is {self.frame_bytes} bytes, this one has {len(frame)}")
        copy_into(self._copy_form, self._value, 0, frame)

    def step_features(self, frame):
        """As `step`, from features (bytes, or an array("b"), of i8 or i16 as the graph reads) and past the front end."""
        self.advance(frame)
        return self._decide()

    def advance(self, frame):
        """As `step_features` without a decision: for the state's sake."""
        self._features(frame)
        backend.kernels.graph_step(self._graph, self._state, self._value, 0, self.layers)

    def features(self, samples, out):
        """The front end alone: the next `hop` samples give a frame of features in `out`, an array("b") of `channels` items."""
        backend.kernels.frontend_step(self._params, self._audio, samples, self._value)
        copy_into(self._copy_form, out, 0, self._value)

    def amplify(self, doublings):
        """Hear all sound 2 ** doublings times as loud as it comes, from now on, for a microphone below the level of training.

        A part of the front end's logarithm: exact, and nothing is clipped. Raises ValueError where it leaves 16 bits.
        """
        offset = i16(self._params, 10) + 512 * doublings  # 1/256 octave of power, and twice as loud is two of those octaves
        if not -32768 <= offset <= 32767:
            raise ValueError(f"amplified by {doublings} doublings: the front end's offset {offset} leaves 16 bits")
        params = bytearray(self._params)
        pack_into("<h", params, 10, offset)
        self._params = params

    def same_front_end(self, other):
        """Whether another model hears with the very same front end, so that both can share its features."""
        return self.hop is not None and other.hop is not None and bytes(self._params) == bytes(other._params)

    def _decide(self):
        value = self._value
        top, best, second = 0, i32(value, 0), None
        for i in range(1, len(self.labels)):
            y = i32(value, 4 * i)
            if y > best:
                top, best, second = i, y, best
            elif second is None or y > second:
                second = y
        self.top, self.margin = top, 0 if second is None else best - second
        return top if self.margin >= self.thresholds[top] else None

    def scores(self):
        """The integer result for each label after the last step."""
        return [i32(self._value, 4 * i) for i in range(len(self.labels))]

    def classify(self, samples):
        """(label or None, margin, scores) of one clip, from the initial state; a rest shorter than a hop is dropped.

        samples: array("h"), or bytes of little-endian 16-bit samples; frames of features where there is no front end.
        """
        clip = memoryview(samples)
        step = self.frame_bytes if self._audio is None else self.hop * 2 // _item_bytes(samples)
        if len(clip) < step:
            raise ValueError(f"the clip is shorter than one step, {step} items")
        self.reset()
        for at in range(0, len(clip) - step + 1, step):
            accepted = self.step(clip[at : at + step])
        return None if accepted is None else self.labels[accepted], self.margin, self.scores()

    def self_test(self):
        """Run the file's stored test; True if every bit of its result comes out. The state is reset before and after."""
        self.reset()
        seed, wide = u32(self._golden, 0), self.frame_bytes != self.channels
        frame = bytearray(self.frame_bytes)
        for _ in range(u32(self._golden, 4)):
            for c in range(self.channels):
                seed ^= seed << 13 & 0xFFFFFFFF
                seed ^= seed >> 17
                seed ^= seed << 5 & 0xFFFFFFFF
                if wide:
                    frame[2 * c], frame[2 * c + 1] = seed >> 16 & 255, seed >> 24 ^ 128
                else:
                    frame[c] = seed >> 24 ^ 128
            self.step_features(frame)
        got = self.scores()
        self.reset()
        return got == [i32(self._golden, 8 + 4 * i) for i in range(len(got))]


def copy_into(form, buffer, at, data):
    """Copy the first bytes of `data`, as many as `form` says ("40s"), to `buffer` from `at` on: a slice would be allocated."""
    # CPython packs nothing but bytes.
    pack_into(form, buffer, at, data if sys.implementation.name == "micropython" else bytes(data))


def _field(graph, layers):
    """Frames that a result follows from: one, and what each operation's taps reach back."""
    at, frames = 4, 1
    for _ in range(layers):
        frames += (u16(graph, at + 12) - 1) * u16(graph, at + 14)
        at += u32(graph, at + 4)
    return frames


def _item_bytes(samples):
    """2 for arrays of 16-bit items, 1 for bytes. Not every MicroPython says so of a memoryview: there it counts as bytes."""
    return 2 if isinstance(samples, array) else getattr(samples, "itemsize", 1)


def _check_head(head):
    """The size in a header, if the rest of it is right."""
    if head[:4] != b"SWM\x1a":
        raise ValueError("not a signwave model: it does not begin with SWM")
    version, size = u16(head, 4), u32(head, 8)
    if version > VERSION:
        raise ValueError(f"format version {version} is newer than {VERSION}: update signwave on the board")
    if version != VERSION:
        raise ValueError(f"format version {version} is older than {VERSION}: export the model again")
    if not 16 <= size <= 1 << 20:
        raise ValueError(f"size {size} is not within 16 bytes to 1 MiB")
    return size


def _read(path):
    """The file's bytes in one buffer of its own size."""
    with open(path, "rb") as f:
        head = bytearray(16)
        if f.readinto(head) < 16:
            raise ValueError("truncated: shorter than the header")
        size = _check_head(head)
        try:
            data = memoryview(bytearray(size))
        except MemoryError:
            raise ValueError(f"no {size} bytes of RAM in one piece for the model: load it before all else")  # noqa: B904  (MicroPython warns of "from")
        data[:16] = head
        at = 16
        while at < size:
            n = f.readinto(data[at:])
            if not n:
                raise ValueError(f"truncated: {at} of {size} bytes")
            at += n
        if f.read(1):
            raise ValueError("trailing bytes behind the model")
    return data


def _sections(data):
    """Slices of the file by section kind; checks everything about the file's layout."""
    if len(data) < 16:
        raise ValueError("truncated: shorter than the header")
    size = _check_head(bytes(data[:16]))
    if len(data) < size:
        raise ValueError(f"truncated: {len(data)} of {size} bytes")
    if len(data) > size:
        raise ValueError("trailing bytes behind the model")
    if crc32(data[16:]) != u32(data, 12):
        raise ValueError("checksum is wrong: the file is damaged, copy it again")
    count, kind_before, sections = u16(data, 6), 0, {}
    at = 16 + 8 * count
    if at > size:
        raise ValueError(f"section table of {count} entries reaches past the end")
    for i in range(16, at, 8):
        kind, length = u32(data, i), u32(data, i + 4)
        if not _METADATA <= kind <= _SLOTS:
            raise ValueError(f"section kind {kind} is not known")
        if kind <= kind_before:
            raise ValueError(f"sections overlap or are out of order: {_NAMES[kind]}")
        if length > size - at:
            raise ValueError(f"{_NAMES[kind]}: {length} bytes reach past the end of the file")
        sections[kind], kind_before = data[at : at + length], kind
        at += length
        while at & 3:
            if at >= size or data[at]:
                raise ValueError(f"{_NAMES[kind]}: padding is missing or not zero")
            at += 1
    if at != size:
        raise ValueError(f"sections end at byte {at}, the file has {size}")
    for kind in (_METADATA, _LABELS, _GRAPH, _GOLDEN):
        if kind not in sections:
            raise ValueError("section missing: " + _NAMES[kind])
    return sections


def _text(raw, what):
    try:
        return str(raw, "utf-8")
    except ValueError:  # UnicodeError is one
        raise ValueError(what + ": not UTF-8")  # noqa: B904  (MicroPython warns of "from")


def _metadata(raw):
    if len(raw) > 4096:
        raise ValueError(f"metadata: {len(raw)} bytes, allowed are 4096")
    lines, out = _text(raw, "metadata").split("\n"), {}
    if lines.pop():
        raise ValueError("metadata: the last line is not ended")
    for line in lines:
        i = line.find("=")
        key = line[:i] if i > 0 else ""
        if not key or key in out or any(not ("a" <= c <= "z" or "0" <= c <= "9" or c == "_") for c in key):
            raise ValueError(f"metadata: line '{line}' is not a new key=value")
        out[key] = line[i + 1 :]
    if "name" not in out:
        raise ValueError("metadata: no line name=...")
    return out


def _labels(raw, text=False):
    """(labels, thresholds) of the labels section; files of text may hold one threshold for all."""
    count = u16(raw, 0) if len(raw) >= 4 else 0
    stored = 1 if count and text and u16(raw, 2) == 1 else count
    if not 1 <= count <= 512 or u16(raw, 2) > text or len(raw) < 4 + 4 * stored + 2 * count:
        raise ValueError(f"labels: {count} labels in {len(raw)} bytes")
    thresholds, labels, at = [i32(raw, 4 + 4 * (i % stored)) for i in range(count)], [], 4 + 4 * stored
    for i in range(count):
        n = raw[at] if at < len(raw) else 0
        if n == 0 or at + 1 + n > len(raw):
            raise ValueError(f"labels: label {i} is empty or reaches past the section")
        labels.append(_text(raw[at + 1 : at + 1 + n], "labels"))
        at += 1 + n
    if at != len(raw) or len(set(labels)) != count:
        raise ValueError("labels: bytes behind the last label, or two labels alike")
    return labels, thresholds
