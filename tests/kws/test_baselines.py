"""The networks that ours are compared with: their published sizes, that they learn, and that int8 is integer arithmetic."""

import numpy as np
import pytest
import torch
from torch import nn

from kws.baselines import BcResNet1, DsCnn, Int8DsCnn, IntegerConv, SubSpectralNorm, cosines, train_baseline
from kws.cli import load_preset
from kws.data import load_folder
from kws.train import Data, answers
from tests.kws.tones import TINY, write_tones


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("tones")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNWAVE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return Data.prepare(load_folder(write_tones(root)), load_preset("s", TINY), None)


@pytest.mark.parametrize(("network", "parameters"), [(DsCnn, 23_180), (BcResNet1, 9_232)])
def test_sizes_for_twelve_labels_are_the_published_ones(network, parameters):
    net = network(12)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.zeros(2, 50, 40, dtype=torch.int8)).shape == (2, 12)


@pytest.mark.parametrize("name", ["ds-cnn", "bc-resnet-1"])
def test_they_learn_tones_and_go_on_where_they_stopped(name, data, tmp_path):
    config = load_preset("s", [*TINY, "float_epochs=10"])
    net = train_baseline(name, data, tmp_path / name, config)
    assert data.accuracy(net) >= 75
    again = train_baseline(name, data, tmp_path / name, config)  # finished: at once
    assert torch.equal(answers(net, data.val_features), answers(again, data.val_features))
    if name == "ds-cnn":
        integers = Int8DsCnn(net, torch.from_numpy(data.train.sample(64)))
        features = torch.from_numpy(data.train.sample(36))
        assert (integers.answers(features) == answers(net, features)).float().mean() >= 0.9
        assert all(conv.weight.abs().max() <= 127 and (conv.weight % 1 == 0).all() for conv in integers.convs)


def test_an_integer_convolution_is_exact_and_close_to_the_real_one():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    scale_in, zero, scale_out = 0.05, -20, 0.02
    x = torch.randint(-128, 128, (2, 3, 6, 5))
    with torch.no_grad():
        integer = IntegerConv(conv, norm, scale_in, zero, scale_out)
        found = integer(x)
        wanted = norm(conv((x - zero) * scale_in)).relu() / scale_out - 128
    assert (found - wanted.clamp(-128, 127)).abs().max() <= 2
    # The same by whole numbers alone, in the order of the definition.
    weight, bias = integer.weight.numpy().astype(np.int64), integer.bias.numpy().astype(np.int64).ravel()
    padded = np.pad(x.numpy() - zero, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for c in range(4):
        total = (weight[c] * padded[1, :, 2:5, 3:6]).sum() + bias[c]
        mult, shift = int(integer.mult[c]), int(integer.shift[c])
        assert found[1, c, 2, 3] == min(127, max(-128, (int(total) * mult + (1 << shift - 1) >> shift) - 128))


def test_cepstra_are_an_orthonormal_cosine_transform():
    table = cosines(40, 10)
    table[:, 0] /= 2**0.5  # the first column alone is longer by that
    assert torch.allclose(table.T @ table, torch.eye(10), atol=1e-5)


def test_sub_spectral_norm_treats_its_bands_apart():
    norm = SubSpectralNorm(2, groups=5)
    x = torch.randn(8, 2, 10, 7) * torch.arange(1, 11).view(1, 1, 10, 1)
    y = norm(x)
    for band in range(5):
        part = y[:, :, 2 * band : 2 * band + 2]
        assert torch.allclose(part.mean((0, 2, 3)), torch.zeros(2), atol=1e-5)
        assert torch.allclose(part.var((0, 2, 3), unbiased=False), torch.ones(2), atol=1e-3)
