"""Layers that can be trained with real numbers, binary activations, binary weights, or both.

    block = BinaryConv1d(128, 128, taps=3, dilation=2)     # (batch, 128, frame) -> (batch, 128, frame), causal
    set_precision(model, Precision.BINARY)                 # a stage of the training flips this; the parameters stay

In every precision a layer has the same parameters, so that a network learned with real numbers is the starting point
of its binary self. A binary weight is one sign and one scale an output channel: exactly two values a channel.
"""

import enum
import math
import warnings
from collections import deque
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn.binarize import hard_sign, make_estimator, sign_ste

LATENT_LIMIT = 1.5  # latent weights learn inside [-1.5, 1.5]: farther out a sign would hardly ever turn again
UNCLIPPED_STEPS = 100  # so many training steps without clip_latent are taken for an oversight


class Precision(enum.Enum):
    """Bits of weights (w) and activations (a) in the usual short form."""

    FLOAT = "32w32a"
    BINARY_ACTIVATIONS = "32w1a"
    BINARY_WEIGHTS = "1w32a"
    BINARY = "1w1a"

    @property
    def binary_weights(self) -> bool:
        return self in (Precision.BINARY_WEIGHTS, Precision.BINARY)

    @property
    def binary_activations(self) -> bool:
        return self in (Precision.BINARY_ACTIVATIONS, Precision.BINARY)


class UnclippedWeights(UserWarning):
    """Binary weights are being trained, and nobody clips the real numbers behind them."""


class BinaryLayer(nn.Module):
    """What all binary layers share: latent weights, their binary form, the precision in force.

    `weight` has one output channel at each index of dimension `channel_dim`.
    """

    channel_dim = 0

    def __init__(self, *shape: int) -> None:
        super().__init__()
        if min(shape) < 1:
            raise ValueError(f"{type(self).__name__}: sizes {shape} must all be at least 1")
        self.weight = nn.Parameter(torch.empty(shape))
        self.precision = Precision.FLOAT
        self._clipped = False
        self._unclipped_steps = 0

    @property
    def scale(self) -> Tensor:
        """Mean of |weight| over each output channel (Rastegari et al., 2016): the size of its binary weights, (cout,)."""
        others = [d for d in range(self.weight.dim()) if d != self.channel_dim]
        return self.weight.detach().abs().mean(others)

    def binary_weight(self) -> Tensor:
        """The signs alone, ±1 in the shape of `weight`, without gradient."""
        return hard_sign(self.weight.detach())

    def effective_weight(self) -> Tensor:
        """The weights that the present precision multiplies with, in the shape of `weight`, with gradient."""
        if not self.precision.binary_weights:
            return self.weight
        if self.training and not self._clipped:
            self._count_unclipped_step()
        # Dividing by the limit stretches the STE's window over the whole range that clipping leaves to a latent weight.
        # The scale is a constant here: batch norm, which follows, makes the loss blind to it.
        shape = [1] * self.weight.dim()
        shape[self.channel_dim] = -1
        return sign_ste(self.weight / LATENT_LIMIT) * self.scale.view(shape)

    def _count_unclipped_step(self) -> None:
        self._unclipped_steps += 1
        if self._unclipped_steps == UNCLIPPED_STEPS:
            warnings.warn(
                f"a binary layer has trained for {UNCLIPPED_STEPS} steps without clip_latent(model): latent weights that "
                f"drift beyond {LATENT_LIMIT} stop learning. Call clip_latent(model) after each optimizer step",
                UnclippedWeights,
                stacklevel=4,
            )


class ThresholdedLayer(BinaryLayer):
    """A binary layer whose inputs pass a learned threshold a channel first (`RSign`; Liu et al., 2020, ReActNet)."""

    def __init__(self, cin: int, estimator: str, *shape: int) -> None:
        super().__init__(*shape)
        self.threshold = nn.Parameter(torch.zeros(cin))
        self.estimator = make_estimator(estimator)

    def activate(self, x: Tensor, threshold: Tensor) -> Tensor:
        """sign(x - threshold), or with float activations the slope that stands behind the clipped STE."""
        shifted = x + -threshold  # not x - threshold, whose backward pass would negate a whole map before it sums
        return self.estimator(shifted) if self.precision.binary_activations else shifted.clamp(-1, 1)


class BinaryConv1d(ThresholdedLayer):
    """Causal dilated temporal convolution without bias: (batch, cin, frame) -> (batch, cout, frame).

    `weight` is (cout, cin, taps); tap 0 meets the newest frame, tap j the frame j * dilation before it. `threshold` is (cin,).
    Before the first frame lie zeros where activations are float, and -1 where they are binary.
    """

    def __init__(self, cin: int, cout: int, taps: int = 3, dilation: int = 1, estimator: str = "ste") -> None:
        super().__init__(cin, estimator, cout, cin, taps)
        if dilation < 1:
            raise ValueError(f"BinaryConv1d: dilation is {dilation}, it must be at least 1")
        self.cin, self.cout, self.taps, self.dilation = cin, cout, taps, dilation
        nn.init.kaiming_normal_(self.weight)

    @property
    def span(self) -> int:
        """Frames from the oldest that still counts to the newest."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def padding_value(self) -> float:
        return -1.0 if self.precision.binary_activations else 0.0

    def forward(self, x: Tensor) -> Tensor:
        bits = self.activate(x, self.threshold.view(-1, 1))
        bits = F.pad(bits, (self.span - 1, 0), value=self.padding_value)
        sums = F.conv1d(bits, self.effective_weight().flip(2), dilation=self.dilation)  # conv1d has the oldest tap first
        return sums.float()  # from bfloat16, where autocast has the convolution in it: the stream stays in float32

    def stream(self) -> "BinaryConv1dStream":
        """A twin that takes one frame at a time."""
        return BinaryConv1dStream(self)

    def extra_repr(self) -> str:
        return f"{self.cin}, {self.cout}, taps={self.taps}, dilation={self.dilation}, {self.precision.value}"


class BinaryConv1dStream:
    """The same convolution frame by frame; step by step it gives what the layer gives for the whole clip."""

    def __init__(self, layer: BinaryConv1d) -> None:
        self.layer = layer
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._ring: deque[Tensor] = deque(maxlen=self.layer.span)

    @torch.no_grad()
    def step(self, x: Tensor) -> Tensor:
        """One frame: (batch, cin) -> (batch, cout)."""
        layer = self.layer
        newest = layer.activate(x, layer.threshold)
        if not self._ring:
            self._ring.extend(torch.full_like(newest, layer.padding_value) for _ in range(layer.span))
        self._ring.appendleft(newest)  # the oldest drops out at the other end
        taps = torch.stack([self._ring[j * layer.dilation] for j in range(layer.taps)], 2)  # (batch, cin, tap)
        return taps.flatten(1) @ layer.effective_weight().flatten(1).T


class BinaryLinear(ThresholdedLayer):
    """Dense layer without bias: (..., cin) -> (..., cout); `weight` is (cout, cin), `threshold` (cin,)."""

    def __init__(self, cin: int, cout: int, estimator: str = "ste") -> None:
        super().__init__(cin, estimator, cout, cin)
        self.cin, self.cout = cin, cout
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.activate(x, self.threshold), self.effective_weight())

    def extra_repr(self) -> str:
        return f"{self.cin}, {self.cout}, {self.precision.value}"


class BinaryEmbeddingBag(BinaryLayer):
    """Sum of rows picked by index, as `nn.EmbeddingBag` in mode "sum"; binary rows are ±1 times one scale a column.

    `weight` is (entries, channels). Its inputs are indices, so that only the weights' precision matters.
    """

    channel_dim = 1

    def __init__(self, entries: int, channels: int) -> None:
        super().__init__(entries, channels)
        self.entries, self.channels = entries, channels
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, indices: Tensor, offsets: Tensor | None = None) -> Tensor:
        """(batch, n) indices, or (total,) with `offsets` (batch,) where each bag begins -> (batch, channels)."""
        return F.embedding_bag(indices, self.effective_weight(), offsets, mode="sum")

    def extra_repr(self) -> str:
        return f"{self.entries}, {self.channels}, {self.precision.value}"


class _ChannelPReLU(torch.autograd.Function):
    """`F.prelu` over (batch, channel, ...) with `slope` shaped to broadcast; its backward pass takes half the time on a CPU."""

    @staticmethod
    def forward(ctx, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return torch.addcmul(x, x.clamp(max=0), slope - 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        below = torch.ops.aten.hardtanh_backward(grad, x, -math.inf, 0.0)  # the gradient where x < 0
        return torch.addcmul(grad, below, slope - 1), (below * x).sum_to_size(slope.shape)


class RPReLU(nn.Module):
    """PReLU with a learned shift before and after, a channel: x -> prelu(x - gamma) + zeta (Liu et al., 2020, ReActNet).

    (batch, channel, ...) -> the same shape; `gamma`, `slope`, `zeta` are (channels,).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.zeta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *[1] * (x.dim() - 2))
        return _ChannelPReLU.apply(x + -self.gamma.view(shape), self.slope.view(shape)) + self.zeta.view(shape)

    def extra_repr(self) -> str:
        return str(self.gamma.numel())


def binary_layers(model: nn.Module) -> Iterator[BinaryLayer]:
    """The binary layers of a model, in the order in which it registered them."""
    return (module for module in model.modules() if isinstance(module, BinaryLayer))


def set_precision(model: nn.Module, precision: Precision) -> None:
    """Switch every binary layer of the model; parameters stay as they are."""
    for layer in binary_layers(model):
        layer.precision = precision


@torch.no_grad()
def clip_latent(model: nn.Module, limit: float = LATENT_LIMIT) -> None:
    """Clamp the latent weights of all binary layers into [-limit, limit], in place: call it after each optimizer step."""
    if not 0 < limit <= LATENT_LIMIT:
        raise ValueError(f"clip limit is {limit}: it must lie in (0, {LATENT_LIMIT}]")
    for layer in binary_layers(model):
        layer.weight.clamp_(-limit, limit)
        layer._clipped = True
