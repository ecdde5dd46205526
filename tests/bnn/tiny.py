"""A tiny temporal task and a tiny network for it; run as a program, one training that torchrun can start."""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn.layers import BinaryConv1d, Precision, RPReLU
from bnn.stages import Stage
from bnn.training import FitResult, Interrupted, fit, seed_everything

FRAMES, DELAY = 12, 2


class TinyNet(nn.Module):
    """(batch, 1, frame) -> (batch, 2): is the last frame of another sign than the one DELAY frames before it?"""

    def __init__(self, channels: int = 32, dropout: float = 0.0, estimator: str = "ste") -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, channels, 3)
        self.conv = nn.ModuleList(BinaryConv1d(channels, channels, 2, 1, estimator) for _ in range(2))
        self.norm = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(2))
        self.act = nn.ModuleList(RPReLU(channels) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(F.pad(x, (2, 0)))
        for conv, norm, act in zip(self.conv, self.norm, self.act, strict=True):
            x = x + act(norm(conv(x)))
        return self.head(self.dropout(x[:, :, -1].relu()))


def examples(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """XOR in time: neither frame alone tells the class."""
    x = torch.randint(2, (n, 1, FRAMES), generator=generator) * 2.0 - 1
    return x, (x[:, 0, -1] * x[:, 0, -1 - DELAY] < 0).long()


class Batches:
    def __init__(self, steps: int = 10, size: int = 64) -> None:
        self.steps, self.size = steps, size

    def __call__(self, epoch: int, generator: torch.Generator):
        for _ in range(self.steps):
            yield examples(self.size, generator)


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def validate(model: nn.Module) -> float:
    x, y = examples(256, torch.Generator().manual_seed(12345))
    return (model(x).argmax(1) == y).float().mean().item() * 100


def stages(epochs: int = 2) -> list[Stage]:
    return [
        Stage("float", Precision.FLOAT, epochs, 3e-3, 1e-5, muon=True),
        Stage("activations", Precision.BINARY_ACTIVATIONS, epochs, 3e-3, 1e-5),
        Stage("binary", Precision.BINARY, epochs, 3e-3),
    ]


def train(run_dir: Path, **changes) -> tuple[TinyNet, FitResult]:
    """A short training on the CPU; `changes` replace arguments of `fit`."""
    seed_everything(1)
    model = changes.pop("model", None) or TinyNet(channels=8, dropout=0.2)
    arguments = {"stages": stages(), "batches": Batches(), "validate": validate, "loss": loss}
    arguments |= {"seed": 3, "device": "cpu", "progress": False} | changes
    schedule = [arguments.pop(name) for name in ("stages", "batches", "validate")]
    return model, fit(model, *schedule, run_dir, **arguments)


class StopAfter(Batches):
    """Batches that stop in the middle of an epoch, as Ctrl-C does."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__()
        self.at = (epoch, step)

    def __call__(self, epoch: int, generator: torch.Generator):
        for step, batch in enumerate(super().__call__(epoch, generator)):
            if (epoch, step) == self.at:
                raise KeyboardInterrupt
            yield batch


def state_sum(model: nn.Module) -> float:
    return sum(float(t.double().sum()) for t in model.state_dict().values())


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    whole, result = train(folder / "whole", stages=stages(1))
    try:
        train(folder / "parts", stages=stages(1), batches=StopAfter(1, 4))
    except Interrupted:
        resumed, again = train(folder / "parts", stages=stages(1))
    line = {"final": result.final, "sum": state_sum(whole), "resumed_final": again.final, "resumed_sum": state_sum(resumed)}
    sys.stdout.write(json.dumps(line) + "\n")  # in one piece: several processes write
    sys.stdout.flush()
