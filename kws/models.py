"""The student: a causal 1-bit temporal convolution network with int16 shortcuts, 4-bit stem and int8 head.

    net = KwsNet(KwsConfig(channels=128, blocks=8), labels=12)
    logits = net(features)                    # (batch, label) from int8 log-mel (batch, frame, band)
    ops = lower(net, features)                # the integer graph, scaled by what real features (batch, frame, band) do

Binary convolutions each inside a real-valued shortcut after Bi-Real Net (Liu et al., 2018), learned thresholds and
PReLUs after ReActNet (Liu et al., 2020), dilated causal body after WaveNet (van den Oord et al., 2016).
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn.fused import is_fusible, residual_block
from bnn.layers import BinaryConv1d, Precision, RPReLU, set_precision
from export.format import Model
from export.graph import FormatError, Operation, SumWindow
from export.lower import Stream, conv_1b, conv_i4, dense_i8, logit_unit, with_rare_bits
from kws.frontend import BANDS

INPUT_SCALE = 1 / 64  # int8 log-mel to about unit variance
MOST_SECONDS = 10  # of a clip
SILENCE = -128  # what the front end gives for digital silence, and what fills the past
HEAD_CEILING = 4.0  # where the head's clamped ReLU saturates: 127 on the board


@dataclass(frozen=True)
class KwsConfig:
    """Shape of a network. `window` is the frames whose results are averaged: 50 a second."""

    channels: int
    blocks: int
    taps: int = 3
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    stem_taps: int = 3
    window: int = 50
    estimator: str = "ste"
    dropout: float = 0.1
    pre_norm: bool = True  # the stream is normalized a channel before it becomes bits
    shortcut: bool = True  # round every binary convolution (Liu et al., 2018); these three off: the body of XNOR-Net
    rsign: bool = True  # learned thresholds, else zero
    rprelu: bool = True  # learned shifts and slopes behind each convolution, else none


def rounded_to_int4(weight: Tensor) -> Tensor:
    """Weights (cout, cin, tap) in 15 steps an output channel, as export rounds them; the gradient passes (Jacob, 2018)."""
    unit = weight.detach().abs().amax((1, 2), keepdim=True).clamp_min(1e-12) / 7
    return weight + ((weight / unit).round() * unit - weight).detach()


def normalized(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """norm(x) of a map (batch, channel, frame); on a CPU with channels innermost, as fused blocks have it, which is faster."""
    if x.device.type != "cpu":
        return norm(x)
    rows = x.transpose(1, 2)
    return norm(rows.flatten(0, 1)).view(rows.shape).transpose(1, 2)


class Block(nn.Module):
    """x + RPReLU(norm(binary convolution(pre_norm(x)))): (batch, channel, frame) to the same.

    RPReLUs give more than they take, so that the stream rises from block to block, and without `pre_norm` nine of ten bits are
    set in the last ones: they would say little, and most of the stream would lie outside the estimator's window.
    """

    def __init__(self, config: KwsConfig, dilation: int):
        super().__init__()
        c = config.channels
        self.shortcut = config.shortcut
        self.pre_norm = nn.BatchNorm1d(c, affine=False) if config.pre_norm else None
        self.conv = BinaryConv1d(c, c, config.taps, dilation, config.estimator)
        self.norm = nn.BatchNorm1d(c)
        self.act = RPReLU(c)
        self.conv.threshold.requires_grad_(config.rsign)
        if not config.rprelu:  # the identity, and it stays so
            nn.init.ones_(self.act.slope)
            self.act.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if is_fusible(x, self.conv):  # its maps have channels innermost: so do those of the next block
            layers = (self.pre_norm, self.conv, self.norm, self.act)
            return residual_block(x.transpose(1, 2), *layers, self.shortcut).transpose(1, 2)
        y = self.act(self.norm(self.conv(x if self.pre_norm is None else normalized(x, self.pre_norm))))
        return x + y if self.shortcut else y


class KwsNet(nn.Module):
    """Keyword network over int8 log-mel features (batch, frame, band)."""

    def __init__(self, config: KwsConfig, labels: int):
        super().__init__()
        self.config = config
        c = config.channels
        self.stem = nn.Conv1d(BANDS, c, config.stem_taps, bias=False)
        self.stem_norm = nn.BatchNorm1d(c)
        dilations = [config.dilations[i % len(config.dilations)] for i in range(config.blocks)]
        self.blocks = nn.ModuleList(Block(config, d) for d in dilations)
        self.head_norm = nn.BatchNorm1d(c)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(c, labels)

    def body(self, features: Tensor) -> list[Tensor]:
        """The residual stream (batch, channel, frame) behind the stem and behind each block."""
        x = features.transpose(1, 2).float() * INPUT_SCALE
        x = nn.functional.pad(x, (self.config.stem_taps - 1, 0), value=SILENCE * INPUT_SCALE)
        # Once bits follow, the stem learns in its 4 bits: what rounding turns over spreads from block to block.
        binary = self.blocks[0].conv.precision.binary_activations
        weight = rounded_to_int4(self.stem.weight) if binary else self.stem.weight
        taps = [normalized(nn.functional.conv1d(x, weight).float(), self.stem_norm)]
        for block in self.blocks:
            taps.append(block(taps[-1]))
        return taps

    def embed(self, stream: Tensor) -> Tensor:
        """What the head multiplies with, (batch, channel, frame), over the last `window` frames of the stream."""
        return self._embedding(stream)[..., -self.config.window :]

    def _embedding(self, stream: Tensor) -> Tensor:
        return normalized(stream, self.head_norm).clamp(0, HEAD_CEILING)

    def decisions(self, stream: Tensor) -> Tensor:
        """Logits (batch, position, label) of every window in the stream, as a device that listens decides frame by frame."""
        window = min(self.config.window, stream.shape[-1])
        return self.head(F.avg_pool1d(self._embedding(stream), window, stride=1).transpose(1, 2))

    def classify(self, stream: Tensor) -> Tensor:
        """Mean logits (batch, label) over the last `window` frames of the stream (batch, channel, frame)."""
        return self.head(self.dropout(self.embed(stream).mean(-1)))

    def forward(self, features: Tensor) -> Tensor:
        return self.classify(self.body(features)[-1])


@torch.no_grad()
def stream_peak(net: KwsNet, features: Tensor) -> float:
    """Greatest absolute value of the residual stream over some real clips (batch, frame, band): what sets its scale."""
    net.eval()
    return max(float(t.abs().max()) for t in net.body(features))


def lower(net: KwsNet, features: Tensor) -> list[Operation]:
    """The network as an integer graph, all binary whatever it learned in last; scales and stored bits chosen by some real
    clips (batch, frame, band)."""
    net = copy.deepcopy(net).eval()
    set_precision(net, Precision.BINARY)  # its stream is another than that of real numbers
    stream = Stream.for_peak(stream_peak(net, features), net.config.channels)
    ops = [conv_i4(net.stem, net.stem_norm, INPUT_SCALE, stream)]
    ops += [conv_1b(b.conv, b.norm, b.act, stream, b.shortcut, b.pre_norm) for b in net.blocks]
    ops.append(dense_i8(net.head_norm, net.head, HEAD_CEILING, stream))
    labels = net.head.out_features
    return with_rare_bits([*ops, SumWindow(labels, labels, net.config.window)], features.flatten(0, 1).numpy())


def metadata_of(net: KwsNet, ops: list[Operation], name: str, seconds: float) -> dict[str, str]:
    """What a file says of itself: its name, the length of its training clips, what one unit of its result is worth as a logit."""
    unit = logit_unit(net.head, HEAD_CEILING, ops[-2], net.config.window)
    return {"name": name, "task": "keyword", "seconds": f"{seconds:g}", "logit_unit": f"{unit:.6g}"}


def clip_seconds(model: Model) -> float:
    """Length of the clips that a file was trained on, as it says; 1 where it does not. Raises FormatError."""
    seconds = _said(model, "seconds", MOST_SECONDS)
    return 1.0 if seconds is None else seconds


def logits_of_one(model: Model) -> float | None:
    """What one unit of a file's scores is in logits, as it says; None where it does not. Raises FormatError."""
    return _said(model, "logit_unit", 1)


def _said(model: Model, key: str, most: float) -> float | None:
    if key not in model.metadata:
        return None
    said = model.metadata[key]
    try:
        value = float(said)
    except ValueError:
        value = math.nan
    if not 0 < value <= most:
        raise FormatError(f"the model file says {key} is {said!r}: it must be a number above 0 and up to {most}")
    return value
