"""The network of a text model: binary rows summed into counters, a few bits of each, 4-bit class rows.

    net = TextNet(rows=4000, channels=64, labels=64)
    logits = net(*bags.batch(texts))                          # (text, label)

Nearly all of its bytes are the binary rows; the last layer, as in XNOR-Net (Rastegari et al., 2016), is not binary: 1 bit a
counter and a class weight cost more than any other part of the quantization. What it computes is what bag_1b and dense_i4
do on a board (export/FORMAT.md, 3): `lower.py` reads the integers off.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn.binarize import sign_ste
from bnn.layers import LATENT_LIMIT, BinaryEmbeddingBag, Precision, set_precision

MAX_GAIN = 3  # a row counts 1, 2, 4 or 8 times
HIDDEN, WEIGHT = 127, 7  # the greatest integers of a hidden unit and of a class weight


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
    """Rows of a dictionary -> counters -> a ramp from -1 to 1 in 128 steps -> class weights in 15 steps -> logits.

    In these steps from the first training step on; rounding passes the gradient (Jacob et al., 2018).
    """

    def __init__(self, rows: int, channels: int, labels: int) -> None:
        super().__init__()
        self.channels = channels
        self.bag = CountingBag(rows, channels)
        self.slope = nn.Parameter(torch.full((channels,), 0.5))
        self.offset = nn.Parameter(torch.randn(channels) * 0.1)
        self.classes = nn.Parameter(torch.randn(labels, channels) * 0.5)
        self.scale = nn.Parameter(torch.tensor(16 / channels**0.5))  # what a class weight of 1 is worth
        self.bias = nn.Parameter(torch.zeros(labels))
        self.register_buffer("spread", torch.tensor(10.0))  # of the counters: slopes are in units of it
        set_precision(self, Precision.BINARY)

    @torch.no_grad()
    def begin_as(self, weight: Tensor, bias: Tensor) -> None:
        """Begin near a linear classifier, weight (row, label) and bias (label,), in place of nowhere.

        Of all products of so many channels its singular vectors are nearest to it (Eckart and Young, 1936). They are turned
        at random, so that no channel has more to say than another, and signs lose the same of each.
        """
        left, size, right = torch.linalg.svd(weight - weight.mean(1, keepdim=True), full_matrices=False)
        rank = min(len(size), self.channels)
        turn = torch.linalg.qr(torch.randn(self.channels, rank))[0].T * size[:rank, None].sqrt()
        rows, codes = left[:, :rank] @ turn, right[:rank].T @ turn
        length = rows.norm(dim=1, keepdim=True).clamp_min(1e-9)
        self.bag.weight.copy_((0.3 * rows / length * self.channels**0.5).clamp(-1, 1))
        self.bag.log_gain.copy_((length / length.median()).log2().add(0.8).clamp(0, MAX_GAIN)[:, 0])
        self.classes.copy_((0.5 * codes / codes.std().clamp_min(1e-9)).clamp(-LATENT_LIMIT, LATENT_LIMIT))
        self.bias.copy_(bias)

    def counters(self, indices: Tensor, offsets: Tensor) -> Tensor:
        """Whole numbers (text, channel)."""
        return self.bag(indices, offsets)

    def ramp(self) -> tuple[Tensor, Tensor]:
        """Hidden units are the whole numbers nearest to counter * slope + offset, clamped to 0..127: both, (channel,)."""
        return self.slope / self.spread * (HIDDEN / 2), (self.offset + 1) * (HIDDEN / 2)

    def class_rows(self) -> Tensor:
        """Whole numbers from -7 to 7 (label, channel)."""
        return _Round.apply((self.classes / LATENT_LIMIT).clamp(-1, 1) * WEIGHT)

    def forward(self, indices: Tensor, offsets: Tensor) -> Tensor:
        """Rows (row,) and where each text begins among them (text,) -> logits (text, label)."""
        y = self.counters(indices, offsets)
        if self.training:
            self.spread.mul_(0.99).add_(0.01 * y.detach().std())
        slope, offset = self.ramp()
        hidden = _Round.apply((y * slope + offset).clamp(0, HIDDEN)) * (2 / HIDDEN) - 1
        return F.linear(hidden, self.class_rows() * (LATENT_LIMIT / WEIGHT)) * self.scale + self.bias
