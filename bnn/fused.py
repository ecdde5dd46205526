"""A residual block in few passes over memory, for training on a CPU, where memory is what a step waits for.

    out = residual_block(x, pre_norm, conv, norm, act, shortcut=True)      # (clip, frame, channel) float32, contiguous

What `x + act(norm(conv(pre_norm(x))))` computes, and its gradients, up to the order of sums: some twenty-five operations of
PyTorch, each of which reads and writes whole maps, are eight loops in C here; the products stay PyTorch's.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from bnn.binarize import sign_ste
from bnn.layers import BinaryConv1d, RPReLU

try:
    from bnn import _fused  # type: ignore[attr-defined]
except ImportError as _error:
    raise ImportError(
        f"the compiled loops are missing ({_error}): install the package (pip install -e .), "
        "or build them in place: python setup.py build_ext --inplace"
    ) from _error

ffi, lib = _fused.ffi, _fused.lib
C_TYPES = {torch.float32: "float *", torch.bfloat16: "uint16_t *", torch.float64: "double *"}


def is_fusible(x: Tensor, conv: BinaryConv1d) -> bool:
    """Whether `residual_block` can compute a block of this layer on `x` (clip, channel, frame).

    On a CPU, in float32, in training or without gradients, with the clipped estimator, and with as many channels out as in.
    """
    wanted = conv.training or not torch.is_grad_enabled()
    known = x.device.type == "cpu" and x.dtype is torch.float32 and conv.estimator is sign_ste
    return wanted and known and x.dim() == 3 and conv.cin == conv.cout == x.shape[1]


def residual_block(
    x: Tensor, pre_norm: nn.BatchNorm1d | None, conv: BinaryConv1d, norm: nn.BatchNorm1d, act: RPReLU, shortcut: bool
) -> Tensor:
    """x + act(norm(conv(pre_norm(x)))), or without `x +`; in training running statistics of both norms are kept up to date.

    `pre_norm` has no parameters; None is none. Maps are (clip, frame, channel); `is_fusible` says which. Under autocast to
    bfloat16 products are of that type, as in `conv`.
    """
    learned = (conv.threshold, conv.effective_weight(), norm.weight, norm.bias, act.gamma, act.slope, act.zeta)
    return _Block.apply(x.contiguous(), *learned, pre_norm, conv, norm, shortcut)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, threshold, weight, gain, bias, gamma, slope, zeta, pre_norm, conv, norm, shortcut):
        number = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        run = _Loops(number, x.shape, conv)
        mean, rstd = torch.zeros_like(threshold), torch.ones_like(threshold)
        if pre_norm is not None:
            mean, rstd = _statistics(_Loops(torch.float32, x.shape, conv), x, pre_norm)
        at = torch.stack([rstd, -mean * rstd, threshold])
        matrix = weight.permute(2, 1, 0).reshape(-1, x.shape[2]).to(number)  # (tap * channel, channel)
        columns = x.new_empty((*x.shape[:2], len(matrix)), dtype=number)
        run("columns", x, at, columns, int(conv.precision.binary_activations))
        y = columns @ matrix
        mean, rstd = _statistics(run, y, norm)
        scale = gain * rstd
        of = torch.stack([scale, bias - scale * mean - gamma, slope, zeta, mean, rstd])
        out = torch.empty_like(x)
        run("activate", x, y, of, float(shortcut), out)
        ctx.save_for_backward(x, at, matrix, columns, y, of)
        ctx.run, ctx.shortcut, ctx.normalized = run, float(shortcut), pre_norm is not None
        return out

    @staticmethod
    def backward(ctx, gradient):
        x, at, matrix, columns, y, of = ctx.saved_tensors
        run, gradient, rows = ctx.run, gradient.contiguous(), x.shape[0] * x.shape[1]
        sums = run("gradient_sums", gradient, y, of, sums=4)
        whole, below, through, along = sums.float()
        of = torch.cat([of, (sums[2:] / rows).float()])
        of_y = torch.empty_like(y)
        run("gradient", gradient, y, of, of_y)
        of_matrix = columns.flatten(0, 1).t() @ of_y.flatten(0, 1)
        of_weight = of_matrix.float().view(-1, x.shape[2], x.shape[2]).permute(2, 1, 0)
        of_x = torch.empty_like(x)
        passed = run("gather", x, at, of_y @ matrix.t(), of_x, sums=2)
        through_norm = passed / rows * ctx.normalized  # what the statistics take of it
        run("spread", gradient, x, torch.cat([at, through_norm.float()]), ctx.shortcut, of_x)
        return of_x, -passed[0].float(), of_weight, along, through, -through, below, whole, None, None, None, None


def _statistics(run: "_Loops", maps: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation a channel: in training of `maps`, which move the running ones of `norm`; else those."""
    if not norm.training:
        return norm.running_mean, (norm.running_var + norm.eps).rsqrt()
    rows = maps.shape[0] * maps.shape[1]
    mean, square = run("moments", maps, sums=2) / rows
    variance = (square - mean.square()).clamp_min(0)
    _update(norm, mean, variance * (rows / max(1, rows - 1)))
    return mean.float(), (variance + norm.eps).rsqrt().float()


@torch.no_grad()
def _update(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor) -> None:
    norm.num_batches_tracked += 1
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.float(), share)
    norm.running_var.lerp_(variance.float(), share)


class _Loops:
    """The loops in C for maps of one type and shape; the clips are shared out to as many threads as PyTorch uses."""

    def __init__(self, number: torch.dtype, shape: torch.Size, conv: BinaryConv1d) -> None:
        self.name = str(number).removeprefix("torch.")
        self.clips, *rest = shape
        self.rest = (*rest, conv.taps, conv.dilation)  # of struct maps
        self.channels = shape[2]

    def __call__(self, name: str, *given: Any, sums: int = 0) -> Tensor:
        """Run a loop on maps (clip, frame, ...), parameters a channel and numbers; returns `sums` sums a channel, float64."""
        loop = getattr(lib, f"{self.name}_{name}")

        def part(first: int, last: int) -> Tensor:
            total = torch.empty(sums, self.channels, dtype=torch.float64)
            room = torch.empty(sums, self.channels)
            maps = ffi.new("struct maps *", (last - first, *self.rest))
            loop(maps, *(_in_c(each, first, last) for each in given), *((_pointer(total), _pointer(room)) if sums else ()))
            return total

        threads = min(torch.get_num_threads(), self.clips)
        bounds = [self.clips * i // threads for i in range(threads + 1)]
        others = [_pool().submit(part, *ends) for ends in zip(bounds[1:], bounds[2:], strict=False)]
        return sum((other.result() for other in others), part(*bounds[:2]))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor()


def _in_c(value: Any, first: int, last: int) -> Any:
    if isinstance(value, Tensor):
        return _pointer(value[first:last] if value.dim() == 3 else value)
    return value


def _pointer(tensor: Tensor) -> Any:
    return ffi.cast(C_TYPES[tensor.dtype], tensor.data_ptr())
