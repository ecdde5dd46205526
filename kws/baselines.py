"""Known small networks on our features, for comparison: DS-CNN with int8 arithmetic, BC-ResNet-1 in real numbers.

    net = train_baseline("ds-cnn", data, "runs/ds-cnn", config)       # data: kws.train.Data
    answers = Int8DsCnn(net, calibration)(features)                   # (clip, label) int64, integer arithmetic throughout

Both take (batch, frame, band) int8 log-mel, as our networks do.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn.config import to_dict
from bnn.layers import Precision
from bnn.stages import Stage
from bnn.training import fit
from kws.batches import Batches
from kws.frontend import BANDS
from kws.losses import StudentLoss
from kws.models import INPUT_SCALE

CEPSTRA = 10


class DsCnn(nn.Module):
    """Depthwise separable CNN (Zhang et al., 2017) in the shape of MLPerf Tiny (Banbury et al., 2021): 23,180 parameters.

    Its ten cepstra a frame are the cosine transform of our log-mel bands.
    """

    def __init__(self, labels: int, channels: int = 64, blocks: int = 4) -> None:
        super().__init__()
        self.register_buffer("cosines", cosines(BANDS, CEPSTRA), persistent=False)
        c, layers = channels, [nn.Conv2d(1, channels, (10, 4), (2, 2), (4, 1), bias=False)]
        for _ in range(blocks):
            layers += [nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False), nn.Conv2d(c, c, 1, bias=False)]
        self.convs = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for _ in layers)
        self.head = nn.Linear(c, labels)

    def cepstra(self, features: Tensor) -> Tensor:
        """(batch, frame, band) int8 to (batch, 1, frame, cepstrum)."""
        return (features.float() * INPUT_SCALE @ self.cosines)[:, None]

    def forward(self, features: Tensor) -> Tensor:
        x = self.cepstra(features)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.relu(norm(conv(x)))
            if i == 0:
                x = F.dropout(x, 0.2, self.training)
        return self.head(F.dropout(x.mean((2, 3)), 0.4, self.training))


def cosines(bands: int, count: int) -> Tensor:
    """The first `count` columns of the orthonormal cosine transform, (bands, count)."""
    at = math.pi / bands * (torch.arange(bands) + 0.5)
    return torch.cos(at[:, None] * torch.arange(count)) * math.sqrt(2 / bands)


class IntegerConv:
    """A convolution in integers: int8 weights with a scale an output channel, int8 activations with a zero point (Jacob et al.,
    2018). It is computed in float64, where sums of integers this small are exact."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, scale_in: float, zero_in: int, scale_out: float) -> None:
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = (conv.weight * gain.view(-1, 1, 1, 1)).double()
        unit = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127
        self.weight = (weight / unit.view(-1, 1, 1, 1)).round()
        self.bias = ((norm.bias - norm.running_mean * gain).double() / (unit * scale_in)).round().view(-1, 1, 1)
        self.zero_in, self.conv = zero_in, conv
        rescale = unit * scale_in / scale_out  # as a 31-bit multiplier and a shift, a channel
        self.shift = (30 - rescale.log2().floor()).long().view(-1, 1, 1)
        self.mult = (rescale * 2.0 ** self.shift.flatten()).round().long().view(-1, 1, 1)

    def __call__(self, x: Tensor) -> Tensor:
        """int8 values (batch, cin, frame, bin) to those behind ReLU, in -128 (zero) to 127."""
        c = self.conv
        sums = F.conv2d((x - self.zero_in).double(), self.weight, None, c.stride, c.padding, 1, c.groups) + self.bias
        scaled = (sums.long() * self.mult + (1 << (self.shift - 1))) >> self.shift
        return (scaled - 128).clamp(-128, 127)


class Int8DsCnn:
    """DS-CNN quantized after training, as MLPerf Tiny's is: ranges are the extremes over `calibration` (clip, frame, band)."""

    @torch.no_grad()
    def __init__(self, net: DsCnn, calibration: Tensor) -> None:
        self.net = net.cpu().eval()
        x = net.cepstra(calibration)
        low, high = float(x.min()), float(x.max())
        self.scale = (high - low) / 255
        self.zero = round(-128 - low / self.scale)
        scale, zero, self.convs = self.scale, self.zero, []
        for conv, norm in zip(net.convs, net.norms, strict=True):
            x = F.relu(norm(conv(x)))
            peak = float(x.max()) / 255  # behind ReLU: 0 is -128
            self.convs.append(IntegerConv(conv, norm, scale, zero, peak))
            scale, zero = peak, -128
        weight = net.head.weight.double()
        unit = float(weight.abs().max()) / 127
        self.weight, self.bias = (weight / unit).round(), (net.head.bias.double() / (unit * scale)).round()

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Integer scores (batch, label), before any rounding to bytes, of features (batch, frame, band)."""
        x = (self.net.cepstra(features) / self.scale + self.zero).round().clamp(-128, 127).long()
        for conv in self.convs:
            x = conv(x)
        area = x.shape[2] * x.shape[3]
        pooled = (2 * (x + 128).sum((2, 3)) + area) // (2 * area)  # the rounded mean, counted from zero
        return (F.linear(pooled.double(), self.weight) + self.bias).long()

    def answers(self, features: Tensor, batch: int = 256) -> Tensor:
        """Decided labels (clip,)."""
        return torch.cat([self(part).argmax(1) for part in features.split(batch)])


class SubSpectralNorm(nn.Module):
    """Batch norm of each of five groups of neighbouring frequencies alone (Chang et al., 2021): (batch, channel, bin, frame)."""

    def __init__(self, channels: int, groups: int = 5) -> None:
        super().__init__()
        self.groups, self.norm = groups, nn.BatchNorm2d(channels * groups)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, bins, frames = x.shape
        grouped = x.reshape(batch, channels * self.groups, bins // self.groups, frames)
        return self.norm(grouped).reshape(x.shape)


class BroadcastedBlock(nn.Module):
    """A block of BC-ResNet: features by frequency, plus features of their mean over frequency, repeated for every bin."""

    def __init__(self, cin: int, cout: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.same = cin == cout  # else the shortcut is left out and a 1x1 convolution leads
        lead = nn.Conv2d(cin, cout, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()
        self.lead = nn.Identity() if self.same else nn.Sequential(*lead)
        by_bin = nn.Conv2d(cout, cout, (3, 1), (stride, 1), (1, 0), groups=cout, bias=False)
        self.by_bin = nn.Sequential(by_bin, SubSpectralNorm(cout))
        by_frame = nn.Conv2d(cout, cout, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=cout, bias=False)
        mixed = nn.Conv2d(cout, cout, 1, bias=False)
        self.by_frame = nn.Sequential(by_frame, nn.BatchNorm2d(cout), nn.SiLU(), mixed, nn.Dropout2d(0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.by_bin(self.lead(x))
        y = y + self.by_frame(y.mean(2, keepdim=True))
        return F.relu(x + y if self.same else y)


class BcResNet1(nn.Module):
    """Broadcasted residual network of the smallest width (Kim et al., 2021): 9,232 parameters, here on 50 frames a second."""

    STAGES = ((8, 2, 1, 1), (12, 2, 2, 2), (16, 4, 2, 4), (20, 4, 1, 8))  # channels, blocks, stride, dilation

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 5, (2, 1), 2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        blocks, cin = [], 16
        for channels, count, stride, dilation in self.STAGES:
            for i in range(count):
                blocks.append(BroadcastedBlock(cin, channels, stride if i == 0 else 1, dilation))
                cin = channels
        self.blocks = nn.Sequential(*blocks)
        wide = nn.Conv2d(20, 20, 5, padding=(0, 2), groups=20, bias=False)
        self.tail = nn.Sequential(wide, nn.Conv2d(20, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Linear(32, labels)

    def forward(self, features: Tensor) -> Tensor:
        x = (features.float() * INPUT_SCALE).transpose(1, 2)[:, None]  # (batch, 1, band, frame)
        return self.head(self.tail(self.blocks(self.stem(x))).mean((2, 3)))


NETWORKS = {"ds-cnn": DsCnn, "bc-resnet-1": BcResNet1}


def train_baseline(name: str, data, run_dir: str | Path, config) -> nn.Module:
    """Train a network of that name on labels alone, in one stage as long as all stages of `config` (kws.train.TrainConfig).

    `data` is a kws.train.Data. Interrupted, the same call goes on. Raises TrainingError.
    """
    epochs = sum(stage.epochs for stage in config.stages())
    torch.manual_seed(config.seed)
    net = NETWORKS[name](len(data.labels))
    stages = [Stage("float", Precision.FLOAT, epochs, config.learning_rate, config.weight_decay)]
    batches = Batches(data.train.features, data.targets, config, extra=data.extra)
    settings = {**to_dict(config), "network": name, "labels": data.labels, "features": data.train.digest, "extra": data.extra}
    fit(net, stages, batches, data.accuracy, run_dir, loss=StudentLoss(config, False), seed=config.seed, config=settings)
    return net.cpu().eval()
