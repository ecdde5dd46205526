"""The way from a real-valued network to a binary one, declared as a schedule.

    stages = DEFAULT_STAGES                       # float -> binary activations -> binary weights and activations
    stages = (Stage("binary", Precision.BINARY, epochs=60, learning_rate=2e-3),)

Binarizing activations costs most, so they come first, while weights can still adapt (Martinez et al., 2020; Liu et al., 2020).
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bnn.layers import LATENT_LIMIT, Precision

WARM_UP = 0.05  # share of a stage in which the learning rate rises to its peak


@dataclass(frozen=True)
class Stage:
    """One part of a training, with its own optimizer and its own rise and cosine fall of the learning rate.

    `clip`: latent weights are kept in [-clip, clip], None to leave them free. `estimator_temperature`: first and last
    temperature of annealed signs, raised geometrically from epoch to epoch. `muon`: weights of binary layers learn by Muon,
    all else by AdamW (bnn.muon).
    """

    name: str
    precision: Precision
    epochs: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip: float | None = LATENT_LIMIT
    estimator_temperature: tuple[float, float] | None = None
    muon: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.name) or self.name in ("model", "checkpoint"):
            raise ValueError(f"stage name {self.name!r}: it names a file; use letters, digits, - and _, not model or checkpoint")
        if self.epochs < 1:
            raise ValueError(f"stage {self.name!r}: epochs is {self.epochs}, it must be at least 1; leave the stage out instead")
        if not self.learning_rate > 0:
            raise ValueError(f"stage {self.name!r}: learning_rate is {self.learning_rate}, it must be positive")
        if self.weight_decay < 0:
            raise ValueError(f"stage {self.name!r}: weight_decay is {self.weight_decay}, it must not be negative")
        if self.clip is not None and not 0 < self.clip <= LATENT_LIMIT:
            raise ValueError(f"stage {self.name!r}: clip is {self.clip}, it must lie in (0, {LATENT_LIMIT}] or be None")
        if self.estimator_temperature is not None and not min(self.estimator_temperature) > 0:
            raise ValueError(f"stage {self.name!r}: estimator_temperature {self.estimator_temperature} must be positive")

    def learning_rate_at(self, progress: float) -> float:
        """Learning rate when this share (0 to 1) of the stage is done."""
        rise = min(1.0, progress / WARM_UP)
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * progress))

    def temperature_at(self, epoch: int) -> float:
        """Temperature of annealed signs in this epoch of the stage (0 = first); infinite where none is declared."""
        if self.estimator_temperature is None:
            return math.inf
        first, last = self.estimator_temperature
        return first * (last / first) ** (epoch / max(1, self.epochs - 1))


DEFAULT_STAGES: tuple[Stage, ...] = (
    Stage("float", Precision.FLOAT, epochs=60, learning_rate=3e-3, weight_decay=0.01),
    Stage("binary-activations", Precision.BINARY_ACTIVATIONS, epochs=40, learning_rate=2e-3, weight_decay=0.01),
    Stage("binary", Precision.BINARY, epochs=60, learning_rate=2e-3, weight_decay=0.0),
)


def check_stages(stages: Sequence[Stage]) -> None:
    """Raise ValueError unless there is at least one stage and no two share a name."""
    names = [stage.name for stage in stages]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"stages {names}: give at least one, each with a name of its own")


@torch.no_grad()
def reestimate_batch_norm(
    model: nn.Module,
    batches: Iterable[Any],
    forward: Callable[[nn.Module, Any], Any] = lambda model, batch: model(batch),
) -> None:
    """Replace the running statistics of all batch norms by plain averages over `batches`.

    While weights flip, running averages lag behind them. `forward(model, batch)` runs the network once; its result is ignored.
    Everything but batch norm stays in evaluation mode.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return
    was_training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # cumulative average
        norm.reset_running_stats()
    for batch in batches:
        forward(model, batch)
    if not norms[0].num_batches_tracked:
        raise ValueError("reestimate_batch_norm: there is not a single batch to estimate from")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
