"""Muon: momentum whose update of a matrix is made orthogonal, so that no direction of it waits for another.

    optimizer = Muon(matrices, others, lr=3e-3, weight_decay=0.01)     # `others` (biases, norms, first and last layer): AdamW

After Jordan et al. (2024, "Muon: An optimizer for hidden layers in neural networks"), with the scale of Liu et al. (2025, "Muon
is scalable for LLM training"), which makes an update as large as AdamW's: both share one learning rate.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM, STEPS = 0.95, 5
QUINTIC = 3.4445, -4.7750, 2.0315  # of Jordan et al.: after five steps all singular values lie in 0.7 to 1.2


def orthogonal(matrix: Tensor) -> Tensor:
    """U V' of a matrix (m, n) = U S V', about: its singular values become about 1 (Newton-Schulz iteration)."""
    tall = len(matrix) > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = QUINTIC
    for _ in range(STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.AdamW):
    """Muon for `matrices` (out, ...), of which all dimensions behind the first are one; AdamW for `others`."""

    def __init__(self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__([{"params": list(others)}], lr=lr, weight_decay=weight_decay, fused=True)
        matrices = list(matrices)
        if matrices:
            self.add_param_group({"params": matrices, "muon": True})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for matrix in group["params"] if group.get("muon") else ():
                if matrix.grad is not None:
                    self._turn(matrix, group["lr"], group["weight_decay"])
                    matrix.grad = None  # AdamW passes over it
        return super().step(closure)

    def _turn(self, matrix: nn.Parameter, lr: float | Tensor, weight_decay: float) -> None:
        state = self.state[matrix]
        if not state:  # AdamW wants to find steps counted when it is loaded
            state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(matrix)
        state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        update = orthogonal(matrix.grad.lerp(state["momentum"], MOMENTUM).flatten(1))
        size = 0.2 * max(update.shape) ** 0.5
        matrix.mul_(1 - lr * weight_decay).sub_(update.view_as(matrix) * (lr * size))
