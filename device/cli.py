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
        int, typer.Option(min=1, max=1000, help="Random clips or texts to compare, besides the golden test in the file.")
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other clips.")] = 0,
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
    chip: Annotated[str, typer.Option(help="rv32imc: ESP32-C3, C6 and their kind; xtensawin: ESP32, S2, S3.")] = "rv32imc",
    json: Json = False,
) -> None:
    """Count the instructions a board spends on a second of audio, or on a typed command, exactly, under emulation."""
    from device.bench import bench as count
    from device.counts import CHIPS
    from export.format import read

    if chip not in CHIPS:
        raise typer.BadParameter(f"no exact counts for {chip!r}; there are some for {' and '.join(CHIPS)}", param_hint="--chip")
    if read(file).text is not None:
        return _bench_text(file, chip, json)
    value = count(file, chip)
    keys = ("name", "binary_macs", "int_macs", "instructions", "naive", "int8")
    rows = [[_cell(layer[key]) for key in keys] for layer in value["layers"]]
    if front_end := value["front_end_instructions_per_frame"]:
        rows.insert(0, ["front end", "", "", f"{front_end:,}", "", ""])
    head = [f"one frame on {chip}", "1-bit MAC", "int MAC", "instructions", "naive popcount", "int8"]
    lines = [table(head, rows), "", _by_kind(value)]
    if (per_second := value["instructions_per_second_of_audio"]) is not None:
        share = f"{per_second / 160e6:.1%} of a 160 MHz core at one a cycle"
        lines.append(f"a second of audio ({value['inputs']}): {per_second / 1e6:.2f} million instructions, {share}")
        quiet = value["front_end_instructions_per_frame"] * value["frames_per_second"]
        lines.append(f"while the energy gate is closed: {quiet / 1e6:.2f} million, {quiet / 160e6:.1%}")
        naive, int8 = value["naive_per_second_of_audio"] / 1e6, value["int8_per_second_of_audio"] / 1e6
        lines.append(f"the same network with naive popcount: {naive:.2f} million; all in int8: {int8:.2f} million")
    lines.append(f"native module {value['code_bytes']:,} bytes; RAM beside the weights {value['ram_bytes']:,} bytes")
    show(value, "\n".join(lines), json)


def _bench_text(file: Path, chip: str, json: bool) -> None:
    from device.bench import bench_text

    value = bench_text(file, chip)
    rows = [["text to rows", value["read_instructions"]], *[[x["name"], x["instructions"]] for x in value["layers"]]]
    total = value["instructions_per_text"]
    lines = [table([f"{value['characters']} characters on {chip}", "instructions"], [*rows, ["total", total]]), "",
             f"{value['rows_per_text']:g} rows a text; {total / 160e3:.2f} ms of a 160 MHz core at one a cycle",
             f"native module {value['code_bytes']:,} bytes; RAM beside the file: {value['ram_bytes']:,} bytes"]  # fmt: skip
    show(value, "\n".join(lines), json)


def _cell(value: int | str | None) -> str:
    return value if isinstance(value, str) else f"{value:,}" if value else ""


def _by_kind(value: dict) -> str:
    """Instructions a frame and their share, summed over the layers of each kind."""
    sums = {"front end": value["front_end_instructions_per_frame"]} if value["front_end_instructions_per_frame"] else {}
    for layer in value["layers"]:
        sums[layer["name"]] = sums.get(layer["name"], 0) + layer["instructions"]
    total = sum(sums.values())
    rows = [[name, f"{n:,}", f"{n / total:.1%}"] for name, n in sums.items()]
    return table(["by stage", "instructions", "share"], [*rows, ["total", f"{total:,}", ""]])
