"""signwave verify, bench: a model file under its interpreters, MicroPython among them."""

from pathlib import Path
from typing import Annotated

import typer

from export.console import note, show, table

File = Annotated[Path, typer.Argument(help="A .swm model file.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, everything else on standard error.")
]


def verify(
    file: File,
    inputs: Annotated[
        int, typer.Option(min=1, max=1000, help="Random clips to compare, besides the golden test in the file.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="Other seeds give other clips.")] = 0,
    json: Json = False,
) -> None:
    """Run golden and random inputs through every interpreter there is and compare every bit. Exit status 1 if any differs."""
    from device.verify import verify as run_verify

    report = run_verify(file, inputs=inputs, seed=seed, progress=lambda name: note(f"running {name}"))
    for name, reason in report.skipped.items():
        note(f"not run: {name}: {reason}")
    value = vars(report)
    verdict = "identical, every bit" if report.identical else "DIFFERENT:\n  " + "\n  ".join(report.differences)
    lines = [f"{report.inputs} inputs through {len(report.interpreters)} interpreters: {verdict}"]
    if report.skipped:
        lines[0] += f" ({len(report.skipped)} interpreters could not run here)"
    lines += [f"  {name}" for name in report.interpreters]
    show(value, "\n".join(lines), json)
    if not report.identical:
        raise typer.Exit(1)


def bench(
    file: File,
    chip: Annotated[str, typer.Option(help="rv32imc: ESP32-C3, C6 and their kind.")] = "rv32imc",
    json: Json = False,
) -> None:
    """Count the instructions a board spends on a second of audio, exactly, under emulation."""
    from device.bench import bench as count

    if chip != "rv32imc":
        raise typer.BadParameter(f"no exact counts for {chip!r}; there are some for rv32imc", param_hint="--chip")
    value = count(file, chip)
    layers = [[x["name"], x["binary_macs"], x["int8_macs"], x["instructions"]] for x in value["layers"]]
    if value["front_end_instructions_per_frame"]:
        layers.insert(0, ["front end", 0, 0, value["front_end_instructions_per_frame"]])
    lines = [table(["one frame", "1-bit MAC", "int8 MAC", "instructions"], layers), "", _by_kind(layers)]
    if (per_second := value["instructions_per_second_of_audio"]) is not None:
        share = f"{per_second / 160e6:.1%} of a 160 MHz core at one a cycle"
        lines.append(f"a second of audio: {per_second / 1e6:.2f} million instructions, {share}")
    lines.append(f"native module {value['code_bytes']:,} bytes; RAM beside the weights {value['ram_bytes']:,} bytes")
    show(value, "\n".join(lines), json)


def _by_kind(layers: list[list]) -> str:
    """Instructions a frame and their share, summed over the layers of each kind."""
    total, sums = sum(row[3] for row in layers), {}
    for name, _, _, instructions in layers:
        sums[name] = sums.get(name, 0) + instructions
    rows = [[name, n, f"{n / total:.1%}"] for name, n in sums.items()]
    return table(["by kind", "instructions", "share"], [*rows, ["total", total, ""]])
