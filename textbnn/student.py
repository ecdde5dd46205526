"""The 1-bit network of a text model: binary rows summed into counters, thresholds, binary class rows.

    net = TextNet(rows=4000, channels=96, thresholds=3, labels=64)
    logits = net(*bags.batch(texts))                          # (text, label)

What it computes is what bag_1b and classes_1b do on a board (export/FORMAT.md, 3): `lower.py` reads the integers off.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn.binarize import hard_sign, sign_ste
from bnn.layers import LATENT_LIMIT, BinaryEmbeddingBag, BinaryLinear, Precision, set_precision

MAX_GAIN = 3  # a row counts 1, 2, 4 or 8 times


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


class CountingBag(BinaryEmbeddingBag):
    """A `BinaryEmbeddingBag` of integers: row i adds ±2^gain[i] to each of its counters, with a learned gain of 0 to 3."""

    def __init__(self, rows: int, channels: int) -> None:
        super().__init__(rows, channels)
        nn.init.normal_(self.weight, std=0.3)
        self.log_gain = nn.Parameter(torch.full((rows,), 0.5))

    def gain(self) -> Tensor:
        """Whole numbers 0 to 3 (row,), with the gradient of the number that was rounded."""
        return _Round.apply(self.log_gain.clamp(0, MAX_GAIN))

    def effective_weight(self) -> Tensor:
        if self.training and not self._clipped:
            self._count_unclipped_step()
        return sign_ste(self.weight / LATENT_LIMIT) * torch.exp2(self.gain())[:, None]


class TextNet(nn.Module):
    """Rows of a dictionary -> counters -> `thresholds` bits a counter -> logits; binary from the first step on.

    One threshold tells on which side of a value a counter is; several tell how far (thermometer code).
    """

    def __init__(self, rows: int, channels: int, thresholds: int, labels: int) -> None:
        super().__init__()
        self.channels, self.thresholds = channels, thresholds
        self.bag = CountingBag(rows, channels)
        self.classes = BinaryLinear(thresholds * channels, labels)
        nn.init.normal_(self.classes.weight, std=0.3)
        with torch.no_grad():
            steps = torch.linspace(-0.8, 0.8, thresholds) if thresholds > 1 else torch.zeros(1)
            self.classes.threshold.copy_(torch.randn(thresholds, channels).mul(0.1).add(steps[:, None]).flatten())
        self.label_scale = nn.Parameter(torch.ones(labels))
        self.bias = nn.Parameter(torch.zeros(labels))
        self.register_buffer("spread", torch.tensor(10.0))  # of the counters: thresholds are in units of it
        set_precision(self, Precision.BINARY)

    @torch.no_grad()
    def begin_as(self, weight: Tensor, bias: Tensor) -> None:
        """Begin near a linear classifier, weight (row, label) and bias (label,), in place of nowhere.

        Every label gets a random code, its class row; every feature the sum of the codes of its labels, weighted as there:
        products of random codes are close to those of what they stand for (Johnson and Lindenstrauss, 1984).
        """
        weight = weight - weight.mean(1, keepdim=True)
        codes = torch.randn(weight.shape[1], self.channels)
        rows, length = weight @ codes, weight.norm(dim=1)
        self.bag.weight.copy_((0.3 * rows / rows.abs().mean()).clamp(-1, 1))
        self.bag.log_gain.copy_((length / length.median().clamp_min(1e-9)).log2().add(0.8).clamp(0, MAX_GAIN))
        self.classes.weight.copy_((0.3 * codes).repeat(1, self.thresholds).clamp(-1, 1))
        self.bias.copy_(bias)

    def counters(self, indices: Tensor, offsets: Tensor) -> Tensor:
        """Whole numbers (text, channel)."""
        return self.bag(indices, offsets)

    def forward(self, indices: Tensor, offsets: Tensor) -> Tensor:
        """Rows (row,) and where each text begins among them (text,) -> logits (text, label)."""
        y = self.counters(indices, offsets)
        if self.training:
            self.spread.mul_(0.99).add_(0.01 * y.detach().std())
        bits = self.classes.activate((y / self.spread).repeat(1, self.thresholds), self.classes.threshold)
        return F.linear(bits, sign_ste(self.classes.weight / LATENT_LIMIT)) * self.scale() + self.bias

    def scale(self) -> Tensor:
        """What one agreeing bit is worth to each label (label,)."""
        return self.label_scale * (8 / (self.thresholds * self.channels) ** 0.5)

    def class_rows(self) -> Tensor:
        """±1 (label, threshold, channel)."""
        return hard_sign(self.classes.weight.detach()).view(-1, self.thresholds, self.channels)
