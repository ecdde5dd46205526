"""A training step that a GPU records once and then replays.

    step = Recorded(take, torch.device("cuda"))
    loss = step(batch)                          # as take(batch), where a batch's tensors lie on the GPU

A step of a small network is hundreds of kernels of a few microseconds; launched one by one from Python they leave a GPU
idle nine tenths of the time. A CUDA graph launches all of them at once.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # steps taken before one is recorded: libraries choose their kernels in them, the optimizer makes its state


class Recorded:
    """`take(batch)` -> a scalar tensor, recorded for each shape of batch.

    What `take` reads besides the batch must stay where it is; what is decided in Python while it is recorded stays decided.
    A step that cannot be recorded, because it waits for the GPU, is taken as it is.
    """

    def __init__(self, take: Callable[[Any], Tensor], device: torch.device) -> None:
        self.take, self.device = take, device
        self.stream = torch.cuda.Stream(device)
        self.seen: Counter[tuple] = Counter()
        self.graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, Any, Tensor]] = {}
        self.recordable = True

    def __call__(self, batch: Any) -> Tensor:
        shape = tuple((tensor.shape, tensor.dtype) for tensor in tensors_of(batch))
        if shape not in self.graphs and self.recordable and self.seen[shape] >= WARM_UP:
            self.record(shape, batch)
        if shape not in self.graphs:
            self.seen[shape] += 1
            return self.warm_up(to(batch, self.device))
        graph, inputs, loss = self.graphs[shape]
        for mine, given in zip(tensors_of(inputs), tensors_of(batch), strict=True):
            mine.copy_(pinned(given), non_blocking=True)
        graph.replay()
        return loss

    def warm_up(self, batch: Any) -> Tensor:
        """One step as it is, on the stream that records: gradients remember the stream that they were first made on."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # it will be recorded, two steps on
            loss = self.take(batch)
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return loss

    def record(self, shape: tuple, batch: Any) -> None:
        inputs, graph = to(batch, self.device), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                loss = self.take(inputs)
        except RuntimeError as error:
            self.recordable = False
            reason = str(error).splitlines()[0]
            warnings.warn(f"training goes on step by step: this step cannot be recorded ({reason})", stacklevel=2)
            return
        self.graphs[shape] = graph, inputs, loss


def tensors_of(batch: Any) -> list[Tensor]:
    """The tensors in a batch: one, or a tuple, list or dict of such."""
    if isinstance(batch, Tensor):
        return [batch]
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors_of(part)]


def pinned(tensor: Tensor) -> Tensor:
    """The same in memory from which a copy to a GPU runs beside the computation."""
    return tensor if tensor.is_cuda else tensor.pin_memory()


def to(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on a device."""
    if isinstance(batch, Tensor):
        return (pinned(batch) if device.type == "cuda" else batch).to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to(value, device) for key, value in batch.items()}
    return type(batch)(to(value, device) for value in batch) if isinstance(batch, list | tuple) else batch
