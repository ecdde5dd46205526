"""Which features a dictionary of limited size should hold, and what a linear classifier makes of them.

    probe = select(bags, len(candidates.keys), answers, wanted=3000)
    probe.rows, probe.weight, probe.bias          # ascending rows (kept,), (kept, label), (label,)

A linear classifier over all candidates learns under a penalty on the length of each feature's row of weights (group lasso,
Yuan and Lin, 2006; by proximal steps): a feature that others can stand in for loses its row altogether. The penalty is
steered so that the number of rows falls to the number wanted. What is left learns on without it.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from textbnn.bags import Bags

EPOCHS, BATCH, RATE = 6, 256, 8e-3
EVERY = 2  # steps from one proximal step to the next
DROP = 0.2  # share of features left out of a step


class Probe(nn.Module):
    """A linear classifier of bags of features: rows (kept,) of the candidates, weight (kept, label), bias (label,)."""

    def __init__(self, rows: np.ndarray, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.rows, self.weight, self.bias = rows, weight, bias

    def forward(self, indices: Tensor, offsets: Tensor) -> Tensor:
        """Rows (row,) and where each text begins among them (text,) -> logits (text, label)."""
        return F.embedding_bag(indices, self.weight, offsets, mode="sum") + self.bias


def select(bags: Bags, rows: int, answers: Tensor, wanted: int, seed: int = 0, epochs: int = EPOCHS) -> Probe:
    """The `wanted` of `rows` candidates that matter most for `answers`, probabilities (text, label)."""
    weight, bias = torch.zeros(rows, answers.shape[1]), torch.zeros(answers.shape[1])
    kept, penalty = np.arange(rows), [0.5]
    if rows > wanted:

        def shrink(done: float, rate: float) -> None:
            left = _shrink(weight, EVERY * rate * penalty[0])
            # From all rows to those wanted along a geometric path, reached when a fifth of the steps remain.
            goal = wanted * (rows / wanted) ** max(0.0, 1 - done / 0.8)
            penalty[0] = min(max(penalty[0] * math.exp(0.2 * np.sign(left - goal)), 1e-3), 100.0)

        _learn(bags, answers, weight, bias, seed, epochs, "choosing features", shrink)
        kept = np.sort(weight.norm(dim=1).topk(wanted).indices.numpy())
        bags, weight = bags.only(kept), weight[kept].clone()
    _learn(bags, answers, weight, bias, seed + 1, epochs, "linear classifier")
    return Probe(kept, weight, bias)


def _learn(bags: Bags, answers: Tensor, weight: Tensor, bias: Tensor, seed: int, epochs: int, what: str, after=None) -> None:
    """Fit `weight` and `bias` in place; `after(share done, learning rate)` is called every other step."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.99), fused=True)
    steps, console = epochs * -(-len(bags) // BATCH), Console(stderr=True)
    order = (part for _ in range(epochs) for part in torch.randperm(len(bags), generator=generator).split(BATCH))
    for step, part in enumerate(track(order, what, steps, console=console, disable=not console.is_terminal)):
        optimizer.param_groups[0]["lr"] = rate = RATE * (1 - step / steps)
        indices, offsets = thinned(*bags.batch(part.numpy()), DROP, generator)
        logits = F.embedding_bag(indices, weight, offsets, mode="sum") + bias
        loss = -(F.log_softmax(logits, 1) * answers[part]).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if after is not None and step % EVERY == EVERY - 1:
            with torch.no_grad():
                after(step / steps, rate)
    for parameter in parameters:
        parameter.requires_grad_(False)


def thinned(indices: Tensor, offsets: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Bags without that share of their rows, drawn anew at each call (Iyyer et al., 2015)."""
    stays = torch.rand(len(indices), generator=generator) >= share
    return indices[stays], F.pad(stays.cumsum(0), (1, 0))[offsets]


def _shrink(weight: Tensor, by: float) -> int:
    """Shorten each row by that much, in place; how many are left."""
    length = weight.norm(dim=1, keepdim=True)
    weight.mul_((1 - by / length.clamp_min(1e-12)).clamp_min_(0))
    return int((length > by).sum())
