import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnn.muon import Muon, orthogonal


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(1e-4, 1e4), st.integers(0, 2**20))
def test_all_directions_of_an_update_come_out_about_alike(rows, columns, size, seed):
    torch.manual_seed(seed)
    u, s, v = torch.linalg.svd(size * torch.randn(rows, columns), full_matrices=False)
    s = s.clamp_min(0.02 * s.norm())  # what is smaller by far takes more than five steps
    values = torch.linalg.svdvals(orthogonal(u @ torch.diag(s) @ v))
    assert 0.3 < values.min() and values.max() < 1.3


def test_an_update_keeps_singular_vectors():
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(8, 8))
    turned = u.T @ orthogonal(u @ torch.diag(torch.linspace(1, 2, 8)) @ v) @ v.T
    assert torch.allclose(turned, torch.diag(turned.diag()), atol=1e-4)


def problem():
    """A layer to fit, and its loss."""
    torch.manual_seed(0)
    wanted, x = torch.randn(6, 12), torch.randn(64, 4, 3)
    layer = nn.Conv1d(4, 6, 3)
    return layer, lambda: (layer(x).squeeze(2) - x.flatten(1) @ wanted.T - 1).square().mean()


def fitted(layer, loss, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return float(loss().detach())


def test_it_fits_matrices_of_any_dimensions_beside_biases():
    layer, loss = problem()
    before = float(loss().detach())
    assert fitted(layer, loss, Muon([layer.weight], [layer.bias], lr=0.05, weight_decay=0.0), 200) < 0.02 * before


def test_without_matrices_it_is_adamw():
    (layer, loss), (other, its_loss) = problem(), problem()
    fitted(layer, loss, Muon([], layer.parameters(), lr=0.01, weight_decay=0.1), 5)
    fitted(other, its_loss, torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.1, fused=True), 5)
    assert torch.equal(layer.weight, other.weight) and torch.equal(layer.bias, other.bias)


@pytest.mark.parametrize("rate", [0.01, torch.tensor(0.01)])
def test_the_first_update_is_as_large_as_that_of_adamw_could_be(rate):
    layer, loss = problem()
    before = layer.weight.detach().clone()
    optimizer = Muon([layer.weight], [layer.bias], lr=0.01, weight_decay=0.0)
    for group in optimizer.param_groups:
        group["lr"] = rate if isinstance(rate, float) else rate.clone()
    fitted(layer, loss, optimizer, 1)
    moved = (layer.weight - before).square().mean().sqrt()
    assert 0.1 * 0.01 < moved < 0.3 * 0.01  # root mean square: 0.2 of the rate


def test_a_saved_state_goes_on_exactly():
    layer, loss = problem()
    optimizer = Muon([layer.weight], [layer.bias], lr=0.01, weight_decay=0.01)
    fitted(layer, loss, optimizer, 5)
    saved = copy.deepcopy((layer.state_dict(), optimizer.state_dict()))
    fitted(layer, loss, optimizer, 5)
    again, its_loss = problem()
    again.load_state_dict(saved[0])
    resumed = Muon([again.weight], [again.bias], lr=0.5, weight_decay=0.5)
    resumed.load_state_dict(saved[1])
    fitted(again, its_loss, resumed, 5)
    assert torch.equal(again.weight, layer.weight) and torch.equal(again.bias, layer.bias)
