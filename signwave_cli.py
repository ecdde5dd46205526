"""The front door: assembles the commands of the rooms and turns their errors into sentences."""

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

import device.board_cli
import device.cli
import export.cli
import kws.cli
import textbnn.cli
from export.console import note, show, table

app = typer.Typer(
    rich_markup_mode=None,  # rich would take [embedding] for markup, and cuts long words
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train 1-bit networks for spoken commands, pack them into one small file, run it under MicroPython on an ESP32.",
    epilog="Start: signwave kws synthesize speech --words yes,no, then signwave kws train --data speech --out runs/a",
)
app.add_typer(kws.cli.app, name="kws")
app.add_typer(textbnn.cli.app, name="text")
app.command("export")(kws.cli.export_run)
app.command("inspect")(export.cli.inspect)
app.command("verify")(device.cli.verify)
app.command("bench")(device.cli.bench)
app.add_typer(device.board_cli.app, name="device")


@app.command()
def run(
    file: device.cli.File,
    inputs: Annotated[list[str], typer.Argument(help="Sound files of any rate and format, or texts for a model that reads.")],
    on: Annotated[
        str, typer.Option(help="reference (NumPy), native (the C core) or micropython (PC port, native module).")
    ] = "native",
    json: device.cli.Json = False,
) -> None:
    """Run a model on sound files, centred in its window, or on texts, with one of its interpreters; print its integers.

    Example: signwave run model.swm yes.wav --on micropython; signwave run commands.swm "lights on"
    """
    from device.run import run as run_clips
    from device.run import run_texts
    from export.format import read

    if read(file).text is not None:
        return _print(inputs, run_texts(file, inputs, on), on, json)
    _decide(file, [Path(name) for name in inputs], on, lambda samples: run_clips(file, samples, on), json)


def _decide(file: Path, clips: list[Path], on: str, run_clips, json: bool) -> None:
    """Read sound files as a model wants them, let `run_clips` decide them, and print its results."""
    from export.format import read
    from kws.audio import fit_length, read_audio

    model = read(file)
    front_end = model.listening()
    length = model.ops[-1].taps * front_end.hop
    results = run_clips([fit_length(read_audio(clip, front_end.rate_hz), length) for clip in clips])
    _print([str(clip) for clip in clips], results, on, json)


def _print(inputs: list[str], results: list, on: str, json: bool) -> None:
    inputs = [os.fsencode(name).decode("utf-8", "replace") for name in inputs]  # what is no UTF-8 cannot be printed
    rows = [[name, r.label or "rejected", r.margin] for name, r in zip(inputs, results, strict=True)]
    value = {"on": on, "clips": [{"file": name, **vars(r)} for name, r in zip(inputs, results, strict=True)]}
    show(value, table([f"on {on}", "label", "margin"], rows, 2), json)


@device.board_cli.app.command("run")
def run_on_board(
    file: device.cli.File,
    clips: Annotated[list[Path], typer.Argument(help="Sound files of any rate and format.")],
    port: device.board_cli.Port = None,
    json: device.cli.Json = False,
) -> None:
    """Run a model on the board, on sound files centred in its window. The same integers as with signwave run."""
    from device.onboard import run_clips

    board = device.board_cli.connect(port)
    _decide(file, clips, "the board", lambda samples: run_clips(board, file, samples), json)


def main() -> None:
    """Exit status: 0 done; 1 the answer is no (not identical, say); 2 bad input or usage; 130 interrupted."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.showwarning = lambda message, *place: note(f"warning: {message}")
    # PyTorch's threads wait for each other by spinning: beside another busy program that costs ten times the time. Spin briefly.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # Ctrl-C, outside of the training loop, which has its own sentence
            note("interrupted; the same command goes on where it stopped")
        raise
    except Exception as error:
        status, message = explain(error)
        note(message)
        sys.exit(status)


def explain(error: Exception) -> tuple[int, str]:
    """Exit status and message for what the rooms raise on bad input; anything else is a bug of ours and raised again."""
    from device.micropython import MicroPythonError
    from export.graph import FormatError
    from textbnn.data import DataError as TextError

    # These first: the imports below take seconds.
    if isinstance(error, OSError):
        return 2, f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}"
    if isinstance(error, MicroPythonError | FormatError | TextError):
        return 2, f"error: {error}"
    from bnn.config import ConfigError
    from bnn.training import Interrupted, TrainingError
    from export.native import NativeError
    from kws.audio import AudioError
    from kws.data import DataError
    from kws.espeak import SynthesisError
    from kws.teacher import TeacherError
    from textbnn.teacher import TeacherError as TextTeacherError

    if isinstance(error, Interrupted):
        return 130, str(error)
    for kind in (
        ConfigError,
        TrainingError,
        NativeError,
        AudioError,
        DataError,
        SynthesisError,
        TeacherError,
        TextTeacherError,
    ):
        if isinstance(error, kind):
            return 2, f"error: {error}"
    raise error


if __name__ == "__main__":
    main()
