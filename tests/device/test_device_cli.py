"""signwave device ... as a user types it, with real MicroPython at the other end of the line."""

import io
import json
import sys

import numpy as np
import pytest
import soundfile

import signwave_cli
from device import link
from device.link import Port
from device.onboard import PACKAGE_RAM_BYTES, needs
from device.ram import attempt, bytecode_files
from export.format import Model, encode, read, write
from export.graph import SumWindow
from tests.device.board import emulated_board
from tests.device.test_flash import image
from tests.device.test_micropython import target_or_skip
from tests.export.strategies import tiny_model

COMMANDS = "boards doctor flash install run monitor capture bench package".split()


@pytest.fixture
def signwave(monkeypatch, capsys):
    """Call with arguments behind `signwave device`; returns (exit status, standard output, standard error)."""

    def call(*arguments, under="device", typed=""):
        monkeypatch.setattr(sys, "argv", ["signwave", *under.split(), *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as stop:
            signwave_cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return stop.value.code or 0, out, err

    return call


@pytest.fixture(scope="module")
def port():
    with emulated_board() as emulated:
        yield emulated.port


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.swm"
    path.write_bytes(encode(tiny_model(bands=8)))
    return path


def one_object(result) -> dict:
    status, out, err = result
    assert status == 0 and out.count("\n") == 1, err
    return json.loads(out)


def test_from_a_bare_board_to_a_measured_model(signwave, port, tiny, tmp_path):
    facts = one_object(signwave("doctor", "--port", port, "--model", tiny, "--json"))
    assert facts["signwave"] is None and facts["fits"] and "signwave device install" in facts["next"]
    report = one_object(signwave("install", tiny, "--port", port, "--json"))
    assert report["kernels"] == "kernels_rv32imc" and report["models"] == ["/tiny.swm"]

    facts = one_object(signwave("doctor", "--port", port, "--json"))
    assert (facts["arch"], facts["version"], facts["signwave"]) == ("rv32imc", "1.25.0", report["version"])
    assert facts["models"] == {"/tiny.swm": tiny.stat().st_size} and facts["next"].startswith("ready")
    assert 100_000 < facts["ram_largest"] <= facts["ram_free"] < 180_000 and 0 < facts["flash_free"] < facts["flash_size"]
    status, out, _ = signwave("doctor", "--port", port)
    assert status == 0 and "virt" in out and "tiny.swm" in out

    value = one_object(signwave("bench", tiny, "--port", port, "--frames", 3, "--out", tmp_path / "times.md", "--json"))
    assert [s["name"] for s in value["stages"]] == ["front end", *(op.name for op in read(tiny).ops)]
    assert all(0 < s["mean_us"] <= s["most_us"] for s in value["stages"]) and value["hop_us"] == 20_000
    assert value["frame_us"] == pytest.approx(sum(s["mean_us"] for s in value["stages"]), abs=0.1)
    assert value["ram"]["peak_bytes"] > value["ram"]["import_bytes"] > 10_000
    assert "| front end |" in (tmp_path / "times.md").read_text()


def test_the_board_gives_the_same_integers_as_the_host(signwave, port, tiny, tmp_path):
    one_object(signwave("install", "--port", port, "--json"))
    rng, clips = np.random.default_rng(5), []
    for i, loud in enumerate((200, 5000)):
        clips.append(tmp_path / f"{i}.wav")
        soundfile.write(clips[-1], (rng.normal(0, loud, 4000)).clip(-32768, 32767).astype(np.int16), 16000)
    board = one_object(signwave("run", tiny, *clips, "--port", port, "--json"))["clips"]
    assert board == one_object(signwave("run", tiny, *clips, "--json", under=""))["clips"] and len(board) == 2
    files = link.Board(port).ask("import os\nanswer = os.listdir('/')")
    assert not [name for name in files if "scratch" in name]


def test_a_model_that_is_too_large_does_not_fit(signwave, port, tmp_path):
    big = tmp_path / "big.swm"
    labels = [f"label {i} {'x' * 240}" for i in range(512)]
    write(Model({"name": "big"}, labels, [0] * 512, None, [SumWindow(512, 512, 2)]), big)
    status, out, _ = signwave("doctor", "--port", port, "--model", big, "--json")
    value = json.loads(out)
    assert status == 1 and not value["fits"] and value["obstacles"][0].startswith("RAM: ")
    status, out, _ = signwave("doctor", "--port", port, "--model", big)
    assert status == 1 and "big.swm does not fit: RAM" in out


def test_the_ram_that_doctor_reckons_with_is_enough(tiny):
    """Before the package is there its RAM cannot be measured; on most chips the native code lies elsewhere besides."""
    target_or_skip("rv32")
    after_import, after_load = attempt(bytecode_files(), tiny, 100 * 1024)
    file_bytes, beside = needs(tiny)
    assert PACKAGE_RAM_BYTES - 4096 < after_import < PACKAGE_RAM_BYTES
    assert after_load - after_import < file_bytes + beside + 4096


def refused(result) -> str:
    status, out, err = result
    assert status == 2 and not out, (out, err)
    return " ".join(err.split())


def test_without_a_board_every_command_says_what_to_do(signwave, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(link, "ports", list)
    (tmp_path / "firmware.bin").write_bytes(image("esp32c3"))
    for command in (["doctor"], ["install"], ["monitor"], ["bench", tiny], ["capture", "--label", "a", "--out", tmp_path / "o"],
                    ["flash", "--firmware", tmp_path / "firmware.bin"]):  # fmt: skip
        assert "no board found. Plug it in" in refused(signwave(*command))
    status, out, _ = signwave("boards")
    assert status == 1 and "no board found" in out
    assert "there is no port" in refused(signwave("doctor", "--port", tmp_path / "none", "--json"))


def test_boards_come_first_in_the_list(signwave, monkeypatch):
    found = [Port("/dev/ttyACM0", "USB JTAG", "303a:1001", "Espressif"), Port("/dev/ttyS0", "n/a", None, None)]
    monkeypatch.setattr(link, "ports", lambda: found)
    assert one_object(signwave("boards", "--json"))["ports"][0]["board"] == "Espressif"
    assert "303a:1001" in signwave("boards")[1]


def test_flash_asks_first_and_a_dry_run_touches_nothing(signwave, tmp_path, monkeypatch):
    path = tmp_path / "firmware.bin"
    path.write_bytes(image("esp32"))
    value = one_object(signwave("flash", "--firmware", path, "--port", "/dev/ttyUSB7", "--dry-run", "--json"))
    assert (value["chip"], value["offset"], value["version"]) == ("esp32", 0x1000, [1, 25, 0])
    erase, write = value["commands"]
    assert erase.endswith("--chip esp32 --port /dev/ttyUSB7 --baud 460800 erase-flash") and "write-flash 0x1000" in write
    for answer in ("n\n", ""):
        status, out, err = signwave("flash", "--firmware", path, "--port", "/dev/ttyUSB7", typed=answer)
        assert status == 1 and "Erase everything" in err and not out.strip()
    assert "Could not open" in refused(signwave("flash", "--firmware", path, "--port", "/dev/ttyUSB7", "--yes"))
    assert "'esp8266'; known are esp32" in refused(signwave("flash", "--firmware", path, "--chip", "esp8266"))
    assert "No such file" in refused(signwave("flash", "--firmware", tmp_path / "none.bin", "--port", "x"))


def test_broken_models_are_named_before_the_board_is_touched(signwave, tmp_path):
    broken = tmp_path / "broken.swm"
    broken.write_bytes(b"nothing")
    for command in (["install", broken], ["bench", broken], ["doctor", "--model", broken]):
        assert "broken.swm" in refused(signwave(*command, "--port", "none"))


def test_help_teaches(signwave):
    status, out, _ = signwave("--help")
    assert status == 0 and all(command in out for command in COMMANDS)
    for command in COMMANDS:
        status, out, _ = signwave(command, "--help")
        assert status == 0 and "Usage" in out
