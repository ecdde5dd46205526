"""signwave inspect: what a model file holds."""

from pathlib import Path
from typing import Annotated

import typer

from export.console import show, table
from export.format import Model, read
from export.graph import Conv1b, ConvI4, DenseI4, DenseI8, Operation, state_size
from export.text import FAMILIES


def inspect(
    file: Annotated[Path, typer.Argument(help="A .swm model file.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a model file and print what it holds: labels, front end or dictionary, layers and what they cost."""
    model = read(file)
    value = describe(model, file.stat().st_size)
    show(value, _text(file, model, value), json)


def macs(op: Operation) -> tuple[int, int]:
    """Multiply-accumulates of one frame: (binary, int8). Rows that a text adds up are none."""
    count = op.cin * op.cout * op.taps
    return (count if isinstance(op, Conv1b) else 0, count if isinstance(op, (ConvI4, DenseI8, DenseI4)) else 0)


def describe(model: Model, file_bytes: int) -> dict:
    """A model's contents as plain values; bytes and MACs are per layer, MACs per frame."""
    layers = []
    for op in model.ops:
        binary, int8 = macs(op)
        layers.append({"name": op.name, "reads": f"{op.reads}[{op.cin}]", "gives": f"{op.gives}[{op.cout}]", "taps": op.taps,
                       "dilation": op.dilation, "binary_macs": binary, "int8_macs": int8, "file_bytes": op.record_bytes,
                       "ram_bytes": 0 if model.text else op.state_bytes})  # fmt: skip
    front, text = model.front_end, model.text
    return {
        "metadata": model.metadata, "labels": model.labels, "thresholds": model.thresholds, "file_bytes": file_bytes,
        "front_end": front and {"rate_hz": front.rate_hz, "hop": front.hop, "bands": front.bands},
        "text": text and {"families": [name for i, name in enumerate(FAMILIES) if text.families >> i & 1],
                          "entries": len(text.keys), "ranges": len(text.folding.ranges), "slots_bytes": len(model.slots)},
        "layers": layers, "graph_ram_bytes": state_size(model.ops),
        "binary_macs_per_second": round(sum(x["binary_macs"] for x in layers) * (front.frames_per_second if front else 0)),
    }  # fmt: skip


def _text(file: Path, model: Model, value: dict) -> str:
    lines = [f"{file}: {value['file_bytes']:,} bytes"]
    lines += [f"  {key}: {text}" for key, text in model.metadata.items()]
    lines.append(f"  labels: {', '.join(model.labels)}")
    if front := model.front_end:
        lines.append(
            f"  front end: log-mel, {front.rate_hz} Hz, {front.bands} bands, {front.frames_per_second:g} frames a second"
        )
    if text := value["text"]:
        lines.append(f"  text: {', '.join(text['families'])}; {text['entries']:,} entries, {text['ranges']} ranges")
    keys = ("name", "reads", "gives", "taps", "dilation", "binary_macs", "int8_macs", "file_bytes", "ram_bytes")
    rows = [[layer[key] for key in keys] for layer in value["layers"]]
    rows.append(["total", "", "", "", "", *[sum(row[i] for row in rows) for i in range(5, 9)]])
    head = ["layer", "reads", "gives", "taps", "dilation", "1-bit MAC", "int8 MAC", "file bytes", "RAM bytes"]
    return "\n".join(
        [*lines, "", table(head, rows, 3), "MACs are per text; it leaves no state behind." if text else
         "MACs are per frame; RAM is the graph's state, the front end's comes on top."]
    )
