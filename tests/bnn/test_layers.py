import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnn.layers import (
    LATENT_LIMIT,
    UNCLIPPED_STEPS,
    BinaryConv1d,
    BinaryEmbeddingBag,
    BinaryLinear,
    Precision,
    RPReLU,
    UnclippedWeights,
    binary_layers,
    clip_latent,
    set_precision,
)

LAYERS = [lambda: BinaryConv1d(5, 7, 3, 2), lambda: BinaryLinear(5, 7), lambda: BinaryEmbeddingBag(5, 7)]


def conv(cin=5, cout=7, taps=3, dilation=2, precision=Precision.BINARY, estimator="ste", seed=0) -> BinaryConv1d:
    torch.manual_seed(seed)
    layer = BinaryConv1d(cin, cout, taps, dilation, estimator)
    with torch.no_grad():
        layer.threshold.uniform_(-0.5, 0.5)
    set_precision(layer, precision)
    return layer


def by_definition(layer: BinaryConv1d, x: torch.Tensor) -> torch.Tensor:
    """The convolution from loops: tap j meets the frame j * dilation before; nothing shared with the layer's own way."""
    shifted = x - layer.threshold.view(1, -1, 1)
    binary = layer.precision.binary_activations
    a = torch.where(shifted >= 0, 1.0, -1.0) if binary else shifted.clamp(-1, 1)
    w = layer.weight
    if layer.precision.binary_weights:
        w = torch.where(w >= 0, 1.0, -1.0) * w.abs().mean((1, 2), keepdim=True)
    y = torch.zeros(x.shape[0], layer.cout, x.shape[2])
    for frame in range(x.shape[2]):
        for tap in range(layer.taps):
            back = frame - tap * layer.dilation
            before = torch.full_like(a[:, :, 0], -1.0 if binary else 0.0)
            y[:, :, frame] += (a[:, :, back] if back >= 0 else before) @ w[:, :, tap].T
    return y


@pytest.mark.parametrize("precision", Precision)
@given(taps=st.integers(1, 4), dilation=st.integers(1, 5), frames=st.integers(1, 12), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_clip_stream_and_definition_agree(precision, taps, dilation, frames, seed):
    layer = conv(taps=taps, dilation=dilation, precision=precision, seed=seed)
    x = torch.randn(2, 5, frames)
    clip = layer(x)
    stream = layer.stream()
    for _ in range(2):  # the second time after a reset
        steps = torch.stack([stream.step(x[:, :, t]) for t in range(frames)], 2)
        torch.testing.assert_close(steps, clip, rtol=1e-5, atol=1e-5)
        stream.reset()
    torch.testing.assert_close(clip, by_definition(layer, x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_convolution_is_causal():
    layer, x = conv(), torch.randn(1, 5, 10)
    changed = x.clone()
    changed[:, :, 6:] += 3
    assert torch.equal(layer(x)[:, :, :6], layer(changed)[:, :, :6])
    assert not torch.equal(layer(x)[:, :, 6:], layer(changed)[:, :, 6:])


@torch.no_grad()
def test_an_input_at_its_threshold_gives_a_one():
    layer = conv(cin=1, cout=1, taps=1)
    layer.weight.fill_(2.0)
    layer.threshold.fill_(0.3)
    x = layer.threshold.view(1, 1, 1)
    assert layer(x).item() == 2.0 and layer(x - 1e-6).item() == -2.0


@pytest.mark.parametrize("make", LAYERS)
@given(seed=st.integers(0, 10_000), spread=st.floats(1e-3, 3))
@settings(max_examples=20, deadline=None)
def test_effective_weights_take_exactly_two_values_an_output_channel(make, seed, spread):
    layer = make()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(seed)) * spread)
        layer.weight.select(1 - layer.channel_dim, 0).fill_(spread)  # at least one weight of each sign
        layer.weight.select(1 - layer.channel_dim, 1).fill_(-spread)
    set_precision(layer, Precision.BINARY)
    by_channel = layer.effective_weight().detach().movedim(layer.channel_dim, 0).flatten(1)
    for values, scale in zip(by_channel, layer.scale, strict=True):
        assert set(values.tolist()) == {scale.item(), -scale.item()}
    assert set(layer.binary_weight().unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("make", LAYERS)
def test_switching_precision_keeps_parameters_and_the_gradient_reaches_them_all(make):
    layer = make()
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    x = {BinaryConv1d: torch.randn(4, 5, 6), BinaryLinear: torch.randn(4, 5)}.get(type(layer), torch.randint(5, (4, 3)))
    outputs = []
    for precision in Precision:
        set_precision(layer, precision)
        layer.zero_grad()
        y = layer(x)
        y.square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
        outputs.append(y.detach())
    assert all(torch.equal(p, before[name]) for name, p in layer.named_parameters())
    assert not torch.equal(outputs[0], outputs[-1])


def test_annealed_layers_are_soft_in_training_and_hard_in_evaluation():
    layer, x = conv(estimator="annealed"), torch.randn(1, 5, 8)
    layer.estimator.temperature = 0.5
    hard = conv(estimator="ste")
    assert not torch.allclose(layer(x), hard(x))
    torch.testing.assert_close(layer.eval()(x), hard(x))


@torch.no_grad()
def test_linear_binarizes_behind_its_threshold():
    layer = BinaryLinear(3, 2)
    layer.threshold.copy_(torch.tensor([0.0, 1.0, -1.0]))
    set_precision(layer, Precision.BINARY)
    bits = torch.tensor([1.0, -1.0, 1.0])
    expected = (layer.binary_weight() @ bits) * layer.scale
    torch.testing.assert_close(layer(torch.tensor([[0.0, 0.5, -0.5]])), expected[None])


@torch.no_grad()
def test_embedding_bag_sums_rows_like_pytorchs():
    bag = BinaryEmbeddingBag(6, 4)
    indices, offsets = torch.tensor([0, 5, 5, 2]), torch.tensor([0, 3])
    torch.testing.assert_close(bag(indices, offsets), F.embedding_bag(indices, bag.weight, offsets, mode="sum"))
    set_precision(bag, Precision.BINARY)
    rows = bag.binary_weight() * bag.scale
    torch.testing.assert_close(bag(indices, offsets), torch.stack([rows[0] + 2 * rows[5], rows[2]]))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5)])
def test_rprelu_is_a_shifted_prelu_with_true_gradients(shape):
    torch.manual_seed(0)
    act = RPReLU(3).double()
    with torch.no_grad():
        for p in act.parameters():
            p.uniform_(-0.5, 0.5)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    column = (-1,) + (1,) * (len(shape) - 2)
    expected = F.prelu(x - act.gamma.view(column), act.slope) + act.zeta.view(column)
    torch.testing.assert_close(act(x), expected)

    def run(x, gamma, slope, zeta):
        return torch.func.functional_call(act, {"gamma": gamma, "slope": slope, "zeta": zeta}, (x,))

    assert torch.autograd.gradcheck(run, (x, act.gamma, act.slope, act.zeta))


def test_clipping_bounds_binary_layers_only():
    model = nn.Sequential(BinaryLinear(3, 3), nn.Linear(3, 3))
    with torch.no_grad():
        for layer in model:
            layer.weight.fill_(7.0)
    clip_latent(model, 1.25)
    assert model[0].weight.max() == 1.25 and model[1].weight.max() == 7.0
    assert list(binary_layers(model)) == [model[0]]


def test_weights_at_the_clipping_limit_still_learn():
    layer = BinaryLinear(2, 1)
    set_precision(layer, Precision.BINARY)
    with torch.no_grad():
        layer.weight.fill_(LATENT_LIMIT)
    layer(torch.ones(1, 2)).sum().backward()
    assert (layer.weight.grad != 0).all()


@pytest.mark.parametrize("limit", [0.0, -1.0, 2.0])
def test_clipping_limit_must_be_inside_the_window_that_learns(limit):
    with pytest.raises(ValueError, match="1.5"):
        clip_latent(BinaryLinear(2, 2), limit)


def train_steps(layer: nn.Module, steps: int, clip: bool) -> None:
    for _ in range(steps):
        layer(torch.randn(2, 3)).sum().backward()
        if clip:
            clip_latent(layer)


def test_training_binary_weights_unclipped_warns_once():
    layer = BinaryLinear(3, 2)
    set_precision(layer, Precision.BINARY)
    with pytest.warns(UnclippedWeights, match="clip_latent") as caught:
        train_steps(layer, 3 * UNCLIPPED_STEPS, clip=False)
    assert len(caught) == 1


@pytest.mark.parametrize(("precision", "clip"), [(Precision.BINARY, True), (Precision.BINARY_ACTIVATIONS, False)])
def test_no_warning_where_weights_are_clipped_or_real(precision, clip):
    layer = BinaryLinear(3, 2)
    set_precision(layer, precision)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_steps(layer, 3 * UNCLIPPED_STEPS, clip)


def test_impossible_sizes_are_refused_by_name():
    with pytest.raises(ValueError, match="BinaryConv1d.*0"):
        BinaryConv1d(4, 0)
    with pytest.raises(ValueError, match="dilation is 0"):
        BinaryConv1d(4, 4, dilation=0)


def test_under_autocast_the_convolution_is_in_bfloat16_and_the_stream_in_float32():
    layer, x = BinaryConv1d(64, 8), torch.randn(2, 64, 20)
    layer.weight.data.sign_()  # a scale of 1: sums of at most 192, which bfloat16 rounds by at most 1
    layer.precision = Precision.BINARY
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x)
    rounded.sum().backward()
    assert rounded.dtype == layer.weight.grad.dtype == torch.float32
    assert 0 <= (rounded - exact).abs().max() <= 1 and layer.weight.grad.abs().sum() > 0
