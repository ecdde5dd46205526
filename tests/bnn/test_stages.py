import math

import pytest
import torch
from torch import nn

from bnn.layers import Precision
from bnn.stages import DEFAULT_STAGES, Stage, check_stages, reestimate_batch_norm


def test_default_stages_go_from_float_over_activations_to_weights():
    assert [s.precision for s in DEFAULT_STAGES] == [Precision.FLOAT, Precision.BINARY_ACTIVATIONS, Precision.BINARY]
    assert [s.weight_decay for s in DEFAULT_STAGES] == [0.01, 0.01, 0.0]
    assert all(s.clip == 1.5 for s in DEFAULT_STAGES)
    check_stages(DEFAULT_STAGES)


def test_learning_rate_rises_then_falls_along_a_cosine():
    stage = Stage("float", Precision.FLOAT, 10, learning_rate=0.1)
    assert stage.learning_rate_at(0) == 0
    assert stage.learning_rate_at(0.5) == pytest.approx(0.05)
    assert stage.learning_rate_at(1) == pytest.approx(0)
    rates = [stage.learning_rate_at(i / 100) for i in range(101)]
    assert rates.index(max(rates)) == 5 and max(rates) < 0.1


def test_temperature_rises_geometrically_and_is_infinite_where_not_declared():
    stage = Stage("binary", Precision.BINARY, 3, estimator_temperature=(1.0, 100.0))
    assert [stage.temperature_at(e) for e in range(3)] == pytest.approx([1, 10, 100])
    assert math.isinf(Stage("binary", Precision.BINARY, 3).temperature_at(0))
    assert Stage("binary", Precision.BINARY, 1, estimator_temperature=(2.0, 9.0)).temperature_at(0) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../x"},
        {"name": "model"},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"clip": 2.0},
        {"estimator_temperature": (0.0, 1.0)},
    ],
)
def test_impossible_stages_are_refused_with_their_value(wrong):
    arguments = {"name": "float", "precision": Precision.FLOAT, "epochs": 1} | wrong
    with pytest.raises(ValueError) as caught:
        Stage(**arguments)
    (value,) = wrong.values()
    assert str(value) in str(caught.value)


def test_stages_need_names_of_their_own():
    stage = Stage("a", Precision.FLOAT, 1)
    for stages in ([], [stage, stage]):
        with pytest.raises(ValueError, match="at least one"):
            check_stages(stages)


def test_batch_norm_is_estimated_again_as_a_plain_average():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    batches = [torch.randn(50, 3) * 2 + 5 for _ in range(4)]
    model(torch.randn(50, 3))
    reestimate_batch_norm(model, batches)
    norm = model[0]
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var(0) for b in batches]).mean(0))
    assert norm.momentum == 0.1 and model.training
    with pytest.raises(ValueError, match="single batch"):
        reestimate_batch_norm(model, [])
