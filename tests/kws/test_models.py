from dataclasses import replace

import pytest
import torch

from bnn.layers import Precision, binary_layers, clip_latent, set_precision
from export.format import Model
from export.graph import FormatError, state_size
from export.reference import run
from kws.cli import load_preset
from kws.models import KwsConfig, KwsNet, clip_seconds, logits_of_one, lower

TINY = KwsConfig(channels=32, blocks=3, window=10)


def features(batch=4, frames=20, seed=0):
    return torch.randint(-128, 128, (batch, frames, 40), dtype=torch.int8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("precision", Precision)
def test_every_precision_gives_logits_and_gradients_to_all_parameters(precision):
    net = KwsNet(TINY, 5)
    set_precision(net, precision)
    logits = net(features())
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_the_network_is_causal():
    net = KwsNet(TINY, 5).eval()
    set_precision(net, Precision.BINARY)
    x = features(1)
    y = x.clone()
    y[:, 12:] = 0
    assert torch.equal(net.body(x)[-1][..., :12], net.body(y)[-1][..., :12])


def test_presets_have_the_sizes_they_are_known_for():
    for name, bits in (("s", 165_888), ("m", 393_216)):
        net = KwsNet(load_preset(name, []).model, 12)
        assert sum(layer.weight.numel() for layer in binary_layers(net)) == bits
        ops = lower(net, features(frames=50))
        assert state_size(ops) < 8 * 1024 - 4500  # what the front end leaves of 8 KiB


def test_graph_and_network_agree_on_random_clips():
    torch.manual_seed(0)
    net = KwsNet(TINY, 5)
    set_precision(net, Precision.BINARY)
    x = features(128)
    with torch.no_grad():
        for _ in range(20):
            net.train()(x)
    ops = lower(net, x)
    with torch.no_grad():
        decided = net.eval()(x).argmax(1)
    integer = torch.tensor([int(run(ops, clip.numpy())[-1].argmax()) for clip in x])
    assert (decided == integer).float().mean() >= 0.9


@pytest.mark.parametrize("off", ["pre_norm", "shortcut", "rsign", "rprelu"])
def test_graph_and_network_agree_without_a_part_of_the_block(off):
    torch.manual_seed(0)
    net = KwsNet(replace(TINY, **{off: False}), 5)
    set_precision(net, Precision.BINARY)
    x, labels = features(128), torch.arange(128) % 5
    for i, label in enumerate(labels):
        x[i, :, 8 * label : 8 * label + 8] = 100
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net.train()(x), labels).backward()
        optimizer.step()
        clip_latent(net)
    block = net.blocks[1]
    assert (block.pre_norm is None) == (off == "pre_norm")
    assert not block.conv.threshold.any() == (off == "rsign") and bool((block.act.slope == 1).all()) == (off == "rprelu")
    ops = lower(net, x)
    assert all(op.shortcut == (off != "shortcut") for op in ops[1:4])
    integer = torch.tensor([int(run(ops, clip.numpy())[-1].argmax()) for clip in x])
    assert (integer == labels).float().mean() >= 0.95 and (net.eval()(x).argmax(1) == integer).float().mean() >= 0.95


def test_what_a_file_says_of_its_clips_and_scores_is_checked():
    ops = lower(KwsNet(TINY, 1), features())

    def saying(**metadata):
        return Model(metadata, ["a"], [0], None, ops)

    assert clip_seconds(saying(seconds="1.4")) == 1.4 and clip_seconds(saying()) == 1
    assert logits_of_one(saying(logit_unit="1e-3")) == 0.001 and logits_of_one(saying()) is None
    for nonsense in ("", "abc", "nan", "0", "-1", "inf", "1e9"):
        with pytest.raises(FormatError, match="seconds is"):
            clip_seconds(saying(seconds=nonsense))
        with pytest.raises(FormatError, match="logit_unit is"):
            logits_of_one(saying(logit_unit=nonsense))
