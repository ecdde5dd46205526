"""Puts MicroPython's firmware on an ESP32 with esptool.

    firmware = find_firmware("downloads", chip=None)       # a file, or the newest in a folder that suits the chip
    flash(firmware, port)                                  # erases the whole flash, then writes

Firmware here is the combined image that micropython.org offers as .bin: boot loader, partition table and program in one.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device.link import BoardError

# Chip number in the image's extended header: esptool's name, where the boot loader lies in flash.
_CHIPS = {
    0: ("esp32", 0x1000),
    2: ("esp32s2", 0x1000),
    5: ("esp32c3", 0x0),
    9: ("esp32s3", 0x0),
    12: ("esp32c2", 0x0),
    13: ("esp32c6", 0x0),
    16: ("esp32h2", 0x0),
    18: ("esp32p4", 0x2000),
    20: ("esp32c61", 0x0),
    23: ("esp32c5", 0x2000),
}
CHIPS = [name for name, _ in _CHIPS.values()]
_PARTITIONS = 0x8000  # where the partition table lies in flash
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Firmware:
    """A checked firmware file: for which chip, where it goes in flash, MicroPython's version if it says so."""

    path: Path
    chip: str
    offset: int
    version: tuple[int, int, int] | None


def read_firmware(path: str | Path) -> Firmware:
    """Check that a file is a combined image of MicroPython 1.24 or newer. Raises BoardError, OSError."""
    path = Path(path)
    with open(path, "rb") as f:
        image = f.read(_MOST_BYTES + 1)
    if len(image) > _MOST_BYTES or len(image) < 24 or image[0] != 0xE9 or not 1 <= image[1] <= 16:
        raise BoardError(f"{path} is no firmware image of an ESP32 (those begin with E9); take the .bin from micropython.org")
    number = int.from_bytes(image[12:14], "little")
    if number not in _CHIPS:
        raise BoardError(f"{path} is for a chip with number {number}; known are {', '.join(CHIPS)}")
    chip, offset = _CHIPS[number]
    if image[_PARTITIONS - offset : _PARTITIONS - offset + 2] != b"\xaa\x50":
        raise BoardError(f"{path} has no partition table where {chip} looks for it: a program alone, as for updates over the "
                         f"air; take the .bin from micropython.org that is for a first installation")  # fmt: skip
    match = re.search(rb"MicroPython v(\d+)\.(\d+)\.(\d+)", image)
    version = tuple(int(part) for part in match.groups()) if match else None
    if version and version < (1, 24):
        raise BoardError(f"{path} is MicroPython {'.'.join(map(str, version))}; signwave needs 1.24 or newer")
    return Firmware(path, chip, offset, version)


def find_firmware(place: str | Path, chip: str | None = None) -> Firmware:
    """The firmware file, or that of the greatest version for `chip` among a folder's .bin files.

    Raises BoardError where none suits, or where several of the same version do; OSError where it cannot be read.
    """
    place = Path(place)
    if not place.is_dir():
        firmware = read_firmware(place)
        if chip not in (None, firmware.chip):
            raise BoardError(f"{place} is for {firmware.chip}, the board is {chip}")
        return firmware
    found, refused = [], []
    for path in sorted(place.glob("*.bin")):
        try:
            found.append(read_firmware(path))
        except BoardError as error:
            refused.append(str(error))
    suited = [firmware for firmware in found if chip in (None, firmware.chip)]
    if not suited:
        others = [f"{firmware.path.name} is for {firmware.chip}" for firmware in found] + refused
        raise BoardError(f"no firmware for {chip or 'any ESP32'} in {place}{': ' if others else ''}{'; '.join(others)}")
    newest = max(firmware.version or (0, 0, 0) for firmware in suited)
    best = [firmware for firmware in suited if (firmware.version or (0, 0, 0)) == newest]
    if len(best) > 1:
        raise BoardError(f"several files would do; name one of them: {', '.join(str(firmware.path) for firmware in best)}")
    return best[0]


def commands(firmware: Firmware, port: str, baud: int = 460800) -> list[list[str]]:
    """The command lines of esptool that erase the flash and write the firmware."""
    start = [sys.executable, "-m", "esptool", "--chip", firmware.chip, "--port", port, "--baud", str(baud)]
    return [[*start, "erase-flash"], [*start, "write-flash", hex(firmware.offset), str(firmware.path)]]


def flash(firmware: Firmware, port: str, baud: int = 460800, on_line: Callable[[str], None] = lambda line: None) -> None:
    """Erase the whole flash and write the firmware; `on_line` gets what esptool prints. Raises BoardError."""
    for command in commands(firmware, port, baud):
        _esptool(command, port, on_line)


def detect_chip(port: str) -> str:
    """esptool's name of the chip on a port. Raises BoardError."""
    printed = _esptool([sys.executable, "-m", "esptool", "--port", port, "chip-id"], port, lambda line: None)
    match = re.search(r"(?:Chip type:|Connected to|Detecting chip type\.*)\s+(ESP32[-A-Z0-9]*)", printed)
    name = match.group(1).lower().replace("-", "") if match else None
    chip = max((chip for chip in CHIPS if name and name.startswith(chip)), key=len, default=None)
    if chip is None:
        raise BoardError(f"esptool does not say which chip is on {port}; name it with --chip: {', '.join(CHIPS)}")
    return chip


def _esptool(command: list[str], port: str, on_line: Callable[[str], None]) -> str:
    printed = []
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    try:
        for line in process.stdout:
            printed.append(line)
            on_line(line.rstrip())
        process.wait()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    text = "".join(printed)
    if process.returncode:
        raise BoardError(_reason(text, port))
    return text


def _reason(printed: str, port: str) -> str:
    if "No module named esptool" in printed:
        return "esptool is missing; type: pip install 'esptool>=5'"
    faults = [line for line in printed.splitlines() if "rror" in line]
    last = faults[-1].strip() if faults else printed.strip()[-300:]
    if "Failed to connect" in printed or "No serial data" in printed:
        return (f"no ESP32 answers on {port}: hold its BOOT button, press RESET, let BOOT go and type the same command again "
                f"({last})")  # fmt: skip
    return f"esptool on {port}: {last}"
