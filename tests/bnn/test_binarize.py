import doctest
import importlib
import math
import pkgutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import bnn
from bnn.binarize import ESTIMATORS, RSign, SignAnnealed, make_estimator, set_temperature, sign_annealed, sign_ste

SLOPES = {
    "ste": lambda x: (x.abs() <= 1).to(x.dtype),
    "quadratic": lambda x: (2 - 2 * x.abs()).clamp(min=0),
    "annealed": lambda x: (x.abs() <= 1).to(x.dtype),  # at its infinite default temperature
}
finite = st.floats(-(2.0**100), 2.0**100, width=32)


@pytest.mark.parametrize("module", [f"bnn.{info.name}" for info in pkgutil.iter_modules(bnn.__path__)])
def test_examples_in_docstrings_hold(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize("name", ESTIMATORS)
@given(values=st.lists(finite, min_size=1, max_size=20))
@settings(deadline=None)
def test_every_estimator_is_sign_forwards_and_its_own_slope_backwards(name, values):
    x = torch.tensor(values, requires_grad=True)
    y = ESTIMATORS[name](x)
    assert y.tolist() == [1.0 if v >= 0 else -1.0 for v in values]
    y.sum().backward()
    assert torch.equal(x.grad, SLOPES[name](x.detach()))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_both_zeros_are_positive(name):
    assert ESTIMATORS[name](torch.tensor([0.0, -0.0])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_estimators_keep_the_type(name, dtype):
    x = torch.tensor([-0.5, 0.5], dtype=dtype, requires_grad=True)
    y = ESTIMATORS[name](x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype


@given(temperature=st.floats(0.1, 50))
@settings(max_examples=20, deadline=None)
def test_soft_sign_has_the_derivative_of_its_value(temperature):
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: sign_annealed(v, temperature), (x,))


def test_soft_sign_hardens_as_the_temperature_grows():
    x = torch.tensor([-0.3, -0.01, 0.02, 0.4])
    gaps = [float((sign_annealed(x, t) - sign_ste(x)).abs().max()) for t in (1, 10, 100, 1000)]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 1e-6


def test_temperature_reaches_annealed_signs_and_evaluation_stays_hard():
    model = nn.Sequential(RSign(2, "annealed"), nn.Linear(2, 2), RSign(2, "ste"))
    set_temperature(model, 3.0)
    assert model[0].estimator.temperature == 3.0
    x = torch.tensor([[-0.5, 0.5]])
    assert torch.allclose(model[0](x), torch.tanh(3 * x))
    assert model[0].eval()(x).tolist() == [[-1.0, 1.0]]


def test_each_layer_has_a_temperature_of_its_own():
    assert make_estimator("annealed") is not make_estimator("annealed")


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="positive"):
        sign_annealed(torch.zeros(1), temperature)
    with pytest.raises(ValueError, match="positive"):
        set_temperature(SignAnnealed(), temperature)


def test_unknown_estimator_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="'stee'.*ste, quadratic, annealed"):
        make_estimator("stee")


def test_learned_threshold_moves_the_step_of_its_channel():
    step = RSign(2)
    with torch.no_grad():
        step.threshold.copy_(torch.tensor([1.0, -1.0]))
    x = torch.tensor([0.0, 1.0, -1.0]).expand(1, 2, 3)  # (batch, channel, frame)
    assert step(x).tolist() == [[[-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]]]
