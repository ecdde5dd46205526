"""The student as a network and as integers: the same decisions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn.layers import clip_latent
from export import reference
from export.graph import encode_graph, unpack_bits, unpack_gains
from textbnn.lower import logit_unit, lower
from textbnn.student import TextNet


def network(seed: int, rows: int = 40, channels: int = 36, labels: int = 7) -> TextNet:
    torch.manual_seed(seed)
    net = TextNet(rows, channels, labels)
    with torch.no_grad():
        net.bag.log_gain.uniform_(-0.5, 3.5)
        net.scale.uniform_(0.2, 3)
        net.slope.normal_()
        net.bias.normal_()
        net.spread.fill_(6.5)
    return net.eval()


def bag(texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = [0, *(len(text) for text in texts[:-1])]
    return torch.tensor([row for text in texts for row in text], dtype=torch.long), torch.tensor(np.cumsum(sizes))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 20), st.lists(st.lists(st.integers(0, 39), max_size=60), min_size=1, max_size=5))
def test_the_integer_graph_gives_the_logits_of_the_network(seed, quads, texts):
    net = network(seed, channels=4 * quads)
    ops = lower(net)
    encode_graph(ops)
    with torch.no_grad():
        wanted = net(*bag(texts)).numpy()
    found = reference.run(ops, texts) / logit_unit(net)
    # Half a unit for the bias; a hidden unit that lies between two whole numbers, but for a slope's last bit, takes either.
    slope, offset = (part.detach() for part in net.ramp())
    near = (net.counters(*bag(texts)).detach() * slope + offset) % 1 - 0.5
    slack = 0.51 + 7 * (near.abs() < 0.02).sum(1).numpy()
    assert (np.abs(found - wanted) * logit_unit(net) <= slack[:, None]).all()


def test_counters_are_whole_and_those_of_the_file():
    net = network(3)
    texts = [[0, 1, 1, 39], [], [5] * 30]
    signs = 2 * unpack_bits(lower(net)[0].weight, 36).astype(int) - 1
    rows = signs << unpack_gains(lower(net)[0].gain, 40).astype(int)[:, None]
    np.testing.assert_array_equal(net.counters(*bag(texts)).detach().numpy(), [rows[text].sum(0) for text in texts])


def test_gains_rows_ramps_and_class_rows_all_learn():
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
    net = TextNet(40, 128, 7)
    net.begin_as(weight, torch.zeros(7))
    texts = [[i, i + 7, i + 14] for i in range(20)]
    assert net.eval()(*bag(texts)).argmax(1).tolist() == [i % 7 for i in range(20)]
