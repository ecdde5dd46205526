"""The integer graph against the network in PyTorch that it was made from."""

import numpy as np
import pytest
import torch
from torch import nn

from bnn.layers import BinaryConv1d, Precision, RPReLU, set_precision
from export.graph import Conv1b, SumWindow, unpack_bits
from export.lower import Stream, conv_1b, conv_i4, dense_i8, flipped, logit_unit, with_rare_bits
from export.reference import run

FRAMES = 24


def rounded(weight):
    unit = weight.abs().amax((1, 2), keepdim=True) / 7
    return (weight / unit).round() * unit


class Net(nn.Module):
    """Stem, two residual binary blocks, head: all that lowering knows, with parameters as training leaves them."""

    def __init__(self, channels=32, labels=5):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv1d(8, channels, 3, bias=False), nn.BatchNorm1d(channels)
        self.convs = nn.ModuleList(BinaryConv1d(channels, channels, 3, d) for d in (1, 4))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(2))
        self.acts = nn.ModuleList(RPReLU(channels) for _ in range(2))
        self.head_norm, self.head = nn.BatchNorm1d(channels), nn.Linear(channels, labels)
        for p in self.parameters():
            if p.dim() == 1:
                nn.init.normal_(p, p.mean().item(), 0.3)

    def forward(self, features):  # (batch, frame, band) int8 -> stream, logits a frame
        x = nn.functional.pad(features.transpose(1, 2).float() / 64, (2, 0), value=-2.0)
        x = self.stem_norm(nn.functional.conv1d(x, rounded(self.stem.weight)))
        for conv, norm, act in zip(self.convs, self.norms, self.acts, strict=True):
            x = x + act(norm(conv(x)))
        return x, self.head(self.head_norm(x).clamp(0, 4).transpose(1, 2))


@pytest.fixture(params=range(3))
def net(request):
    torch.manual_seed(request.param)
    net = Net()
    set_precision(net, Precision.BINARY)
    with torch.no_grad():
        for _ in range(30):
            net.train()(torch.randint(-128, 128, (16, FRAMES, 8), dtype=torch.int8))
    return net.eval()


def lowered(net, frames):
    peak = float(net(frames[None])[0].abs().max())
    stream = Stream.for_peak(peak, 32)
    ops = [conv_i4(net.stem, net.stem_norm, 1 / 64, stream)]
    ops += [conv_1b(*parts, stream) for parts in zip(net.convs, net.norms, net.acts, strict=True)]
    return [*ops, dense_i8(net.head_norm, net.head, 4.0, stream)], stream


@torch.no_grad()
def test_each_layer_follows_pytorch(net):
    frames = torch.randint(-128, 128, (FRAMES, 8), dtype=torch.int8)
    ops, stream = lowered(net, frames)
    real_stream, real_logits = (v[0].numpy() for v in net(frames[None]))
    integers = run(ops[:3], frames.numpy()).astype(float)
    error = integers / stream.scale + stream.offset - real_stream.T
    assert np.median(abs(error)) < 0.01  # a bit that turned over a rounding moves single channels farther
    logits = run(ops, frames.numpy()) * logit_unit(net.head, 4.0, ops[-1], 1)
    assert np.corrcoef(logits.ravel(), real_logits.ravel())[0, 1] > 0.99


@torch.no_grad()
def test_the_graph_uses_its_resolution_and_does_not_saturate(net):
    frames = torch.randint(-128, 128, (FRAMES, 8), dtype=torch.int8)
    ops, _ = lowered(net, frames)
    for i in range(1, 4):
        assert 2000 < abs(run(ops[:i], frames.numpy()).astype(int)).max() < 32767
    assert all(1 << 14 <= abs(np.asarray(op.mult).astype(int)).max() <= 32767 for op in ops)


@torch.no_grad()
def test_window_of_the_graph_is_a_mean_of_logits(net):
    frames = torch.randint(-128, 128, (FRAMES, 8), dtype=torch.int8)
    ops, _ = lowered(net, frames)
    total = run([*ops, SumWindow(5, 5, 10)], frames.numpy())[-1]
    mean = net(frames[None])[1][0, -10:].mean(0).numpy()
    assert abs(total * logit_unit(net.head, 4.0, ops[-1], 10) - mean).max() < 0.15 * abs(mean).max() + 0.05


def test_a_network_whose_scales_ran_away_is_refused(net):
    net.norms[0].weight.data.fill_(1e9)
    with pytest.raises(ValueError, match="does not fit 16 bits"):
        conv_1b(net.convs[0], net.norms[0], net.acts[0], Stream(1024.0, np.zeros(32)))


@torch.no_grad()
def test_rarer_bits_give_the_same_results(net):
    frames = torch.randint(-128, 128, (FRAMES, 8), dtype=torch.int8).numpy()
    ops, _ = lowered(net, torch.from_numpy(frames))
    rare = with_rare_bits(ops, frames)
    assert any(unpack_bits(op.flip, op.cin).any() for op in rare if isinstance(op, Conv1b))
    for last in range(1, len(ops) + 1):
        np.testing.assert_array_equal(run(rare[:last], frames), run(ops[:last], frames))
    for i, op in enumerate(rare):
        if isinstance(op, Conv1b):
            bits = (run(rare[:i], frames) >= op.threshold) ^ unpack_bits(op.flip, op.cin).astype(bool)
            assert bits.mean(0).max() <= 0.5


def test_flipping_twice_is_nothing_done(net):
    op = conv_1b(net.convs[0], net.norms[0], net.acts[0], Stream(64.0, np.zeros(32)))
    channels = np.arange(32) % 3 == 0
    assert flipped(op, channels) != op and flipped(flipped(op, channels), channels) == op
