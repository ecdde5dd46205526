"""From real numbers to ±1, with a gradient one can train through.

    from bnn.binarize import ESTIMATORS
    bits = ESTIMATORS["ste"](x)        # values -1 and +1, shape of x

The derivative of sign is zero wherever it exists, so each function here keeps the hard step on the way forward
and puts another slope in its place on the way back. They are interchangeable; sign(0) = +1 in all of them.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

PAST_ONE = 1 + torch.finfo(torch.float32).eps


def hard_sign(x: Tensor) -> Tensor:
    """±1 without a gradient, in the shape and type of `x`; zero counts as positive.

    >>> hard_sign(torch.tensor([-0.5, -0.0, 0.0, 3.0]))
    tensor([-1.,  1.,  1.,  1.])
    """
    return torch.copysign(x.new_ones(()), x + 0.0)  # adding 0.0 turns -0.0 into 0.0; twice as fast as comparing


class _SignSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return hard_sign(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, x, -PAST_ONE, PAST_ONE)  # its window is open; one pass over memory


class _SignQuadratic(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return hard_sign(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (2 - 2 * x.abs()).clamp_(min=0)


def sign_ste(x: Tensor) -> Tensor:
    """Sign with the clipped straight-through estimator: slope 1 where |x| <= 1, else 0 (any shape).

    Straight-through after Bengio et al. (2013), the clip after Courbariaux et al. (2016).

    >>> x = torch.tensor([-1.5, -0.5, 0.0, 1.0, 2.0], requires_grad=True)
    >>> y = sign_ste(x)
    >>> y.tolist()
    [-1.0, -1.0, 1.0, 1.0, 1.0]
    >>> y.sum().backward()
    >>> x.grad.tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    return _SignSTE.apply(x)


def sign_quadratic(x: Tensor) -> Tensor:
    """Sign whose slope is that of a piecewise quadratic: 2 - 2|x| inside |x| < 1, else 0 (Liu et al., 2018, Bi-Real Net).

    >>> x = torch.tensor([-1.5, -0.5, 0.0, 0.75, 2.0], requires_grad=True)
    >>> y = sign_quadratic(x)
    >>> y.tolist()
    [-1.0, -1.0, 1.0, 1.0, 1.0]
    >>> y.sum().backward()
    >>> x.grad.tolist()
    [0.0, 1.0, 2.0, 0.5, 0.0]
    """
    return _SignQuadratic.apply(x)


def sign_annealed(x: Tensor, temperature: float = math.inf) -> Tensor:
    """Soft decision tanh(temperature * x), which hardens into sign as the temperature grows (after Wang et al., 2020, BiDet).

    At an infinite temperature it is the hard sign itself; its slope, zero by then, is that of the clipped STE.

    >>> x = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    >>> y = sign_annealed(x, 2.0)
    >>> [round(v, 4) for v in y.tolist()]
    [-0.7616, 0.0, 0.7616]
    >>> y.sum().backward()
    >>> [round(v, 4) for v in x.grad.tolist()]                # temperature * (1 - tanh^2)
    [0.8399, 2.0, 0.8399]
    >>> sign_annealed(x).tolist()
    [-1.0, 1.0, 1.0]
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it must be positive (infinite for the hard sign)")
    return sign_ste(x) if math.isinf(temperature) else torch.tanh(temperature * x)


class SignAnnealed(nn.Module):
    """`sign_annealed` with a temperature that training raises; in evaluation always the hard sign, as on the board.

    >>> soft = SignAnnealed(temperature=1.0)
    >>> x = torch.tensor([-0.5, 0.5], requires_grad=True)
    >>> y = soft(x)
    >>> [round(v, 4) for v in y.tolist()]
    [-0.4621, 0.4621]
    >>> y.sum().backward()
    >>> [round(v, 4) for v in x.grad.tolist()]
    [0.7864, 0.7864]
    >>> soft.eval()(x).tolist()
    [-1.0, 1.0]
    """

    def __init__(self, temperature: float = math.inf) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        return sign_annealed(x, self.temperature if self.training else math.inf)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:g}"


ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "ste": sign_ste,
    "quadratic": sign_quadratic,
    "annealed": sign_annealed,
}


def make_estimator(name: str) -> Callable[[Tensor], Tensor]:
    """The estimator of that name, ready for a layer to own: a plain function, or a fresh `SignAnnealed` where state is needed."""
    if name not in ESTIMATORS:
        raise ValueError(f"unknown estimator {name!r}: choose one of {', '.join(ESTIMATORS)}")
    return SignAnnealed() if name == "annealed" else ESTIMATORS[name]


def set_temperature(model: nn.Module, temperature: float) -> None:
    """Give every `SignAnnealed` inside `model` this temperature; models without any are left as they are."""
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it must be positive (infinite for the hard sign)")
    for module in model.modules():
        if isinstance(module, SignAnnealed):
            module.temperature = temperature


class RSign(nn.Module):
    """Sign behind a learned threshold a channel (Liu et al., 2020, ReActNet): (batch, channel, ...) -> the same shape.

    >>> step = RSign(2)
    >>> _ = step.threshold.data.copy_(torch.tensor([0.5, -0.5]))
    >>> x = torch.tensor([[0.25, 0.25]], requires_grad=True)
    >>> y = step(x)
    >>> y.tolist()
    [[-1.0, 1.0]]
    >>> y.sum().backward()
    >>> x.grad.tolist(), step.threshold.grad.tolist()
    ([[1.0, 1.0]], [-1.0, -1.0])
    """

    def __init__(self, channels: int, estimator: str = "ste") -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(channels))
        self.estimator = make_estimator(estimator)

    def forward(self, x: Tensor) -> Tensor:
        return self.estimator(x - self.threshold.view(-1, *[1] * (x.dim() - 2)))
