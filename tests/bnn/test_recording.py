"""Steps that a GPU records; on a machine without one only the handling of batches is checked."""

import pytest
import torch
from torch import nn

from bnn.binarize import SignAnnealed
from bnn.layers import BinaryConv1d, Precision
from bnn.recording import WARM_UP, Recorded, tensors_of, to
from bnn.stages import Stage
from bnn.training import fit

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_tensors_of_a_batch_are_found_and_moved_whatever_holds_them():
    batch = {"a": torch.ones(2), "b": (torch.zeros(1), [torch.arange(3)]), "name": "x"}
    assert [len(tensor) for tensor in tensors_of(batch)] == [2, 1, 3]
    moved = to(batch, torch.device("cpu"))
    assert moved["name"] == "x" and isinstance(moved["b"], tuple) and torch.equal(moved["b"][1][0], torch.arange(3))


class Net(nn.Module):
    def __init__(self, estimator: str) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv1d(4, 32, 1), BinaryConv1d(32, 32, 3, 1, estimator)
        self.norm, self.head = nn.BatchNorm1d(32), nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head((x + self.norm(self.conv(x))).mean(-1))


def batches(epoch: int, generator: torch.Generator):
    for size in (32, 32, 32, 32, 32, 32, 8, 32, 8, 8, 8, 8, 32):  # two shapes, both often enough to be recorded
        x = torch.randn(size, 4, 10, generator=generator)
        yield x, (x.mean((1, 2)) > 0).long()


def trained(tmp_path, monkeypatch, recorded: bool, estimator: str, loss) -> tuple[nn.Module, list[float]]:
    if not recorded:
        monkeypatch.setattr(Recorded, "__call__", lambda self, batch: self.warm_up(to(batch, self.device)))
    torch.manual_seed(0)
    net = Net(estimator)
    heat = (1.0, 8.0) if estimator == "annealed" else None
    stages = [Stage("float", Precision.FLOAT, 3, 3e-3, muon=True)]
    stages += [Stage("binary", Precision.BINARY, 3, 3e-3, estimator_temperature=heat)]
    result = fit(net, stages, batches, lambda net: 0.0, tmp_path / str(recorded), loss=loss, progress=False)
    monkeypatch.undo()
    return net, [row["loss"] for row in result.history]


def plain_loss(net, batch):
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


@needs_gpu
@pytest.mark.parametrize("estimator", ["ste", "annealed"])
def test_a_recorded_training_is_the_training_step_by_step(estimator, tmp_path, monkeypatch):
    net, losses = trained(tmp_path, monkeypatch, True, estimator, plain_loss)
    again, expected = trained(tmp_path, monkeypatch, False, estimator, plain_loss)
    assert losses == pytest.approx(expected, rel=0.05) and losses[2] < losses[0]
    assert any(isinstance(module, SignAnnealed) for module in net.modules()) == (estimator == "annealed")


@needs_gpu
def test_a_step_is_recorded_once_for_each_shape():
    device = torch.device("cuda")
    weight, calls = torch.zeros(3, device=device), []

    def take(batch):
        calls.append(len(batch))
        weight.add_(batch.sum())
        return weight.sum()

    step = Recorded(take, device)
    losses = [float(step(torch.ones(size))) for size in (2, 2, 2, 2, 2, 2, 5)]
    assert calls == [2] * (WARM_UP + 1) + [5]
    assert losses == [3.0 * total for total in (2, 4, 6, 8, 10, 12, 17)]


@needs_gpu
def test_a_step_that_waits_for_the_gpu_is_taken_as_it_is(tmp_path, monkeypatch):
    def waiting_loss(net, batch):
        return plain_loss(net, batch) if float(batch[0].sum()) else None

    with pytest.warns(UserWarning, match="cannot be recorded"):
        _, losses = trained(tmp_path, monkeypatch, True, "ste", waiting_loss)
    assert losses[2] < losses[0]
