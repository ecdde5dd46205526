"""A table of a network's layers: what each costs in the file, in the board's RAM and in arithmetic.

    print(summarize(model, torch.zeros(1, 40, 50)))

Sizes are those of the records in the `.swm` file (export/FORMAT.md), into which batch norm and RPReLU fold. The file's header,
labels and front end, and the sliding sum behind the head, come on top. Binary layers count as binary in every precision.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from bnn.layers import BinaryConv1d, BinaryEmbeddingBag, BinaryLayer, BinaryLinear, RPReLU

RECORD_HEADER = 20
FOLDED = (nn.modules.batchnorm._BatchNorm, RPReLU, nn.PReLU)


@dataclass(frozen=True)
class Costs:
    """Numbers of parameters by kind, multiply-accumulates a frame by kind, bytes in the file and of state on the board.

    `unsupported` counts the parameters of layers for which the file format has no place.
    """

    bits: int = 0
    int4: int = 0
    int8: int = 0
    int16: int = 0
    int32: int = 0
    unsupported: int = 0
    binary_macs: int = 0
    int8_macs: int = 0
    file_bytes: int = 0
    ram_bytes: int = 0

    def __add__(self, other: "Costs") -> "Costs":
        return Costs(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Row:
    """One layer: its name in the model, its type, the shape of its output, its costs."""

    name: str
    kind: str
    shape: tuple[int, ...]
    costs: Costs


@dataclass(frozen=True)
class Summary:
    """All layers in the order in which they run. `str()` of it is the table."""

    rows: tuple[Row, ...]

    @property
    def total(self) -> Costs:
        return sum((row.costs for row in self.rows), Costs())

    def __str__(self) -> str:
        head = [
            "layer",
            "type",
            "output",
            "1-bit",
            "int4",
            "int8",
            "int16",
            "int32",
            "1-bit MAC",
            "int8 MAC",
            "file KiB",
            "RAM KiB",
        ]
        lines = [[r.name, r.kind, " x ".join(map(str, r.shape)), *_cells(r.costs)] for r in self.rows]
        total = ["total", "", "", *_cells(self.total)]
        widths = [max(len(line[i]) for line in [head, *lines, total]) for i in range(len(head))]
        rule = ["-" * width for width in widths]
        text = "\n".join(
            "  ".join(c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))).rstrip()
            for line in [head, rule, *lines, rule, total]
        )
        if self.total.unsupported:
            names = ", ".join(row.name for row in self.rows if row.costs.unsupported)
            text += f"\nThe file format has no place for the {self.total.unsupported:,} parameters of {names}."
        return text + "\nMACs are per frame; batch norm and RPReLU fold into the layer before or behind them."


def _cells(c: Costs) -> list[str]:
    counts = [c.bits, c.int4, c.int8, c.int16, c.int32, c.binary_macs, c.int8_macs]
    return [f"{n:,}" if n else "" for n in counts] + [f"{n / 1024:.2f}" if n else "" for n in (c.file_bytes, c.ram_bytes)]


def summarize(model: nn.Module, example: Tensor) -> Summary:
    """Run `model` once on `example` (a batch as it takes it) and count its layers."""
    rows: list[Row] = []
    hooks = []
    for name, module in _leaves(model):

        def record(module: nn.Module, inputs: tuple, output: Tensor, name: str = name) -> None:
            rows.append(Row(name, type(module).__name__, tuple(output.shape), layer_costs(module)))

        hooks.append(module.register_forward_hook(record))
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return Summary(tuple(rows))


def _leaves(module: nn.Module, name: str = "") -> list[tuple[str, nn.Module]]:
    """Layers without layers inside, and the binary ones, which count as one."""
    children = [] if isinstance(module, BinaryLayer) else list(module.named_children())
    if not children:
        return [(name or type(module).__name__, module)]
    return [leaf for child_name, child in children for leaf in _leaves(child, f"{name}.{child_name}".lstrip("."))]


def layer_costs(layer: nn.Module) -> Costs:
    """What one layer costs, alone."""
    match layer:
        case BinaryConv1d():
            return _conv_1b(layer.cin, layer.cout, layer.taps, layer.span)
        case BinaryLinear():
            return _conv_1b(layer.cin, layer.cout, 1, 1)
        case BinaryEmbeddingBag():
            return Costs(bits=layer.weight.numel(), file_bytes=4 * layer.entries * _words(layer.channels))
        case nn.Conv1d():
            return _conv_i4(layer)
        case nn.Linear():
            return _dense_i8(layer.in_features, layer.out_features)
        case _ if isinstance(layer, FOLDED):
            return Costs()
        case _:
            return Costs(unsupported=sum(p.numel() for p in layer.parameters()))


def _conv_1b(cin: int, cout: int, taps: int, span: int) -> Costs:
    macs, macs_words = cout * taps * cin, _words(cout) * taps * cin
    return Costs(
        bits=macs,
        int16=cin + 2 * cout,  # threshold; mult, slope
        int32=cout,  # bias
        binary_macs=macs,
        file_bytes=RECORD_HEADER + _pad(2 * cin) + 4 * _words(cin) + 2 * _pad(2 * cout) + 4 * cout + 4 * macs_words,
        ram_bytes=4 + 4 * span * _words(cin),
    )


def _conv_i4(layer: nn.Conv1d) -> Costs:
    cin, cout, (taps,), (dilation,) = layer.in_channels, layer.out_channels, layer.kernel_size, layer.dilation
    macs = cout * taps * cin
    return Costs(
        int4=macs,
        int16=cout,
        int32=cout,
        int8_macs=macs,
        file_bytes=RECORD_HEADER + _pad(2 * cout) + 4 * cout + 16 * -(-cout // 8) * taps * (cin // 4),
        ram_bytes=4 + _pad(((taps - 1) * dilation + 1) * cin),
    )


def _dense_i8(cin: int, cout: int) -> Costs:
    return Costs(
        int8=cin * cout,
        int16=cin,
        int32=cin + cout,
        int8_macs=cin * cout,
        file_bytes=RECORD_HEADER + _pad(2 * cin) + 4 * cin + 4 * cout + _pad(cin * cout),
    )


def _words(channels: int) -> int:
    """32-bit words that hold one bit a channel."""
    return -(-channels // 32)


def _pad(size: int) -> int:
    """Bytes up to the next multiple of 4."""
    return -(-size // 4) * 4
