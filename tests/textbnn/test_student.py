"""The student as a network and as integers: the same decisions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn.layers import clip_latent
from export import reference
from export.graph import encode_graph, unpack_gains, unpack_outputs
from textbnn.lower import LOGIT_UNIT, lower
from textbnn.student import TextNet


def network(seed: int, rows: int = 40, channels: int = 33, thresholds: int = 3, labels: int = 7) -> TextNet:
    torch.manual_seed(seed)
    net = TextNet(rows, channels, thresholds, labels)
    with torch.no_grad():
        net.bag.log_gain.uniform_(-0.5, 3.5)
        net.label_scale.uniform_(0.2, 2)
        net.bias.normal_()
        net.spread.fill_(6.5)
    return net.eval()


def bag(texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = [0, *(len(text) for text in texts[:-1])]
    return torch.tensor([row for text in texts for row in text], dtype=torch.long), torch.tensor(np.cumsum(sizes))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 70),
       st.lists(st.lists(st.integers(0, 39), max_size=60), min_size=1, max_size=5))  # fmt: skip
def test_the_integer_graph_gives_the_logits_of_the_network(seed, thresholds, channels, texts):
    net = network(seed, channels=channels, thresholds=thresholds)
    ops = lower(net)
    encode_graph(ops)
    with torch.no_grad():
        wanted = net(*bag(texts)).numpy()
    found = reference.run(ops, texts) / LOGIT_UNIT
    # One unit for the two roundings, and what rounding the factor of each label leaves of its sum of bits.
    slack = 2 / LOGIT_UNIT + np.abs(wanted).max() / 2**12
    # A counter that lies on a threshold up to the last bit of a float may fall to either side.
    y = net.counters(*bag(texts)) / net.spread
    near = ((y.repeat(1, thresholds) - net.classes.threshold).abs() < 1e-5).any(1).numpy()
    np.testing.assert_allclose(found[~near], wanted[~near], atol=slack)


def test_counters_are_whole_and_those_of_the_file():
    net = network(3)
    texts = [[0, 1, 1, 39], [], [5] * 30]
    signs = 2 * unpack_outputs(lower(net)[0].weight, 33).astype(int) - 1
    rows = signs << unpack_gains(lower(net)[0].gain, 40).astype(int)[:, None]
    np.testing.assert_array_equal(net.counters(*bag(texts)).detach().numpy(), [rows[text].sum(0) for text in texts])


def test_gains_rows_thresholds_and_class_rows_all_learn():
    net = network(1).train()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(3):
        loss = net(*bag([[0, 1, 2, 3], [3, 4], [5, 6, 7, 8, 9]])).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clip_latent(net)
    assert all(not torch.equal(p, before[name]) for name, p in net.named_parameters())


@pytest.mark.parametrize("gain", [-1.0, 0.4, 0.6, 3.4, 9.0])
def test_a_gain_is_a_power_of_two_up_to_eight(gain):
    net = network(0)
    with torch.no_grad():
        net.bag.log_gain.fill_(gain)
    sizes = net.bag.effective_weight().detach().abs().unique()
    assert sizes.tolist() == [2.0 ** min(max(round(gain), 0), 3)]


def test_a_network_begins_close_to_a_linear_classifier():
    torch.manual_seed(0)
    weight = torch.nn.functional.one_hot(torch.arange(40) % 7, 7).float()
    net = TextNet(40, 128, 3, 7)
    net.begin_as(weight, torch.zeros(7))
    texts = [[i, i + 7, i + 14] for i in range(20)]
    assert net.eval()(*bag(texts)).argmax(1).tolist() == [i % 7 for i in range(20)]
