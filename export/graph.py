"""The integer graph: a chain of typed operations on packed bits and small integers (FORMAT.md, section 3).

ops = [ConvI4(...), Conv1b(...), DenseI8(...), SumWindow(...)]      # sound
ops = [Bag1b(...), DenseI4(...)]                                    # typed text
section = encode_graph(ops); assert decode_graph(section) == ops
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

MAX_OPS, MAX_CHANNELS, MAX_TAPS, MAX_DILATION, MAX_SPAN = 64, 512, 64, 64, 256
MAX_INPUTS, MAX_WINDOW, MAX_SHIFT, MAX_BIAS, MAX_STATE = 4096, 256, 24, 1 << 30, 65536
MAX_ENTRIES, MAX_HITS = 16384, 512
_HEADER = struct.Struct("<HHIHHHHBBH")


class FormatError(ValueError):
    """Bytes that are not a valid model, or a model that the format cannot hold; the message says where and why."""


@dataclass(eq=False)
class Operation:
    """What every operation has. Arrays are NumPy arrays in the types and shapes of FORMAT.md."""

    cin: int
    cout: int
    taps: int = 1
    dilation: int = 1
    shift_a: int = 0
    shift_b: int = 0
    shortcut: bool = False

    opcode = 0
    reads, gives = "", ""

    @property
    def span(self) -> int:
        """Frames in the ring: taps - 1 steps of the dilation, and the newest."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def state_bytes(self) -> int:
        """Bytes of state on the board, position included."""
        raise NotImplementedError

    @property
    def record_bytes(self) -> int:
        """Bytes of its record in a file."""
        return _HEADER.size + sum(_padded(math.prod(shape) * np.dtype(dtype).itemsize) for _, dtype, shape in self.arrays())

    def arrays(self) -> "list[tuple[str, str, tuple[int, ...]]]":
        """(field, little-endian dtype, shape) in file order."""
        return []

    def __eq__(self, other):
        return type(self) is type(other) and all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )


@dataclass(eq=False)
class ConvI4(Operation):
    """Temporal convolution with 4-bit weights over int8, the stem: i8[cin] -> i16[cout].

    weight (block, tap, quad, 8) u16 as `pack_i4` makes it, tap 0 newest.
    """

    mult: np.ndarray = None
    bias: np.ndarray = None
    weight: np.ndarray = None

    opcode, reads, gives, name = 1, "i8", "i16", "conv_i4"

    @property
    def state_bytes(self) -> int:
        return 4 + self.span * self.cin

    def arrays(self):
        return [("mult", "<i2", (self.cout,)), ("bias", "<i4", (self.cout,)),
                ("weight", "<u2", ((self.cout + 7) // 8, self.taps, self.cin // 4, 8))]  # fmt: skip


@dataclass(eq=False)
class Conv1b(Operation):
    """Binary temporal convolution behind thresholds, PReLU and shortcut after it: i16[cin] -> i16[cout].

    flip (word,) u32: channels whose bit is stored turned over. weight (tap, cin, block) u32 as `pack_outputs` makes it,
    tap 0 newest.
    """

    threshold: np.ndarray = None
    flip: np.ndarray = None
    mult: np.ndarray = None
    slope: np.ndarray = None
    bias: np.ndarray = None
    weight: np.ndarray = None

    opcode, reads, gives, name = 2, "i16", "i16", "conv_1b"

    @property
    def words(self) -> int:
        return (self.cin + 31) // 32

    @property
    def state_bytes(self) -> int:
        return 4 + self.span * self.words * 4

    def arrays(self):
        return [("threshold", "<i2", (self.cin,)), ("flip", "<u4", (self.words,)),
                ("mult", "<i2", (self.cout,)), ("slope", "<i2", (self.cout,)), ("bias", "<i4", (self.cout,)),
                ("weight", "<u4", (self.taps, self.cin, (self.cout + 31) // 32))]  # fmt: skip


@dataclass(eq=False)
class DenseI8(Operation):
    """int8 dense layer behind a clamped ReLU, the head: i16[cin] -> i16[cout]. weight (cout, cin)."""

    mult: np.ndarray = None
    bias: np.ndarray = None
    out_bias: np.ndarray = None
    weight: np.ndarray = None

    opcode, reads, gives, name = 3, "i16", "i16", "dense_i8"
    state_bytes = 0

    def arrays(self):
        return [("mult", "<i2", (self.cin,)), ("bias", "<i4", (self.cin,)),
                ("out_bias", "<i4", (self.cout,)), ("weight", "i1", (self.cout, self.cin))]  # fmt: skip


@dataclass(eq=False)
class SumWindow(Operation):
    """Sum of the last `taps` frames: i16[c] -> i32[c]."""

    opcode, reads, gives, name = 4, "i16", "i32", "sum_window"

    @property
    def state_bytes(self) -> int:
        return 4 + 4 * self.cin + _padded(2 * self.taps * self.cin)


@dataclass(eq=False)
class Bag1b(Operation):
    """Sum of the binary rows of a text's features, each doubled `gain` times: row numbers -> i16[cout]. cin rows.

    gain (cin / 4,) u8 as `pack_gains` makes it; weight (cin, cout / 16) u16 as `pack_bits` makes it.
    """

    gain: np.ndarray = None
    weight: np.ndarray = None

    opcode, reads, gives, name = 5, "rows", "i16", "bag_1b"
    state_bytes = 0

    def arrays(self):
        return [("gain", "u1", ((self.cin + 3) // 4,)), ("weight", "<u2", (self.cin, (self.cout + 15) // 16))]


@dataclass(eq=False)
class DenseI4(Operation):
    """Dense layer with 4-bit weights behind a clamped ReLU, the class rows of text: i16[cin] -> i32[cout].

    weight (block, 1, quad, 8) u16 as `pack_i4` makes it.
    """

    mult: np.ndarray = None
    bias: np.ndarray = None
    out_bias: np.ndarray = None
    weight: np.ndarray = None

    opcode, reads, gives, name = 7, "i16", "i32", "dense_i4"
    state_bytes = 0

    def arrays(self):
        return [("mult", "<i2", (self.cin,)), ("bias", "<i4", (self.cin,)), ("out_bias", "<i4", (self.cout,)),
                ("weight", "<u2", ((self.cout + 7) // 8, 1, self.cin // 4, 8))]  # fmt: skip


OPERATIONS = {op.opcode: op for op in (ConvI4, Conv1b, DenseI8, SumWindow, Bag1b, DenseI4)}


def _padded(n: int) -> int:
    return (n + 3) & ~3


def pack_bits(bits: np.ndarray, word: str = "<u4") -> np.ndarray:
    """Pack the last axis of zeros and ones into words, least significant bit first, padded with zeros."""
    bits = np.asarray(bits, bool)
    pad = -bits.shape[-1] % (8 * np.dtype(word).itemsize)
    bits = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, pad)])
    return np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little")).view(word)


def unpack_bits(words: np.ndarray, n: int) -> np.ndarray:
    """The inverse of `pack_bits`: the first n bits of the last axis as int8 0 or 1."""
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")
    return bits[..., :n].astype(np.int8)


def pack_outputs(bits: np.ndarray) -> np.ndarray:
    """Pack the last axis, outputs, into u32 words (..., block): output 4 i + k of 32 is bit 8 k + i.

    So the four bytes of a word count for four outputs that follow one another once counters are transposed (FORMAT.md, 3.2).
    """
    bits = np.asarray(bits, bool)
    bits = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, -bits.shape[-1] % 32)])
    return pack_bits(bits.reshape(*bits.shape[:-1], -1, 8, 4).swapaxes(-1, -2).reshape(bits.shape))


def unpack_outputs(words: np.ndarray, n: int) -> np.ndarray:
    """The inverse of `pack_outputs`: the first n outputs as int8 0 or 1."""
    bits = unpack_bits(words, 32 * words.shape[-1])
    return bits.reshape(*bits.shape[:-1], -1, 4, 8).swapaxes(-1, -2).reshape(bits.shape)[..., :n]


def pack_i4(weight: np.ndarray) -> np.ndarray:
    """Weights (output, tap, input) of -8 to 7 as u16 (block, tap, quad, 8): four inputs a number, eight outputs side by side."""
    cout, taps, cin = weight.shape
    fields = (np.asarray(weight).astype(np.int64) + 8).astype("<u2").reshape(cout, taps, cin // 4, 4)
    words = (fields << np.arange(0, 16, 4, dtype="<u2")).sum(-1, dtype="<u2")
    words = np.pad(words, [(0, -cout % 8), (0, 0), (0, 0)])
    return np.ascontiguousarray(words.reshape(-1, 8, taps, cin // 4).transpose(0, 2, 3, 1))


def unpack_i4(words: np.ndarray, cout: int) -> np.ndarray:
    """The inverse of `pack_i4`: int8 (cout, tap, input)."""
    blocks, taps, quads, _ = words.shape
    fields = words.transpose(0, 3, 1, 2)[..., None] >> np.arange(0, 16, 4, dtype=np.uint16) & 15
    return fields.reshape(8 * blocks, taps, 4 * quads)[:cout].astype(np.int8) - np.int8(8)


def pack_gains(gains: np.ndarray) -> np.ndarray:
    """Numbers of 0 to 3 as u8, four a byte, the first in the lowest bits."""
    padded = np.pad(np.asarray(gains).astype(np.uint8), (0, -len(gains) % 4)).reshape(-1, 4)
    return (padded << np.arange(0, 8, 2, dtype=np.uint8)).sum(-1, dtype=np.uint8)


def unpack_gains(packed: np.ndarray, n: int) -> np.ndarray:
    """The inverse of `pack_gains`: the first n as uint8."""
    return (packed[:, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3).reshape(-1)[:n]


def state_size(ops: list[Operation]) -> int:
    """Bytes of state that a graph needs on the board: texts leave none behind."""
    return 0 if isinstance(ops[0], Bag1b) else sum(op.state_bytes for op in ops)


def encode_graph(ops: list[Operation]) -> bytes:
    """The graph section. Raises FormatError where an operation or the chain is not valid."""
    check_graph(ops)
    out = [struct.pack("<I", len(ops))]
    for op in ops:
        body = b""
        for name, dtype, shape in op.arrays():
            raw = np.asarray(getattr(op, name)).astype(dtype).reshape(shape).tobytes()
            body += raw + bytes(-len(raw) % 4)
        out.append(_HEADER.pack(op.opcode, op.shortcut, _HEADER.size + len(body), op.cin, op.cout, op.taps,
                                op.dilation, op.shift_a, op.shift_b, 0) + body)  # fmt: skip
    return b"".join(out)


def decode_graph(data: bytes) -> list[Operation]:
    """Operations of a graph section. Raises FormatError on anything that FORMAT.md does not allow."""
    if len(data) < 4:
        raise FormatError(f"graph: section of {len(data)} bytes is shorter than its operation count")
    (count,) = struct.unpack_from("<I", data)
    if not 1 <= count <= MAX_OPS:
        raise FormatError(f"graph: {count} operations, allowed are 1 to {MAX_OPS}")
    ops, at = [], 4
    for i in range(count):
        op, at = _decode_operation(data, at, f"graph: operation {i}")
        ops.append(op)
    if at != len(data):
        raise FormatError(f"graph: {len(data) - at} bytes behind the last operation")
    check_graph(ops)
    return ops


def _decode_operation(data: bytes, at: int, where: str) -> tuple[Operation, int]:
    if len(data) - at < _HEADER.size:
        raise FormatError(f"{where}: truncated header")
    opcode, shortcut, length, cin, cout, taps, dilation, shift_a, shift_b, zero = _HEADER.unpack_from(data, at)
    if opcode not in OPERATIONS:
        raise FormatError(f"{where}: unknown operation {opcode}; another version of signwave may")
    if shortcut > 1 or zero:
        raise FormatError(f"{where}: reserved field is not zero")
    op = OPERATIONS[opcode](cin, cout, taps, dilation, shift_a, shift_b, bool(shortcut))
    where += f" ({op.name})"
    _check_shape(op, where)  # before any size is believed
    end, p = at + length, at + _HEADER.size
    if length != op.record_bytes:
        raise FormatError(f"{where}: record of {length} bytes, its shape needs {op.record_bytes}")
    if end > len(data):
        raise FormatError(f"{where}: record reaches {end - len(data)} bytes past the section")
    for name, dtype, shape in op.arrays():
        raw = int(np.prod(shape)) * np.dtype(dtype).itemsize
        setattr(op, name, np.frombuffer(data, dtype, int(np.prod(shape)), p).reshape(shape))
        if any(data[p + raw : p + _padded(raw)]):
            raise FormatError(f"{where}: padding behind {name} is not zero")
        p += _padded(raw)
    return op, end


def check_graph(ops: list[Operation]) -> None:
    """Raise FormatError unless every operation is valid and types and channels chain."""
    if not 1 <= len(ops) <= MAX_OPS:
        raise FormatError(f"graph: {len(ops)} operations, allowed are 1 to {MAX_OPS}")
    for i, op in enumerate(ops):
        where = f"graph: operation {i} ({op.name})"
        _check_shape(op, where)
        _check_values(op, where)
        if i and (ops[i - 1].gives, ops[i - 1].cout) != (op.reads, op.cin):
            before = ops[i - 1]
            raise FormatError(f"{where} reads {op.reads}[{op.cin}], but {before.name} gives {before.gives}[{before.cout}]")
    _check_text(ops)
    if state_size(ops) > MAX_STATE:
        raise FormatError(f"graph: needs {state_size(ops)} bytes of state, allowed are {MAX_STATE}")


def _check_text(ops: list[Operation]) -> None:
    """Graphs of typed text are bag_1b and dense_i4; no others have either."""
    kinds = [type(op) for op in ops]
    if {Bag1b, DenseI4} & set(kinds) and kinds != [Bag1b, DenseI4]:
        raise FormatError("graph: bag_1b and dense_i4 belong together, without others")


def _check_shape(op: Operation, where: str) -> None:
    limits = [("cin", 1, MAX_ENTRIES if isinstance(op, Bag1b) else MAX_CHANNELS), ("cout", 1, MAX_CHANNELS),
              ("dilation", 1, 1 if isinstance(op, (Bag1b, DenseI4)) else MAX_DILATION),
              ("taps", 1, {SumWindow: MAX_WINDOW, Bag1b: 1, DenseI4: 1}.get(type(op), MAX_TAPS)),
              ("span", 1, MAX_SPAN), ("shift_a", 0, 0 if isinstance(op, (SumWindow, Bag1b)) else MAX_SHIFT),
              ("shift_b", 0, MAX_SHIFT if isinstance(op, (ConvI4, DenseI8)) else 0)]  # fmt: skip
    for name, low, high in limits:
        if not low <= getattr(op, name) <= high:
            raise FormatError(f"{where}: {name} is {getattr(op, name)}, allowed are {low} to {high}")
    if not isinstance(op, (SumWindow, Bag1b)) and op.taps * op.cin > MAX_INPUTS:
        raise FormatError(f"{where}: {op.taps} taps x {op.cin} channels are more than {MAX_INPUTS} inputs")
    if op.shortcut and not (isinstance(op, Conv1b) and op.cin == op.cout):
        raise FormatError(f"{where}: a shortcut needs conv_1b with as many inputs as outputs")
    if isinstance(op, (ConvI4, DenseI8, DenseI4)) and op.cin % 4:
        raise FormatError(f"{where}: {op.cin} input channels are not a multiple of 4")
    if isinstance(op, DenseI8) and (op.taps, op.dilation) != (1, 1):
        raise FormatError(f"{where}: a dense layer has one tap and dilation 1")
    if isinstance(op, SumWindow) and (op.cin != op.cout or op.dilation != 1):
        raise FormatError(f"{where}: channels in and out differ, or dilation is not 1")


def _check_values(op: Operation, where: str) -> None:
    for name, dtype, shape in op.arrays():
        values = np.asarray(getattr(op, name))
        if values.shape != shape:
            raise FormatError(f"{where}: {name} has shape {values.shape}, expected {shape}")
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        if dtype == "<i4":
            low, high = 1 - MAX_BIAS, MAX_BIAS - 1
        if values.min() < low or values.max() > high:
            raise FormatError(f"{where}: {name} holds a value outside {low}..{high}")
    if isinstance(op, Conv1b):
        if unpack_bits(op.flip, 32 * op.words)[op.cin :].any() or _beyond(op, unpack_outputs, op.cout):
            raise FormatError(f"{where}: padding bits in flip or weights are not zero")
    if isinstance(op, Bag1b) and (int(op.gain[-1]) >> 2 * ((op.cin - 1) % 4 + 1) or _beyond(op, unpack_bits, op.cout)):
        raise FormatError(f"{where}: padding bits in gains or weights are not zero")
    if isinstance(op, (ConvI4, DenseI4)) and op.cout % 8 and np.any(op.weight[-1, ..., op.cout % 8 :]):
        raise FormatError(f"{where}: padding in the weights is not zero")


def _beyond(op: Operation, unpack: Callable, n: int) -> bool:
    """Whether a bit behind the first n of the weights' last words is set."""
    bits = 8 * op.weight.itemsize
    return bool(unpack(op.weight[..., -1:], bits)[..., (n - 1) % bits + 1 :].any())
