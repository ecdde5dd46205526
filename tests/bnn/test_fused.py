import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bnn.fused import is_fusible, residual_block
from bnn.layers import BinaryConv1d, Precision, RPReLU, clip_latent, set_precision


class Block(nn.Module):
    """A residual block of layers, and the same fused."""

    def __init__(self, channels: int, taps: int, dilation: int, precision: Precision, pre_norm: bool, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.pre_norm = nn.BatchNorm1d(channels, affine=False) if pre_norm else None
        self.conv = BinaryConv1d(channels, channels, taps, dilation)
        self.norm, self.act = nn.BatchNorm1d(channels), RPReLU(channels)
        for parameter in (self.conv.threshold, *self.norm.parameters(), *self.act.parameters()):
            nn.init.uniform_(parameter, -0.5, 1.0)
        set_precision(self, precision)
        clip_latent(self)

    def forward(self, x: Tensor, shortcut: bool) -> Tensor:
        y = self.act(self.norm(self.conv(x if self.pre_norm is None else self.pre_norm(x))))
        return x + y if shortcut else y

    def fused(self, x: Tensor, shortcut: bool) -> Tensor:
        return residual_block(x.transpose(1, 2), self.pre_norm, self.conv, self.norm, self.act, shortcut).transpose(1, 2)


def learned(block: Block, run, x: Tensor, shortcut: bool) -> dict[str, Tensor]:
    """What a training step makes of a block: its result, all gradients, the running statistics."""
    x = x.clone().requires_grad_()
    out = run(x, shortcut)
    (out * torch.linspace(-1, 1, out.numel()).view_as(out).sin()).sum().backward()
    return {
        "out": out.detach(),
        "x": x.grad,
        **{name: parameter.grad for name, parameter in block.named_parameters()},
        **{name: buffer.float() for name, buffer in block.named_buffers()},
    }


def assert_alike(fused: dict[str, Tensor], plain: dict[str, Tensor], tolerance: float) -> None:
    assert fused.keys() == plain.keys()
    for name, value in plain.items():
        assert (fused[name] - value).norm() <= tolerance * (value.norm() + 1), name


def both(shape, taps, dilation, precision, pre_norm, shortcut, seed) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    block = Block(shape[1], taps, dilation, precision, pre_norm, seed)
    twin, x = copy.deepcopy(block), 2 * torch.randn(shape)
    assert is_fusible(x, block.conv)
    return learned(block, block.fused, x, shortcut), learned(twin, twin, x, shortcut)


SHAPES = st.tuples(st.integers(3, 6), st.integers(1, 40), st.integers(4, 20))  # clips, channels, frames


@settings(max_examples=60, deadline=None)
@given(
    SHAPES, st.integers(1, 4), st.integers(1, 8), st.sampled_from(list(Precision)), st.booleans(), st.booleans(),
    st.integers(0, 2**20),
)  # fmt: skip
def test_a_fused_block_computes_and_learns_what_its_layers_do(shape, taps, dilation, precision, pre_norm, shortcut, seed):
    assert_alike(*both(shape, taps, dilation, precision, pre_norm, shortcut, seed), 1e-3)


@torch.no_grad()
@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("precision", [Precision.FLOAT, Precision.BINARY])
def test_without_gradients_a_fused_block_computes_what_its_layers_do_in_evaluation(precision, pre_norm):
    block, x = Block(16, 3, 2, precision, pre_norm, 0), 2 * torch.randn(6, 16, 20)
    block.train()(x, True)  # statistics of its own
    before = {name: buffer.clone() for name, buffer in block.eval().named_buffers()}
    assert torch.allclose(block.fused(x, True), block(x, True), atol=1e-4)
    assert all(torch.equal(buffer, before[name]) for name, buffer in block.named_buffers())


@pytest.mark.parametrize("precision", [Precision.FLOAT, Precision.BINARY])
def test_in_bfloat16_a_fused_block_is_as_near_to_float32_as_its_layers_are(precision):
    exact = both((8, 32, 40), 3, 2, precision, True, True, 0)[1]
    with torch.autocast("cpu", torch.bfloat16):
        fused, plain = both((8, 32, 40), 3, 2, precision, True, True, 0)
    for name, value in exact.items():
        allowed = 2 * (plain[name] - value).norm() + 1e-3 * (value.norm() + 1)
        assert (fused[name] - value).norm() <= allowed, name


def test_threads_share_the_clips_of_a_fused_block(monkeypatch):
    alone = both((5, 16, 12), 3, 4, Precision.BINARY, True, True, 1)[0]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_alike(both((5, 16, 12), 3, 4, Precision.BINARY, True, True, 1)[0], alone, 1e-6)


def test_only_blocks_on_a_cpu_in_float32_with_the_clipped_estimator_are_fused_in_training_or_without_gradients():
    x, conv = torch.zeros(2, 4, 8), BinaryConv1d(4, 4)
    assert is_fusible(x, conv)
    assert not is_fusible(x.double(), conv)
    assert not is_fusible(x.to("meta"), conv)
    assert not is_fusible(x, BinaryConv1d(4, 4, estimator="quadratic"))
    assert not is_fusible(x, BinaryConv1d(4, 8)) and not is_fusible(x, BinaryConv1d(8, 8)) and not is_fusible(x[0], conv)
    assert not is_fusible(x, conv.eval())
    with torch.no_grad():
        assert is_fusible(x, conv)
