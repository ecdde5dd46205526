"""signwave device ...: from a bare board to one that listens, and back to what it heard."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from device.cli import File, Json
from export.console import note, show, table

app = typer.Typer(
    no_args_is_help=True,
    help="Boards: find, flash, install, look at, listen to.",
    epilog="Start: signwave device boards, then flash, install MODEL.swm, doctor",
)
Port = Annotated[
    str | None, typer.Option(help="Serial port, pseudo-terminal or rfc2217://host:port; by default the only board there is.")
]


def connect(port: str | None):
    """The board on a port, or the only one there is."""
    from device.link import Board, choose_port

    return Board(choose_port(port))


@app.command()
def boards(json: Json = False) -> None:
    """List serial ports, boards first, and say what to do where there is none. Exit status 1 if there is no board."""
    from device.link import NO_BOARD, ports

    found = ports()
    rows = [[port.device, port.board or "", port.usb or "", port.description] for port in found]
    there = any(port.board for port in found)
    text = table(["port", "board", "USB", "description"], rows, 4) if rows else ""
    text += "" if there else f"{text and chr(10)}{NO_BOARD}"
    show({"ports": [asdict(port) for port in found]}, text, json)
    if not there:
        raise typer.Exit(1)


@app.command()
def doctor(
    port: Port = None,
    model: Annotated[Path | None, typer.Option(help="A .swm file: does it fit?")] = None,
    json: Json = False,
) -> None:
    """Say what is on the board: firmware, architecture, RAM, flash, signwave, models; and what to do next.

    Exit status 1 if the model given does not fit. The program on the board is stopped: reset it to go on.
    """
    from device.onboard import examine

    facts = examine(connect(port), model)
    largest = f"{facts['ram_largest']:,} in one piece{', signwave imported' if facts['signwave'] else ''}"
    kernels = f"{facts['kernels']}: {facts['reason']}" if facts["kernels"] else facts["reason"]
    lines = [
        f"board     {facts['machine']}, MicroPython {facts['version']}, native code {facts['arch'] or 'none'}",
        f"RAM       {facts['ram_free']:,} bytes free, {largest}",
        f"flash     {facts['flash_free']:,} of {facts['flash_size']:,} bytes free",
        f"signwave  {facts['signwave'] or 'not installed'} ({kernels})",
        *(f"model     {path}, {size:,} bytes" for path, size in facts["models"].items()),
    ]
    if model:
        lines.append(f"{model.name} {'fits' if facts['fits'] else 'does not fit: ' + '; '.join(facts['obstacles'])}")
    show(facts, "\n".join([*lines, f"next      {facts['next']}"]), json)
    if model and not facts["fits"]:
        raise typer.Exit(1)


@app.command()
def flash(
    firmware: Annotated[Path, typer.Option(help="A .bin from micropython.org, or a folder with several.")],
    port: Port = None,
    chip: Annotated[str | None, typer.Option(help="esp32, esp32s3, esp32c3 ...; by default asked of the board.")] = None,
    baud: Annotated[int, typer.Option(min=9600, help="Baud rate while writing.")] = 460800,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and print the commands, touch nothing.")] = False,
    json: Json = False,
) -> None:
    """Erase an ESP32 and write MicroPython on it. Everything on the board is lost; it asks first."""
    from device.flash import CHIPS, commands, detect_chip, find_firmware
    from device.flash import flash as write
    from device.link import choose_port

    if chip not in (None, *CHIPS):
        raise typer.BadParameter(f"unknown chip {chip!r}; known are {', '.join(CHIPS)}", param_hint="--chip")
    device = port or "PORT" if dry_run else choose_port(port)
    if chip is None and firmware.is_dir() and not dry_run:
        chip = detect_chip(device)
    found = find_firmware(firmware, chip)
    version = "MicroPython " + ".".join(map(str, found.version)) if found.version else "firmware of unknown version"
    lines = [" ".join(["esptool", *command[3:]]) for command in commands(found, device, baud)]
    value = {"file": str(found.path), "chip": found.chip, "offset": found.offset, "version": found.version, "port": device}
    if dry_run:
        show({**value, "commands": lines}, "\n".join([f"{version} for {found.chip}: {found.path}", *lines]), json)
        return
    note(f"{version} for {found.chip}: {found.path}")
    if not yes:
        typer.confirm(f"Erase everything on the board at {device} and write it?", abort=True, err=True)
    write(found, device, baud, note)
    show(value, f"done; next: signwave device install MODEL.swm --port {device}", json)


@app.command()
def install(
    models: Annotated[list[Path] | None, typer.Argument(help=".swm files to put on the board.")] = None,
    port: Port = None,
    every: Annotated[bool, typer.Option("--all", help="Native kernels of every architecture, not only the board's.")] = False,
    folder: Annotated[str, typer.Option(help="Where models go on the board.")] = "/",
    json: Json = False,
) -> None:
    """Install or update signwave and models on the board. Interrupted, it leaves what was there before."""
    from device.install import install as put

    report = put(connect(port), models or [], every, folder, note)
    where = f" and {', '.join(report.models)}" if report.models else ""
    lines = [f"signwave {report.version}{where}: {report.bytes:,} bytes written and verified", report.reason]
    lines.append("reset the board to start your program, or: signwave device monitor --reset")
    show(asdict(report), "\n".join(lines), json)


@app.command()
def monitor(
    port: Port = None,
    reset: Annotated[bool, typer.Option("--reset", help="Soft-reset the board first, so that main.py starts anew.")] = False,
) -> None:
    """Print what the board prints until Ctrl-C. The program on it goes on running."""
    from device.link import choose_port, listen

    device = choose_port(port)
    note(f"listening to {device}; Ctrl-C ends")
    try:
        for data in listen(device, reset):
            os.write(1, data)
    except KeyboardInterrupt:
        note("")


@app.command()
def capture(
    label: Annotated[str, typer.Option(help="The word to be said.")],
    out: Annotated[Path, typer.Option(help="Data folder; clips go to OUT/LABEL.")],
    seconds: Annotated[float, typer.Option(min=0.1, max=10, help="Length of a clip; a second takes 32 KB of RAM.")] = 1.0,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many clips.")] = 10,
    speaker: Annotated[str, typer.Option(help="Whose voice: training keeps one speaker's clips together.")] = "me",
    microphone: Annotated[str, typer.Option(help="What opens it on the board, e.g. 'signwave.mic.open(sck=5)'.")] = (
        "signwave.mic.open()"
    ),
    port: Port = None,
    json: Json = False,
) -> None:
    """Record words with the board's microphone into a folder that training reads: OUT/LABEL/SPEAKER_1.wav ..."""
    from device.capture import capture as record

    def tell(what: str, number: int) -> None:
        note(f"{number} of {count}: " + (f"say {label!r} now" if what == "say" else "thank you"))

    paths = record(connect(port), label, out, seconds, count, speaker, microphone, tell)
    show({"files": [str(path) for path in paths]}, f"{len(paths)} clips in {out / label}", json)


@app.command()
def bench(
    file: File,
    port: Port = None,
    frames: Annotated[int, typer.Option(min=1, max=10000, help="Frames to average over.")] = 50,
    out: Annotated[Path | None, typer.Option(help="Write the table here as well, in Markdown.")] = None,
    json: Json = False,
) -> None:
    """Measure a model on the board itself: microseconds of each layer, RAM."""
    from device.onboard import measure
    from export.format import write_atomically

    value = measure(connect(port), file, frames)
    rows = [[stage["name"], stage["mean_us"], stage["most_us"]] for stage in value["stages"]]
    rows.append(["a frame", value["frame_us"], value["most_us"]])
    ram = value["ram"]
    words = [f"kernels: {value['kernels']}"]
    if value["load"] is not None:
        words.append(f"{value['load']:.1%} of the {value['hop_us'] / 1000:g} ms that a frame lasts")
    words.append(f"RAM: package {ram['import_bytes']:,} bytes, model {ram['model_bytes']:,}, at most {ram['peak_bytes']:,} in "
                 f"use, {ram['free_bytes']:,} free beside the model")  # fmt: skip
    head = ["stage", "mean, us", "most, us"]
    if out:
        marked = [f"| {' | '.join(str(cell) for cell in row)} |" for row in [head, ["---"] * 3, *rows]]
        write_atomically(out, "\n".join([f"{file.name}", "", *marked, "", *words, ""]).encode())
    show(value, "\n".join([table(head, rows), "", *words]), json)


@app.command()
def package(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    models: Annotated[list[Path] | None, typer.Option("--model", help=".swm files; by default those that come along.")] = None,
    json: Json = False,
) -> None:
    """Write what MicroPython's mip installs from any web server, package and models, with the kernels of every architecture."""
    from device.package import write_folder

    value = write_folder(out, models or None)
    lines = [f"signwave {value['version']}, {value['bytes']:,} bytes; on the board, or with mpremote, from your server:"]
    lines += [f"  mip.install('http://SERVER/{path.relative_to(out).as_posix()}')" for path in map(Path, value["packages"])]
    show(value, "\n".join(lines), json)
