"""Firmware files are checked before anything is erased; esptool gets the right commands."""

import os
import pty
import subprocess
import sys

import pytest

from device.flash import CHIPS, commands, find_firmware, flash, read_firmware
from device.link import BoardError

NUMBERS = {"esp32": 0, "esp32s2": 2, "esp32c3": 5, "esp32s3": 9, "esp32c6": 13, "esp32p4": 18, "esp32c5": 23}
OFFSETS = {"esp32": 0x1000, "esp32s2": 0x1000, "esp32c3": 0, "esp32s3": 0, "esp32c6": 0, "esp32p4": 0x2000, "esp32c5": 0x2000}


def image(chip: str, version: str = "1.25.0") -> bytes:
    """A combined image as small as can be: boot loader with one segment and checksum, partition table, banner."""
    data = b"\0" * 16
    head = bytes([0xE9, 1, 2, 0x20]) + (0x40080000).to_bytes(4, "little")
    head += b"\xee\0\0\0" + NUMBERS[chip].to_bytes(2, "little") + bytes(10)
    loader = head + (0x3FFF0000).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data
    checksum = 0xEF
    for byte in data:
        checksum ^= byte
    loader = loader.ljust(-(-(len(loader) + 1) // 16) * 16 - 1, b"\0") + bytes([checksum])
    return loader.ljust(0x8000 - OFFSETS[chip], b"\xff") + b"\xaa\x50" + f"MicroPython v{version} on 2025-04-15".encode()


@pytest.mark.parametrize("chip", NUMBERS)
def test_chip_offset_and_version_come_from_the_image(chip, tmp_path):
    path = tmp_path / "firmware.bin"
    path.write_bytes(image(chip))
    firmware = read_firmware(path)
    assert (firmware.chip, firmware.offset, firmware.version) == (chip, OFFSETS[chip], (1, 25, 0))
    erase, write = commands(firmware, "/dev/ttyACM0")
    assert erase[-1] == "erase-flash" and write[-3:] == ["write-flash", hex(OFFSETS[chip]), str(path)]
    assert chip in CHIPS and erase[erase.index("--chip") + 1] == chip


def test_esptool_reads_the_same_chip_from_the_image(tmp_path):
    path = tmp_path / "firmware.bin"
    path.write_bytes(image("esp32c6"))
    command = [sys.executable, "-m", "esptool", "image-info", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "ESP32-C6" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(("damage", "words"), [
    (lambda data: b"UF2\n" + data, "no firmware image"),
    (lambda data: data[:20], "no firmware image"),
    (lambda data: data[:12] + b"\x63\x00" + data[14:], "number 99"),
    (lambda data: data[:0x7000], "program alone"),
    (lambda data: data.replace(b"v1.25.0", b"v1.22.2"), "needs 1.24"),
])  # fmt: skip
def test_files_that_no_board_should_get_are_refused(damage, words, tmp_path):
    path = tmp_path / "firmware.bin"
    path.write_bytes(damage(image("esp32")))
    with pytest.raises(BoardError, match=words):
        read_firmware(path)


def test_a_folder_gives_the_newest_for_the_chip(tmp_path):
    for name, chip, version in (("a", "esp32", "1.25.0"), ("b", "esp32c3", "1.24.1"), ("c", "esp32c3", "1.26.0")):
        (tmp_path / f"{name}.bin").write_bytes(image(chip, version))
    (tmp_path / "notes.bin").write_bytes(b"no firmware")
    assert find_firmware(tmp_path, "esp32c3").path.name == "c.bin"
    assert find_firmware(tmp_path, "esp32").path.name == "a.bin"
    with pytest.raises(BoardError, match="no firmware for esp32s3.*a.bin is for esp32;.*notes.bin"):
        find_firmware(tmp_path, "esp32s3")
    (tmp_path / "d.bin").write_bytes(image("esp32c3", "1.26.0"))
    with pytest.raises(BoardError, match="several files would do.*c.bin.*d.bin"):
        find_firmware(tmp_path, "esp32c3")
    with pytest.raises(BoardError, match="a.bin is for esp32, the board is esp32c3"):
        find_firmware(tmp_path / "a.bin", "esp32c3")


@pytest.mark.parametrize("which", [0, 1], ids=["erase", "write"])
def test_esptool_understands_the_commands(which, tmp_path):
    """It refuses the port and nothing before that."""
    path = tmp_path / "firmware.bin"
    path.write_bytes(image("esp32s3"))
    command = commands(read_firmware(path), str(tmp_path / "no-port"))[which]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "no-port" in done.stdout + done.stderr and "Usage" not in done.stderr, done.stderr


def test_a_port_where_no_chip_answers_says_which_button_to_hold(tmp_path):
    path = tmp_path / "firmware.bin"
    path.write_bytes(image("esp32c3"))
    other, end = pty.openpty()
    lines = []
    with pytest.raises(BoardError, match="no ESP32 answers on .*hold its BOOT button"):
        flash(read_firmware(path), os.ttyname(end), on_line=lines.append)
    assert any("esptool v5" in line for line in lines)
    os.close(end)
    os.close(other)
