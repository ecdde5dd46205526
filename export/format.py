"""The packed `.swm` file: everything a board needs to run one network. FORMAT.md is the specification.

write(Model(metadata, labels, thresholds, front_end, ops), "yes_no.swm")
write(Model(metadata, labels, thresholds, None, ops, GoldenText.of(text, ops, "lights on"), text), "lights.swm")
model = read("yes_no.swm")
"""

import os
import re
import struct
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export import reference
from export.graph import Bag1b, FormatError, Operation, decode_graph, encode_graph
from export.text import Text

MAGIC, VERSION = b"SWM\x1a", 2
MAX_FILE, MAX_LABELS, MAX_LABEL_BYTES, MAX_METADATA, MAX_SLOTS = 1 << 20, 512, 255, 4096, 1 << 14
METADATA, LABELS, FRONT_END, GRAPH, GOLDEN, TEXT, SLOTS = 1, 2, 3, 4, 5, 6, 7
_NAMES = {METADATA: "metadata", LABELS: "labels", FRONT_END: "front end", GRAPH: "graph", GOLDEN: "golden", TEXT: "text",
          SLOTS: "slots"}  # fmt: skip
UNKNOWN = "_unknown_"  # the label of texts that no other is meant for
_HEADER = struct.Struct("<4sHHII")


@dataclass
class FrontEnd:
    """Parameters of the integer log-mel front end (FORMAT.md, 2.3 and 4). Edges in 1/16 FFT bin; offset in 1/256 octave."""

    edges: list[int]
    hop: int = 320
    rate_hz: int = 16000
    offset: int = -5120

    @property
    def bands(self) -> int:
        return len(self.edges) - 2

    @property
    def frames_per_second(self) -> float:
        return self.rate_hz / self.hop

    def encode(self) -> bytes:
        """The section's bytes. Raises FormatError where a parameter is out of range."""
        self._check()
        raw = struct.pack("<HHIHh", 1, self.hop, self.rate_hz, self.bands, self.offset)
        return raw + np.asarray(self.edges, "<u2").tobytes()

    @classmethod
    def decode(cls, data: bytes) -> "FrontEnd":
        if len(data) < 12:
            raise FormatError(f"front end: section of {len(data)} bytes, at least 12 are needed")
        identity, hop, rate_hz, bands, offset = struct.unpack_from("<HHIHh", data)
        if identity != 1:
            raise FormatError(f"front end: identity {identity} is not known; update signwave or export the model again")
        if len(data) != 12 + 2 * (bands + 2):
            raise FormatError(f"front end: section of {len(data)} bytes, {bands} bands need {12 + 2 * (bands + 2)}")
        out = cls(np.frombuffer(data, "<u2", bands + 2, 12).tolist(), hop, rate_hz, offset)
        out._check()
        return out

    def _check(self) -> None:
        if not 4 <= self.bands <= 64 or self.bands % 4:
            raise FormatError(f"front end: {self.bands} bands, allowed are multiples of 4 from 4 to 64")
        if not 32 <= self.hop <= 512 or self.hop % 2:
            raise FormatError(f"front end: a hop of {self.hop} samples, allowed are even numbers from 32 to 512")
        if not 1 <= self.rate_hz < 1 << 32 or not -32768 <= self.offset <= 32767:
            raise FormatError(f"front end: rate {self.rate_hz} or offset {self.offset} is out of range")
        if self.edges[0] < 16 or self.edges[-1] > 4080 or min(np.diff(self.edges)) < 16:
            raise FormatError("front end: band edges must rise from 16 to 4080 in steps of at least 16")


@dataclass
class Golden:
    """A stored self-test: the graph's last result (label,) after `frames` frames of seeded noise (FORMAT.md, 5)."""

    seed: int
    frames: int
    result: list[int]

    @classmethod
    def of(cls, ops: list[Operation], seed: int = 0x5EED, frames: int = 64) -> "Golden":
        frames_in = reference.golden_input(ops[0], seed, frames)
        return cls(seed, frames, reference.run(ops, frames_in)[-1].tolist())


@dataclass
class GoldenText:
    """A text file's self-test: a text of at most 256 bytes and the CRC-32 of its result, i32 by i32 (FORMAT.md, 5)."""

    text: str
    crc: int

    @classmethod
    def of(cls, reader: Text, ops: list[Operation], text: str) -> "GoldenText":
        """The test by a text, best one like those of training: what hits no rows tests little."""
        return cls(text, cls.crc_of(reference.run(ops, [reader.rows(text)])[0]))

    @staticmethod
    def crc_of(result: np.ndarray) -> int:
        """CRC-32 of a result i32 (label,)."""
        return zlib.crc32(np.asarray(result).astype("<i4").tobytes())


@dataclass
class Model:
    """The contents of one file. `thresholds`: least margins, of text sureties, one a label (FORMAT.md, 2.2).

    Either `front_end` or `text` says what the graph reads, or neither. `slots`: bytes of that section (text files alone).
    """

    metadata: dict[str, str]
    labels: list[str]
    thresholds: list[int]
    front_end: FrontEnd | None
    ops: list[Operation]
    golden: Golden | GoldenText = field(default=None)
    text: Text | None = None
    slots: bytes = b""

    def __post_init__(self):
        if self.golden is None and self.text is None:
            self.golden = Golden.of(self.ops)
        if isinstance(self.golden, GoldenText) != (self.text is not None):
            raise FormatError("golden: a file of text is tested with a text (GoldenText), any other with noise")

    def reading(self) -> Text:
        """How the file reads text. Raises FormatError where it hears sound."""
        if self.text is None:
            raise FormatError(f"model {self.metadata['name']!r} hears sound: it does not read text")
        return self.text

    def listening(self) -> FrontEnd:
        """The front end. Raises FormatError where the model reads features and cannot listen to sound."""
        if self.front_end is None:
            kind = "features" if self.text is None else "text"
            raise FormatError(f"model {self.metadata['name']!r} has no front end: it reads {kind}, not sound")
        return self.front_end


def decide(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top label and margin of integer results (..., label) as FORMAT.md 2.2 defines them."""
    scores = np.asarray(scores, np.int64)
    top = scores.argmax(-1)
    if scores.shape[-1] == 1:
        return top, np.zeros_like(top)
    two = np.partition(scores, -2, axis=-1)[..., -2:]
    return top, two[..., 1] - two[..., 0]


def surety(scores: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """How surely a text is for any of the labels, from its integer results (..., label): FORMAT.md 2.2.

    How far the best label leads `_unknown_` and the mean of all. The greatest logit tells more of the scope than its lead over
    the next does, as Hendrycks et al. (2022) found of images.
    """
    scores, unknown = np.asarray(scores, np.int64), np.array([label == UNKNOWN for label in labels])
    lead = scores[..., ~unknown].max(-1, initial=np.iinfo(np.int32).min)
    if unknown.any():
        lead = 2 * lead - scores[..., unknown][..., 0]
    return len(labels) * lead - scores.sum(-1)


def encode(model: Model) -> bytes:
    """The file's bytes. Raises FormatError where the format cannot hold the model."""
    labels = _encode_labels(model.labels, model.thresholds, model.text is not None)
    sections = {METADATA: _encode_metadata(model.metadata), LABELS: labels, GRAPH: encode_graph(model.ops),
                GOLDEN: _encode_golden(model.golden)}  # fmt: skip
    if model.front_end is not None:
        sections[FRONT_END] = model.front_end.encode()
    if model.text is not None:
        sections[TEXT] = model.text.encode()
    if model.slots:
        sections[SLOTS] = model.slots
    sections = dict(sorted(sections.items()))
    body = b"".join(struct.pack("<II", kind, len(raw)) for kind, raw in sections.items())
    body += b"".join(raw + bytes(-len(raw) % 4) for raw in sections.values())
    size = _HEADER.size + len(body)
    if size > MAX_FILE:
        raise FormatError(f"the model would take {size} bytes, a file holds at most {MAX_FILE}")
    data = _HEADER.pack(MAGIC, VERSION, len(sections), size, zlib.crc32(body)) + body
    decode(data)  # what is written can be read
    return data


def decode(data: bytes) -> Model:
    """The model in a file's bytes. Raises FormatError on anything that FORMAT.md does not allow."""
    sections = _sections(data)
    metadata = _decode_metadata(sections[METADATA])
    text = Text.decode(sections[TEXT]) if TEXT in sections else None
    labels, thresholds = _decode_labels(sections[LABELS], text is not None)
    front_end = FrontEnd.decode(sections[FRONT_END]) if FRONT_END in sections else None
    ops, slots = decode_graph(sections[GRAPH]), sections.get(SLOTS, b"")
    _check_input(ops, front_end, text)
    if SLOTS in sections and (text is None or not 1 <= len(slots) <= MAX_SLOTS):
        raise FormatError(f"slots: {len(slots)} bytes; files of text alone have them, 1 to {MAX_SLOTS}")
    if ops[-1].gives != "i32" or ops[-1].cout != len(labels):
        raise FormatError(f"the graph gives {ops[-1].gives}[{ops[-1].cout}], the file has {len(labels)} labels")
    golden = _decode_golden(sections[GOLDEN], len(labels)) if text is None else _decode_golden_text(sections[GOLDEN])
    return Model(metadata, labels, thresholds, front_end, ops, golden, text, slots)


def _check_input(ops: list[Operation], front_end: FrontEnd | None, text: Text | None) -> None:
    first = ops[0]
    if front_end and text:
        raise FormatError("a file has a front end or a section text, not both")
    if front_end and (first.reads, first.cin) != ("i8", front_end.bands):
        raise FormatError(f"the graph reads {first.reads}[{first.cin}], the front end gives i8[{front_end.bands}]")
    if isinstance(first, Bag1b) != (text is not None):
        raise FormatError("a graph that begins with bag_1b and a section text need each other")
    if text and first.cin != len(text.keys):
        raise FormatError(f"the graph has {first.cin} rows, the dictionary {len(text.keys)} entries")


def write(model: Model, path: str | os.PathLike) -> int:
    """Write a model; returns its size in bytes. The file appears whole or not at all."""
    return write_atomically(path, encode(model))


def write_atomically(path: str | os.PathLike, data: bytes) -> int:
    """Write bytes to a temporary file beside `path` and rename it, so that a reader never sees a half of it.

    Returns the number of bytes; raises OSError naming `path`.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        with os.fdopen(handle, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        if temporary:
            os.unlink(temporary)
    return len(data)


def read(path: str | os.PathLike) -> Model:
    """Read a model file. Raises FormatError naming the file and the fault; OSError where it cannot be opened."""
    with open(path, "rb") as f:
        data = f.read(MAX_FILE + 1)
    try:
        return decode(data)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def _sections(data: bytes) -> dict[int, bytes]:
    if len(data) < _HEADER.size:
        raise FormatError(f"truncated: {len(data)} bytes are shorter than the header")
    magic, version, count, size, crc = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FormatError(f"not a signwave model: it begins with {magic.hex(' ')}, not {MAGIC.hex(' ')}")
    if version > VERSION:
        raise FormatError(f"format version {version} is newer than {VERSION}, which this signwave reads: update signwave")
    if version != VERSION:
        raise FormatError(f"format version {version} is older than {VERSION}, which this signwave reads: export the model again")
    if size > MAX_FILE or len(data) > MAX_FILE:
        raise FormatError(f"size {max(size, len(data))} is over the limit of {MAX_FILE} bytes")
    if len(data) < size:
        raise FormatError(f"truncated: {len(data)} of {size} bytes")
    if len(data) > size:
        raise FormatError(f"{len(data) - size} trailing bytes behind the model")
    if zlib.crc32(data[16:]) != crc:
        raise FormatError(f"checksum is {zlib.crc32(data[16:]):08x}, the header says {crc:08x}: the file is damaged")
    return _cut(data, count)


def _cut(data: bytes, count: int) -> dict[int, bytes]:
    at, sections, last = _HEADER.size + 8 * count, {}, 0
    if at > len(data):
        raise FormatError(f"section table of {count} entries reaches past the end")
    for i in range(count):
        kind, length = struct.unpack_from("<II", data, _HEADER.size + 8 * i)
        if kind not in _NAMES:
            raise FormatError(f"section kind {kind} is not known")
        if kind <= last:
            raise FormatError(f"sections overlap or are out of order: {_NAMES[kind]} after {_NAMES[last]}")
        if length > len(data) - at:
            raise FormatError(f"{_NAMES[kind]}: {length} bytes reach past the end of the file")
        sections[kind], last = data[at : at + length], kind
        if any(data[at + length : at + length + -length % 4]):
            raise FormatError(f"{_NAMES[kind]}: padding is not zero")
        at += length + -length % 4
    if at != len(data):
        raise FormatError(f"sections end at byte {at}, the file has {len(data)}")
    missing = {METADATA, LABELS, GRAPH, GOLDEN} - sections.keys()
    if missing:
        raise FormatError(f"section missing: {', '.join(_NAMES[k] for k in sorted(missing))}")
    return sections


def _encode_metadata(metadata: dict[str, str]) -> bytes:
    raw = "".join(f"{key}={value}\n" for key, value in metadata.items()).encode()
    _decode_metadata(raw)
    return raw


def _decode_metadata(raw: bytes) -> dict[str, str]:
    if len(raw) > MAX_METADATA:
        raise FormatError(f"metadata: {len(raw)} bytes, allowed are {MAX_METADATA}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"metadata: not UTF-8 ({error})") from None
    out = {}
    for line in text.split("\n")[:-1]:
        key, equals, value = line.partition("=")
        if not equals or not re.fullmatch("[a-z0-9_]+", key) or key in out:
            raise FormatError(f"metadata: line {line!r} is not a new key=value")
        out[key] = value
    if not text.endswith("\n") or "name" not in out:
        raise FormatError("metadata: no line name=..., or the last line is not ended")
    return out


def _encode_labels(labels: list[str], thresholds: list[int], is_text: bool) -> bytes:
    if len(labels) != len(thresholds):
        raise FormatError(f"labels: {len(thresholds)} thresholds for {len(labels)} labels")
    one = is_text and len(set(thresholds)) == 1
    stored = thresholds[:1] if one else thresholds
    out = [struct.pack(f"<HH{len(stored)}i", len(labels), one, *stored)]
    for label in labels:
        raw = label.encode()
        if not 1 <= len(raw) <= MAX_LABEL_BYTES:
            raise FormatError(f"labels: {label[:40]!r} takes {len(raw)} bytes, allowed are 1 to {MAX_LABEL_BYTES}")
        out.append(bytes([len(raw)]) + raw)
    return b"".join(out)


def _decode_labels(raw: bytes, is_text: bool) -> tuple[list[str], list[int]]:
    count, one = struct.unpack_from("<HH", raw) if len(raw) >= 4 else (0, 0)
    stored = 1 if one else count
    if not 1 <= count <= MAX_LABELS or one > is_text or len(raw) < 4 + 4 * stored + count:
        raise FormatError(f"labels: {count} labels in {len(raw)} bytes, allowed are 1 to {MAX_LABELS}")
    thresholds, at, labels = list(struct.unpack_from(f"<{stored}i", raw, 4)) * (count if one else 1), 4 + 4 * stored, []
    for i in range(count):
        length = raw[at] if at < len(raw) else 0
        if length == 0 or at + 1 + length > len(raw):
            raise FormatError(f"labels: label {i} is empty or reaches past the section")
        try:
            labels.append(raw[at + 1 : at + 1 + length].decode())
        except UnicodeDecodeError as error:
            raise FormatError(f"labels: label {i} is not UTF-8 ({error})") from None
        at += 1 + length
    if at != len(raw) or len(set(labels)) != count:
        raise FormatError("labels: bytes behind the last label, or two labels alike")
    return labels, thresholds


def _decode_golden(raw: bytes, labels: int) -> Golden:
    if len(raw) != 8 + 4 * labels:
        raise FormatError(f"golden: section of {len(raw)} bytes, {labels} labels need {8 + 4 * labels}")
    seed, frames, *result = struct.unpack(f"<II{labels}i", raw)
    if seed == 0 or not 1 <= frames <= 256:
        raise FormatError(f"golden: seed {seed} or {frames} frames out of range")
    return Golden(seed, frames, result)


def _encode_golden(golden: Golden | GoldenText) -> bytes:
    if isinstance(golden, Golden):
        return struct.pack(f"<II{len(golden.result)}i", golden.seed, golden.frames, *golden.result)
    raw = golden.text.encode("utf-8", "replace")
    return struct.pack("<III", 0, len(raw), golden.crc) + raw


def _decode_golden_text(raw: bytes) -> GoldenText:
    zero, length, crc = struct.unpack_from("<III", raw) if len(raw) >= 12 else (1, 0, 0)
    if zero or not 1 <= length <= 256 or len(raw) != 12 + length:
        raise FormatError(f"golden: {len(raw)} bytes; a text of 1 to 256 bytes follows three numbers, the first of which is 0")
    try:
        return GoldenText(raw[12:].decode(), crc)
    except UnicodeDecodeError as error:
        raise FormatError(f"golden: the text is not UTF-8 ({error})") from None
