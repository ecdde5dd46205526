"""The processes of one training: this one alone, or those that torchrun has started.

    processes = Processes("auto")
    processes.connect()
"""

import atexit
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def best_device() -> torch.device:
    """This process's GPU where there is one."""
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether it is a CPU with instructions for products of bfloat16, which double the speed of convolutions."""
    if device.type != "cpu":
        return False
    known = torch.cpu.get_capabilities()
    return known.get("avx512_bf16", False) or known.get("amx_bf16", False)


class Processes:
    """One process, or those that torchrun has started: rank 0 writes and validates, gradients are averaged.

    The gradients are averaged here rather than by a wrapper round the model, so that a loss may call any of its methods.
    """

    def __init__(self, device: str) -> None:
        self.world, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        self.device = best_device() if device == "auto" else torch.device(device)
        self.main, self.many = self.rank == 0, self.world > 1

    def connect(self) -> None:
        """Meet the others, once in the life of the process: torchrun's meeting point serves no second time."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.many and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)

    def share(self, batches: Callable[..., Iterable[Any]], epoch: int, generator: torch.Generator) -> Iterator[Any]:
        """Every world-th batch; an incomplete last round is left out, since all must take equally many steps."""
        if self.many and hasattr(batches, "part"):
            return batches.part(epoch, generator, self.rank, self.world)
        source = iter(batches(epoch, generator))
        if not self.many:
            return source
        rounds = iter(lambda: list(itertools.islice(source, self.world)), [])
        return (batch[self.rank] for batch in rounds if len(batch) == self.world)

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        if self.many:
            grads = [p.grad for p in parameters if p.grad is not None]
            flat = torch.cat([g.flatten() for g in grads])
            dist.all_reduce(flat)
            flat /= self.world
            for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
                grad.copy_(part.view_as(grad))

    def broadcast(self, *modules: nn.Module) -> None:
        if self.many:
            for module in modules:
                for tensor in module.state_dict().values():
                    dist.broadcast(tensor, 0)

    def mean(self, value: Tensor) -> float:
        if self.many:
            dist.all_reduce(value)
        return value.item() / self.world

    def from_main(self, value: float) -> float:
        if not self.many:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return shared.item()

    def gather(self, value: Any) -> list[Any]:
        if not self.many:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        if self.many:
            dist.barrier()
