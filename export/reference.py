"""The meaning of every operation, in NumPy, written to be read (FORMAT.md, sections 3 and 4).

    frames = log_mel(samples, front_end)      # (frame, band) i8
    y = run(ops, frames)                      # (frame, channel), the result after every frame

Slow by intent. All arithmetic is int64 on values that FORMAT.md keeps within 32 bits, so nothing here can wrap unseen.
"""

import numpy as np

from export.graph import Conv1b, ConvI4, DenseI8, Operation, SumWindow, unpack_bits, unpack_i4, unpack_outputs

FFT = 512


def sat16(v: np.ndarray) -> np.ndarray:
    return np.clip(v, -32768, 32767)


def run(ops: list[Operation], frames: np.ndarray) -> np.ndarray:
    """Run a graph over frames (frame, channel) from its initial state; returns (frame, channel) of the last operation's type."""
    x = np.asarray(frames).astype(np.int64)
    if x.ndim != 2 or x.shape[1] != ops[0].cin:
        raise ValueError(f"the graph reads frames of {ops[0].cin} channels, not an array of shape {x.shape}")
    for op in ops:
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
    h = np.clip((x * op.mult + op.bias) >> op.shift_a, 0, 127)
    return sat16((h @ op.weight.T.astype(np.int64) + op.out_bias) >> op.shift_b)


def _sum_window(op: SumWindow, x: np.ndarray) -> np.ndarray:
    total = np.cumsum(x, axis=0)
    total[op.taps :] -= total[: -op.taps].copy()
    return total


_RUN = {ConvI4: _conv_i4, Conv1b: _conv_1b, DenseI8: _dense_i8, SumWindow: _sum_window}


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


def _sine() -> np.ndarray:
    z = np.arange(257, dtype=np.int64) << 7
    q = (z * z) >> 15
    acc = 25738 - (((10589 - (((1309 - ((74 * q) >> 15)) * q) >> 15)) * q) >> 15)
    return (acc * z) >> 15


SINE = _sine()
WINDOW = np.concatenate([SINE, SINE[255:0:-1]]) ** 2 >> 13  # (512,) Q15
_t = np.arange(768)
_COS = np.where(_t <= 256, SINE[abs(256 - _t) % 257], np.where(_t <= 512, -SINE[abs(_t - 256) % 257], -SINE[abs(768 - _t) % 257]))
_SIN = np.where(_t <= 256, SINE[_t % 257], np.where(_t <= 512, SINE[abs(512 - _t) % 257], -SINE[abs(_t - 512) % 257]))


def _rotate(re: np.ndarray, im: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(re + j im) * W(t), t in steps of pi / 512."""
    c, n = _COS[t], _SIN[t]
    return (re * c + im * n) >> 14, (im * c - re * n) >> 14


def _fft256(re: np.ndarray, im: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Block floating point FFT of (frame, 256); returns parts in natural order and each frame's sum of shifts - 4."""
    frames, extra = len(re), np.zeros(len(re), np.int64)
    for h in (64, 16, 4, 1):
        outside = np.any((re < -8192) | (re >= 8192) | (im < -8192) | (im >= 8192), axis=1)
        s = np.where(outside & (h != 64), 2, 1)
        extra += s - 1
        s = s[:, None, None]
        (ar, br, cr, dr), (ai, bi, ci, di) = (v.reshape(frames, -1, 4, h).transpose(2, 0, 1, 3) for v in (re, im))
        t0r, t0i, t1r, t1i = ar + cr, ai + ci, ar - cr, ai - ci
        t2r, t2i, t3r, t3i = br + dr, bi + di, bi - di, dr - br
        r = (256 // h) * np.arange(h)
        parts = [((t0r + t2r) >> s, (t0i + t2i) >> s)]
        for k, (xr, xi) in enumerate([(t1r + t3r, t1i + t3i), (t0r - t2r, t0i - t2i), (t1r - t3r, t1i - t3i)], 1):
            parts.append(_rotate(xr >> s, xi >> s, k * r))
        re, im = (np.stack([p[i] for p in parts], axis=2).reshape(frames, 256) for i in (0, 1))
    k = np.arange(256)
    natural = (k & 3) << 6 | (k >> 2 & 3) << 4 | (k >> 4 & 3) << 2 | k >> 6
    return re[:, natural], im[:, natural], extra


def power_spectrum(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps 1 to 5: windows (frame, 513) of samples -> (power (frame, 257) with zeros at the ends, exponent (frame,))."""
    y = 32 * windows[:, 1:] - 31 * windows[:, :-1]
    m = np.bitwise_or.reduce(y ^ (y >> 31), axis=1)
    b = np.array([int(v).bit_length() - 14 for v in m])
    v = np.where(b[:, None] >= 0, y >> np.maximum(b, 0)[:, None], y << np.maximum(-b, 0)[:, None])
    u = (v * WINDOW) >> 15
    zr, zi, extra = _fft256(u[:, 0::2], u[:, 1::2])
    k = np.arange(1, 129)
    pr, pi, qr, qi = zr[:, k], zi[:, k], zr[:, 256 - k], zi[:, 256 - k]
    er, ei = pr + qr, pi - qi
    wr, wi = _rotate(pi + qi, qr - pr, 2 * k)
    power = np.zeros((len(windows), 257), np.int64)
    power[:, 256 - k] = ((er - wr) >> 3) ** 2 + (-(ei - wi) >> 3) ** 2
    power[:, k] = ((er + wr) >> 3) ** 2 + ((ei + wi) >> 3) ** 2
    power[m == 0] = 0  # of the roundings of a window of 0 and -1
    return power, 2 * extra + 2 * b


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
        j, g = segment[k], (power[:, k] * part[k] & 0xFFFFFFFF) >> 4
        if 0 <= j < front_end.bands:
            energy[:, j] += g
        if j >= 1:
            energy[:, j - 1] += power[:, k] - g
    return _logarithm(energy & 0xFFFFFFFF, exponent, front_end.offset)


def _logarithm(energy: np.ndarray, exponent: np.ndarray, offset: int) -> np.ndarray:
    n = np.frexp(np.maximum(energy, 1).astype(float))[1].astype(np.int64) - 1  # exact below 2^53
    f = (energy << (31 - n)) >> 23 & 255
    log = 256 * n + f + ((f * (256 - f) * 22) >> 14) + 256 * exponent[:, None]
    return np.where(energy == 0, -128, np.clip((log + offset) >> 5, -128, 127)).astype(np.int8)
