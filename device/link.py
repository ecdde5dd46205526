"""A board at the end of a serial line: found with pyserial, talked to with mpremote.

    board = Board(choose_port(None))
    facts = board.ask("import sys\\nanswer = sys.platform")     # a script on the board; its variable `answer` comes back
    board.copy({"/lib/x.py": b"..."})                           # files to the board

A port is a device (/dev/ttyACM0, COM3), a pseudo-terminal, or what pyserial opens by address (rfc2217://host:4000).
Each call begins with a soft reset of the board: boot.py runs, main.py does not, and the RAM is free.
"""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from device.micropython import MicroPythonError

# USB vendors whose serial ports are boards: chips with USB of their own, then the usual serial converters.
_VENDORS = {
    0x303A: "Espressif", 0x2E8A: "Raspberry Pi", 0xF055: "MicroPython", 0x239A: "Adafruit", 0x1209: "pid.codes",
    0x10C4: "CP210x converter", 0x1A86: "CH340 or CH9102 converter", 0x0403: "FTDI converter",
}  # fmt: skip
NO_BOARD = (
    "no board found. Plug it in with a cable that carries data (many only charge); on Linux see what `dmesg` says about it; "
    "or name its port with --port"
)
_NEVER = "if it never had MicroPython, type: signwave device flash --firmware FILE"
_ANSWER, _WRITING = "signwave-answer:", "signwave-writing:"
_PIECE_BYTES = 4096


class BoardError(MicroPythonError):
    """The board is missing, does not answer, or a script failed on it; the message says what to do."""


@dataclass(frozen=True)
class Port:
    """A serial port of this computer. `board`: whose USB it is where that looks like a board, else None."""

    device: str
    description: str
    usb: str | None
    board: str | None


def ports() -> list[Port]:
    """The serial ports of this computer, boards first."""
    from serial.tools import list_ports

    found = []
    for port in list_ports.comports():
        usb = f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None else None
        found.append(Port(port.device, port.description or "", usb, _VENDORS.get(port.vid)))
    return sorted(found, key=lambda port: (port.board is None, port.device))


def choose_port(port: str | None) -> str:
    """The port asked for, else the only board there is. Raises BoardError with the choices."""
    if port:
        return port
    boards = [found for found in ports() if found.board]
    if not boards:
        raise BoardError(NO_BOARD)
    if len(boards) > 1:
        raise BoardError(f"several boards; choose one: {' or '.join(f'--port {board.device}' for board in boards)}")
    return boards[0].device


class Board:
    """A board on a port. Every method raises BoardError."""

    def __init__(self, port: str):
        self.port = port

    def ask(self, script: str, timeout_s: float = 60, on_line: Callable[[str], None] | None = None, **values):
        """Run a script that knows `values` by name; what it leaves in `answer`, by way of JSON.

        `on_line` gets each line that it prints meanwhile.
        """
        head = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        tail = f"\nimport json\nprint({_ANSWER!r} + json.dumps(answer))\n"
        answers = []

        def sort(line: str) -> None:
            if line.startswith(_ANSWER):
                answers.append(line[len(_ANSWER) :])
            elif on_line:
                on_line(line)

        with tempfile.TemporaryDirectory(prefix="signwave-") as folder:
            path = Path(folder) / "script.py"
            path.write_text(head + script + tail, encoding="utf-8")
            self.command(["run", str(path)], timeout_s=timeout_s, on_line=sort)
        if not answers:
            raise BoardError(f"the board on {self.port} was cut off before it answered; try again")
        try:
            return json.loads(answers[-1])
        except ValueError:
            said = f"the answer of the board on {self.port} was damaged; does a program of its own print meanwhile? Try again"
            raise BoardError(said) from None

    def copy(self, files: dict[str, bytes], on_file: Callable[[str], None] | None = None) -> None:
        """Write files by their absolute path, with the folders that they lie in; `on_file` gets each path before it is written.

        Pieces of 4 KB go as scripts, which takes less than half the time of mpremote's own copying in pieces of 256 bytes.
        """
        with tempfile.TemporaryDirectory(prefix="signwave-") as folder:
            scripts = []
            for text in _writing(files):
                scripts.append(Path(folder) / f"{len(scripts)}.py")
                scripts[-1].write_text(text, encoding="utf-8")
            commands = [part for script in scripts for part in ("+", "run", str(script))]
            size = sum(len(data) for data in files.values())
            limit_s = 60 + 2 * len(scripts) + size / 500

            def progress(line: str) -> None:
                if line.startswith(_WRITING) and on_file:
                    on_file(line[len(_WRITING) :])

            self.command(commands[1:], limit_s, progress)

    def command(self, arguments: list[str], timeout_s: float, on_line: Callable[[str], None] | None = None) -> str:
        """Run mpremote on this port; all that it printed. `on_line` gets each line as it comes."""
        line = [sys.executable, "-m", "mpremote", "connect", "port:" + self.port, *arguments]
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        late = threading.Event()
        watchdog = threading.Timer(timeout_s, lambda: (late.set(), process.kill()))
        watchdog.start()
        printed = []
        try:
            for text in process.stdout:
                printed.append(text)
                if on_line:
                    on_line(text.rstrip("\r\n"))
            process.wait()
        finally:
            watchdog.cancel()
            process.kill()
            process.stdout.close()
            process.wait()
        if late.is_set():
            raise BoardError(f"the board on {self.port} did not answer within {timeout_s:.0f} s: press its reset button and try "
                             f"again; {_NEVER}")  # fmt: skip
        if process.returncode:
            raise BoardError(self._reason("".join(printed)))
        return "".join(printed)

    def _reason(self, printed: str) -> str:
        """What went wrong, out of mpremote's words or the board's traceback."""
        if "No module named mpremote" in printed:
            return "mpremote is missing; type: pip install mpremote"
        if "failed to access" in printed:
            return _unreachable(self.port)
        if "raw repl" in printed or "timeout waiting" in printed:
            return f"no MicroPython answers on {self.port}: press the board's reset button and try again; {_NEVER}"
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        last = lines[-1] if lines else "no reason given"
        if re.search(r"no module named 'signwave(\.|')", last):
            return "signwave is not on the board, or an old one; type: signwave device install"
        if "ENOSPC" in last or re.search(r"OSError: 28$", last):
            return "the board's flash is full; remove files from it (mpremote fs rm :FILE) and try again"
        if last.startswith("MemoryError"):
            return f"the board has not enough RAM ({last}); signwave device doctor --model FILE says what fits"
        return f"on the board: {last.removeprefix('mpremote: ')}"


def _writing(files: dict[str, bytes]) -> Iterator[str]:
    """Scripts that write files, to be run one after the other."""
    folders = {"/".join(parts[:i]) for parts in (path.split("/") for path in files) for i in range(2, len(parts))}
    yield (f"import os\nfrom binascii import a2b_base64\nfor path in {sorted(folders)!r}:\n    try: os.mkdir(path)\n"
           "    except OSError as error:\n        if error.errno != 17: raise\n")  # fmt: skip
    for path, data in files.items():
        yield f"print({_WRITING + path!r})\nf = open({path!r}, 'wb')\n"
        for at in range(0, len(data), _PIECE_BYTES):
            yield f"f.write(a2b_base64({base64.b64encode(data[at : at + _PIECE_BYTES])!r}))\n"
        yield "f.close()\n"


def listen(port: str, reset: bool = False) -> Iterator[bytes]:
    """What the board prints, as it comes, without disturbing the program on it; with `reset` that program starts anew.

    Raises BoardError where the port cannot be opened or goes away.
    """
    import serial

    try:
        line = serial.serial_for_url(port, baudrate=115200, timeout=0.2, do_not_open=True)
        line.dtr = line.rts = False  # on many boards they would pull the reset line
        line.open()
        with line:
            if reset:
                line.write(b"\r\x03\x03\x02\x04")  # stop the program, leave the raw REPL, reset
            while True:
                if data := line.read(max(1, line.in_waiting)):
                    yield data
    except (OSError, ValueError) as error:  # SerialException is an OSError
        if str(error).startswith("device reports readiness"):
            raise BoardError(f"the board on {port} went away") from None
        raise BoardError(_unreachable(port)) from None


def _unreachable(port: str) -> str:
    if "://" in port:
        return f"cannot open {port}: is the other side listening?"
    if os.name == "posix" and not os.path.exists(port):
        return f"there is no port {port}; signwave device boards lists what there is"
    if os.name == "posix" and not os.access(port, os.R_OK | os.W_OK):
        return f"no permission for {port}; type: sudo usermod -aG dialout $USER, then log in again"
    return f"cannot open {port}; is another program (a terminal, an editor) using it?"
