"""Trained layers -> integer operations: batch norm, scales, thresholds and offsets folded into integers a channel.

    stream = Stream.for_peak(peak, channels)
    ops = [conv_i4(stem, norm, 1 / 64, stream), conv_1b(conv, norm, act, stream), dense_i8(norm, linear, 4.0, stream)]
    ops = with_rare_bits(ops, frames)

Folding batch norm into integer multiply, add and shift after Jacob et al., 2018. Knows layers, no task.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from bnn.layers import BinaryConv1d, RPReLU
from export import native
from export.graph import (
    MAX_BIAS,
    MAX_SHIFT,
    Conv1b,
    ConvI4,
    DenseI8,
    Operation,
    encode_graph,
    pack_bits,
    pack_i4,
    pack_outputs,
    unpack_outputs,
)


@dataclass
class Stream:
    """The int16 residual stream: integer = (real - offset) * scale, with a scale for all and an offset a channel.

    Offsets collect what layers would add to a channel for good (the stem's batch norm, RPReLU's zeta): nobody adds it
    on the board, thresholds and head know it.
    """

    scale: float
    offset: np.ndarray

    @classmethod
    def for_peak(cls, peak: float, channels: int) -> "Stream":
        """The finest power-of-two scale with half as much room again as the greatest value seen."""
        return cls(2.0 ** math.floor(math.log2(32767 / (1.5 * max(peak, 1e-3)))), np.zeros(channels))


def conv_i4(conv: nn.Conv1d, norm: nn.BatchNorm1d, input_scale: float, stream: Stream) -> ConvI4:
    """Stem: convolution without bias over int8 inputs worth `input_scale` each, then batch norm; weights in 15 steps."""
    weight = _numpy(conv.weight)[:, :, ::-1].transpose(0, 2, 1)  # (cout, tap, cin), newest first
    unit = np.maximum(np.abs(weight).max(axis=(1, 2)), 1e-12) / 7
    integers = np.round(weight / unit[:, None, None]).astype(np.int64)
    gain, add = _affine(norm)
    stream.offset = add  # real output = gain * accumulator + add
    reach = np.abs(integers).sum(axis=(1, 2)).max() * 128
    shift_a = max(0, math.ceil(math.log2(max(reach, 1) / 32767)))
    mult, shift_b = multiplier(gain * unit * input_scale * stream.scale * 2.0**shift_a)
    # Inputs count from silence, -128; and the shift rounds down: half a unit makes it round.
    bias = (1 << shift_a >> 1) - 128 * integers.sum(axis=(1, 2))
    cout, taps, cin = weight.shape
    return ConvI4(cin, cout, taps, conv.dilation[0], shift_a, shift_b, False, mult, bias, pack_i4(integers))


def conv_1b(
    conv: BinaryConv1d,
    norm: nn.BatchNorm1d,
    act: RPReLU,
    stream: Stream,
    shortcut: bool = True,
    pre_norm: nn.BatchNorm1d | None = None,
) -> Conv1b:
    """Binary convolution with its thresholds, batch norm, RPReLU and the shortcut around them; moves the stream's offset.

    `pre_norm`, without parameters, comes before the thresholds, which become what they are of the stream itself.
    """
    real = _numpy(conv.threshold)
    if pre_norm is not None:
        real = _numpy(pre_norm.running_mean) + real * np.sqrt(_numpy(pre_norm.running_var) + pre_norm.eps)
    threshold = np.ceil((real - stream.offset) * stream.scale)
    gain, add = _affine(norm)
    gain, add = gain * _numpy(conv.scale) * stream.scale, (add - _numpy(act.gamma)) * stream.scale
    mult, shift = multiplier(gain, add)
    bits = _numpy(conv.weight).transpose(2, 1, 0) >= 0  # (tap, cin, cout); tap 0 is the newest already
    rest = np.sum(1 - 2.0 * bits, axis=(0, 1))  # the dot product of +-1 is this, and what the graph counts of set bits
    bias = np.round(add * 2.0**shift + 2.0**shift / 2) + rest * mult
    slope = np.round(_numpy(act.slope) * 256)
    stream.offset = stream.offset * shortcut + _numpy(act.zeta)
    cout, cin, taps = conv.weight.shape
    flip, weight = pack_bits(np.zeros(cin)), pack_outputs(bits)
    return Conv1b(
        cin, cout, taps, conv.dilation, shift, 0, shortcut, _i16(threshold), flip, mult, _i16(slope), clip_bias(bias), weight
    )


def with_rare_bits(ops: list[Operation], frames: np.ndarray) -> list[Operation]:
    """The same graph with every channel's bit turned over that is set more often than not in `frames` (frame, channel).

    The results are the same; the kernels add up set bits alone, so the fewer there are the faster it runs.
    """
    graph, out = native.Graph(encode_graph(ops)), []
    for i, op in enumerate(ops):
        if isinstance(op, Conv1b):
            x = graph.run(frames, last=i) if i else frames
            op = flipped(op, (x >= op.threshold).mean(axis=0) > 0.5)
        out.append(op)
    return out


def flipped(op: Conv1b, channels: np.ndarray) -> Conv1b:
    """The same operation with the bits of these channels (cin,) bool turned over, in the ring and in the weights.

    Unchanged where the biases, which take up the difference, would leave their range.
    """
    bits = unpack_outputs(op.weight, op.cout).astype(bool) ^ channels[:, None]
    rest = (2 - 4 * bits[:, channels].astype(np.int64)).sum(axis=(0, 1))
    bias = op.bias + rest * op.mult.astype(np.int64)
    if np.abs(bias).max() >= MAX_BIAS:
        return op
    return replace(op, flip=op.flip ^ pack_bits(channels), weight=pack_outputs(bits), bias=bias.astype(np.int32))


def dense_i8(norm: nn.BatchNorm1d, linear: nn.Linear, ceiling: float, stream: Stream) -> DenseI8:
    """Head: batch norm, ReLU clamped at `ceiling`, dense layer with int8 weights."""
    gain, add = _affine(norm)
    add = (add + gain * stream.offset) * 127 / ceiling
    mult, shift_a = multiplier(gain * 127 / ceiling / stream.scale, add)
    bias = np.round(add * 2.0**shift_a + 2.0**shift_a / 2)
    weight, unit = quantize_head(linear)
    out_bias = np.round(_numpy(linear.bias) / (unit * ceiling / 127))
    reach = (np.abs(weight).sum(axis=1) * 127 + np.abs(out_bias)).max()
    shift_b = max(0, math.ceil(math.log2(reach / 32767)))
    cout, cin = weight.shape
    return DenseI8(cin, cout, 1, 1, shift_a, shift_b, False, mult, clip_bias(bias), clip_bias(out_bias), weight)


def quantize_head(linear: nn.Linear) -> tuple[np.ndarray, float]:
    """int8 weights (label, channel) and the real value of their unit, one for all labels so that scores compare."""
    weight = _numpy(linear.weight)
    unit = max(float(np.abs(weight).max()), 1e-12) / 127
    return np.round(weight / unit).astype(np.int8), unit


def logit_unit(linear: nn.Linear, ceiling: float, op: DenseI8, window: int) -> float:
    """What one unit of the graph's result (a sum over `window` frames) is worth as a mean logit."""
    return quantize_head(linear)[1] * ceiling / 127 * 2.0**op.shift_b / window


def _numpy(t: Tensor) -> np.ndarray:
    return t.detach().double().cpu().numpy()


def _affine(norm: nn.BatchNorm1d) -> tuple[np.ndarray, np.ndarray]:
    """Batch norm in evaluation as gain * x + add, a channel."""
    gain = _numpy(norm.weight) / np.sqrt(_numpy(norm.running_var) + norm.eps)
    return gain, _numpy(norm.bias) - gain * _numpy(norm.running_mean)


def multiplier(gain: np.ndarray, add: np.ndarray | float = 0.0) -> tuple[np.ndarray, int]:
    """int16 multipliers and the greatest shift at which they, and biases of `add`, stay in range."""
    shift = math.floor(math.log2(32767 / max(float(np.abs(gain).max()), 1e-9)))
    shift = min(shift, math.floor(math.log2((MAX_BIAS / 2) / max(float(np.abs(add).max()), 1e-9))), MAX_SHIFT)
    if shift < 0:
        raise ValueError(f"a gain of {np.abs(gain).max():.3g} does not fit 16 bits: the network's scales have run away")
    return _i16(np.round(gain * 2.0**shift)), shift


def _i16(v: np.ndarray) -> np.ndarray:
    return np.clip(v, -32768, 32767).astype(np.int16)


def clip_bias(v: np.ndarray) -> np.ndarray:
    return np.clip(v, 1 - MAX_BIAS, MAX_BIAS - 1).astype(np.int32)
