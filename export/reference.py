"""The meaning of every operation, in NumPy, written to be read (FORMAT.md, sections 3 and 4).

    frames = log_mel(samples, front_end)      # (frame, band) i8
    y = run(ops, frames)                      # (frame, channel), the result after every frame
    y = run(ops, [text.rows("lights on")])    # (text, label) of a graph that begins with bag_1b

Slow by intent. All arithmetic is int64 on values that FORMAT.md keeps within 32 bits, so nothing here can wrap unseen.
"""

from collections.abc import Sequence

import numpy as np

from export.graph import (
    MAX_HITS,
    Bag1b,
    Conv1b,
    ConvI4,
    DenseI4,
    DenseI8,
    Operation,
    SumWindow,
    unpack_bits,
    unpack_gains,
    unpack_i4,
    unpack_outputs,
)

FFT = 512


def sat16(v: np.ndarray) -> np.ndarray:
    return np.clip(v, -32768, 32767)


def run(ops: list[Operation], frames: np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
    """Run a graph over frames (frame, channel) from its initial state; returns (frame, channel) of the last operation's type.

    Where it begins with bag_1b, frames are texts: of each the numbers of its rows, at most 512.
    """
    if isinstance(ops[0], Bag1b):
        x = _bag_1b(ops[0], frames)
    else:
        x = np.asarray(frames).astype(np.int64)
        if x.ndim != 2 or x.shape[1] != ops[0].cin:
            raise ValueError(f"the graph reads frames of {ops[0].cin} channels, not an array of shape {x.shape}")
    for op in ops[isinstance(ops[0], Bag1b) :]:
        x = _RUN[type(op)](op, x)
    return x.astype({"i16": np.int16, "i32": np.int32}[ops[-1].gives])


def _tapped(x: np.ndarray, op: Operation, before: np.ndarray | int) -> np.ndarray:
    """(frame, tap, channel): what each tap reads, with `before` (channel,) in the place of frames that have not been."""
    past = np.broadcast_to(before, (op.span - 1, x.shape[1])).astype(x.dtype)
    padded = np.concatenate([past, x])
    return np.stack([padded[op.span - 1 - j * op.dilation :][: len(x)] for j in range(op.taps)], axis=1)


def _conv_i4(op: ConvI4, x: np.ndarray) -> np.ndarray:
    acc = np.einsum("ftc,otc->fo", _tapped(x + 128, op, 0), unpack_i4(op.weight, op.cout).astype(np.int64))
    t = sat16((acc + op.bias) >> op.shift_a)
    return sat16((t * op.mult) >> op.shift_b)


def _conv_1b(op: Conv1b, x: np.ndarray) -> np.ndarray:
    flip = unpack_bits(op.flip, op.cin).astype(np.int64)
    bits = _tapped((x >= op.threshold) ^ flip, op, flip)
    n = np.einsum("ftc,tco->fo", bits, unpack_outputs(op.weight, op.cout).astype(np.int64))
    s = 4 * n - 2 * bits.sum((1, 2))[:, None]
    a = sat16((s * op.mult + op.bias) >> op.shift_a)
    a = np.where(a >= 0, a, (a * op.slope) >> 8)
    return sat16(x + a if op.shortcut else a)


def _dense_i8(op: DenseI8, x: np.ndarray) -> np.ndarray:
    return sat16((_hidden(op, x) @ op.weight.T.astype(np.int64) + op.out_bias) >> op.shift_b)


def _dense_i4(op: DenseI4, x: np.ndarray) -> np.ndarray:
    return _hidden(op, x) @ unpack_i4(op.weight, op.cout)[:, 0].T.astype(np.int64) + op.out_bias


def _hidden(op: DenseI8 | DenseI4, x: np.ndarray) -> np.ndarray:
    return np.clip((x * op.mult + op.bias) >> op.shift_a, 0, 127)


def _sum_window(op: SumWindow, x: np.ndarray) -> np.ndarray:
    total = np.cumsum(x, axis=0)
    total[op.taps :] -= total[: -op.taps].copy()
    return total


def _bag_1b(op: Bag1b, texts: Sequence[Sequence[int]]) -> np.ndarray:
    signs = 2 * unpack_bits(op.weight, op.cout).astype(np.int64) - 1
    rows = signs << unpack_gains(op.gain, op.cin)[:, None].astype(np.int64)
    if any(len(text) > MAX_HITS or not all(0 <= row < op.cin for row in text) for text in texts):
        raise ValueError(f"a text has at most {MAX_HITS} rows, numbers from 0 to {op.cin - 1}")
    return np.array([rows[np.asarray(text, np.int64)].sum(0) for text in texts], np.int64).reshape(-1, op.cout)


_RUN = {ConvI4: _conv_i4, Conv1b: _conv_1b, DenseI8: _dense_i8, SumWindow: _sum_window, DenseI4: _dense_i4}


def golden_input(op: Operation, seed: int, frames: int) -> np.ndarray:
    """Frames (frame, channel) of xorshift32 noise for a graph that begins with `op` (FORMAT.md, section 5; Marsaglia, 2003)."""
    shift, offset, dtype = (24, 128, np.int8) if op.reads == "i8" else (16, 32768, np.int16)
    out = np.empty(frames * op.cin, dtype)
    for i in range(len(out)):
        seed ^= seed << 13 & 0xFFFFFFFF
        seed ^= seed >> 17
        seed ^= seed << 5 & 0xFFFFFFFF
        out[i] = (seed >> shift) - offset
    return out.reshape(frames, op.cin)


# The front end


def _quarter() -> np.ndarray:
    z = np.arange(129, dtype=np.int64) << 8
    q = (z * z) >> 15
    acc = 25738 - (((10589 - (((1309 - ((74 * q) >> 15)) * q) >> 15)) * q) >> 15)
    return (acc * z) >> 15


_rise = _quarter()
SINE = np.concatenate([_rise, _rise[-2::-1], -_rise[1:], -_rise[-2:0:-1]])  # (512,) 2^14 sin(pi i / 256)
COSINE = np.roll(SINE, -128)
WINDOW = 16384 - COSINE  # (512,) Q15


def _rotate(re: np.ndarray, im: np.ndarray, t: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """((re + j im) * exp(-j pi t / 256)) >> (shift - 14)."""
    c, n = COSINE[t % 512], SINE[t % 512]
    return (re * c + im * n) >> shift, (im * c - re * n) >> shift


def _minus_j(a: np.ndarray) -> np.ndarray:
    return np.stack([a[1], -a[0]])


def _radix4(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> list[np.ndarray]:
    """DFT of four points, each (re and im, ...)."""
    e0, e1, e2, e3 = a + c, a - c, b + d, _minus_j(b - d)
    return [e0 + e2, e1 + e3, e0 - e2, e1 - e3]


def _radix8(x: np.ndarray) -> list[np.ndarray]:
    """DFT of eight points (point, re and im, ...); the root of 1/2 is 11585 / 2^14."""
    even, odd = x[:4] + x[4:], x[:4] - x[4:]
    x0, x2, x4, x6 = _radix4(*even)
    f, g = odd[1] - odd[3], _minus_j(odd[1] + odd[3])
    p, q = ((f + g) * 11585) >> 14, ((g - f) * 11585) >> 14
    o0, o1 = odd[0] + _minus_j(odd[2]), odd[0] - _minus_j(odd[2])
    return [x0 + 4, o0 + p, x2, o1 + q, x4, o0 - p, x6, o1 - q]


def _fft256(re: np.ndarray, im: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FFT of (frame, 256) with the fixed shifts of FORMAT.md; returns parts in natural order."""
    z = np.stack([re, im])
    for radix, h, before, shift in ((4, 64, 14, 16), (8, 8, 0, 16), (8, 1, 0, 14)):
        x = z.reshape(2, len(re), -1, radix, h).transpose(3, 0, 1, 2, 4)
        y = _radix4(*x) if radix == 4 else _radix8(x)
        order = range(1 - radix // 2, radix // 2 + 1)  # -1 to 2, -3 to 4
        turn = 512 // (radix * h) * np.arange(h)
        turned = np.stack([_rotate(*(y[d % radix] >> before), d * turn, shift) for d in order])
        z = turned.transpose(1, 2, 3, 0, 4).reshape(z.shape)
    j = np.arange(256) + 109
    place = (j & 3) << 6 | (j >> 2 & 7) << 3 | (j >> 5 & 7)
    return z[0][:, place], z[1][:, place]


def power_spectrum(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps 1 to 5: windows (frame, 513) of samples -> (power (frame, 257) with zeros at the ends, exponent (frame,))."""
    y = 32768 * windows[:, 1:] - 31744 * windows[:, :-1]
    m = np.bitwise_or.reduce(y ^ (y >> 31), axis=1)
    b = np.array([max(int(v).bit_length() - 12, 0) for v in m])
    u = (y >> b[:, None]) * WINDOW
    zr, zi = _fft256(u[:, 0::2], u[:, 1::2])
    k = np.arange(1, 129)
    pr, pi, qr, qi = zr[:, k], zi[:, k], zr[:, 256 - k], zi[:, 256 - k]
    er, ei = (pr + qr) >> 2, (pi - qi) >> 2
    wr, wi = _rotate(pi + qi, qr - pr, k, 16)
    power = np.zeros((len(windows), 257), np.int64)
    power[:, 256 - k] = (er - wr) ** 2 + (ei - wi) ** 2
    power[:, k] = (er + wr) ** 2 + (ei + wi) ** 2
    return power, 2 * b - 24


def mel_shares(front_end) -> tuple[np.ndarray, np.ndarray]:
    """For bins 0..256: the segment j (-1 where none) and the share in sixteenths that goes to band j."""
    edges = np.asarray(front_end.edges, np.int64)
    k16 = 16 * np.arange(257)
    j = np.searchsorted(edges, k16, side="right") - 1
    j[(k16 < edges[0]) | (k16 >= edges[-1])] = -1
    return j, np.where(j < 0, 0, (k16 - edges[j]) * 16 // np.maximum(1, edges[np.minimum(j + 1, len(edges) - 1)] - edges[j]))


def log_mel(samples: np.ndarray, front_end) -> np.ndarray:
    """Integer log-mel (frame, band) i8 of samples (sample,) i16 from the initial state; part of a hop at the end is dropped."""
    x = np.asarray(samples)
    if x.dtype != np.int16 or x.ndim != 1:
        raise ValueError(f"samples must be a one-dimensional int16 array, not {x.dtype} of shape {x.shape}")
    hop, frames = front_end.hop, len(x) // front_end.hop
    padded = np.concatenate([np.zeros(513 - hop, np.int64), x[: frames * hop].astype(np.int64)])
    if not frames:
        return np.empty((0, front_end.bands), np.int8)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 513)[::hop]
    power, exponent = power_spectrum(windows)
    energy = np.zeros((frames, front_end.bands), np.int64)
    segment, part = mel_shares(front_end)
    for k in range(1, 256):
        j, g = segment[k], (power[:, k] >> 4) * part[k]
        if 0 <= j < front_end.bands:
            energy[:, j] += g
        if j >= 1:
            energy[:, j - 1] += power[:, k] - g
    silent = ~windows.any(axis=1, keepdims=True)
    return np.where(silent, -128, _logarithm(energy | 1, exponent, front_end.offset)).astype(np.int8)


def _logarithm(energy: np.ndarray, exponent: np.ndarray, offset: int) -> np.ndarray:
    n = np.frexp(energy.astype(float))[1].astype(np.int64) - 1  # exact below 2^53
    f = (energy << (31 - n)) >> 23 & 255
    log = 256 * n + f + ((f * (256 - f) * 22) >> 14) + 256 * exponent[:, None]
    return np.clip((log + offset) >> 5, -128, 127)
