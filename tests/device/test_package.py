"""The package that is installed: bytecode that needs little RAM, and folders that mip installs from any web server."""

import functools
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from device.link import Board
from device.micropython import DEVICE, MicroPythonError
from device.package import build, bytecode, write_folder
from device.ram import attempt, bytecode_files, heap_needed, source_files
from export.format import encode
from tests.device.board import emulated_board
from tests.device.test_micropython import target_or_skip
from tests.export.strategies import tiny_model

MODELS = sorted((DEVICE / "models").glob("*.swm"))


def test_names_tell_contents():
    target_or_skip("rv32")
    one, same, other = build(["rv32imc"]), build(["rv32imc"]), build([])
    assert one == same and one.digest != other.digest
    folder = f"signwave/{one.digest}/"
    names = ("kernels_rv32imc", "text_rv32imc", "model", "__init__")
    assert {f"{folder}{name}.mpy" for name in names} <= set(one.files)
    assert all(name.startswith(folder) and data[:1] == b"M" for name, data in one.files.items())
    assert set(one.loader) == {"signwave/__init__.py", "signwave/__init__.mpy"}
    assert one.digest.encode() in one.loader["signwave/__init__.mpy"] and one.size < 72 * 1024


def test_code_that_micropython_does_not_know_is_refused():
    with pytest.raises(MicroPythonError, match="mpy-cross refuses odd.py"):
        bytecode("x = {**{}}\nmatch x:\n  case _: pass", "odd.py")


@pytest.mark.parametrize("loader", ["source", "bytecode"])
@pytest.mark.parametrize("target", ["pc", "rv32"])
def test_each_loader_brings_the_whole_package(loader, target):
    machine = target_or_skip(target)
    package = build([machine.arch])
    files = package.files | package.loader
    if loader == "bytecode":  # it stands in where the other is missing
        del files["signwave/__init__.py"]
    script = """
import signwave, sys
from signwave import Model
import signwave.mic
assert signwave.Model is Model and signwave.mic is sys.modules["signwave.mic"]
assert signwave.Detector is sys.modules["signwave.detector"].Detector
try: signwave.nothing
except AttributeError: print(signwave.backend.name, signwave.__version__, Model("tiny.swm").self_test())
"""
    output = machine.run(script, files | {"tiny.swm": encode(tiny_model(bands=8))}).check()
    assert output.split() == [f"kernels_{machine.arch}", package.version, "True"]


@pytest.mark.skipif(not MODELS, reason="no model comes along")
def test_package_and_model_fit_a_heap_of_110_kb_as_bytecode_alone():
    """What is in use at the worst moment of import and load: the model, its buffers, the package with its native code."""
    target_or_skip("rv32")
    model = max(MODELS, key=lambda path: path.stat().st_size)
    assert attempt(bytecode_files(), model, 110 * 1024)
    assert attempt(source_files(), model, 110 * 1024) is None


def test_the_heap_needed_is_found_by_trying():
    target_or_skip("rv32")
    files = bytecode_files()
    heap = heap_needed(files, step=1024)
    assert attempt(files, None, heap) and attempt(files, None, heap - 1024) is None and 16 * 1024 < heap < 48 * 1024


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    """A web server on a folder: (folder, address)."""
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{web.server_address[1]}"
        web.shutdown()
        thread.join()


@pytest.fixture
def published(server):
    """Package and a model as mip wants them, on a web server: their addresses."""
    folder, address = server
    (folder / "tiny.swm").write_bytes(encode(tiny_model(bands=8)))
    for target in ("pc", "rv32", "xtensa"):
        target_or_skip(target)
    made = write_folder(folder / "web", [folder / "tiny.swm"])
    assert [Path(path).relative_to(folder / "web").as_posix() for path in made["packages"]] == [
        "package.json", "models/tiny/package.json"]  # fmt: skip
    return [f"{address}/web/{name}" for name in ("package.json", "models/tiny/package.json")]


STOCK = importlib.util.find_spec("micropython_unix")


@pytest.mark.skipif(STOCK is None, reason="the wheel of MicroPython's PC port is for Linux on x86-64 alone")
def test_mip_of_the_pc_port_installs_package_and_model(published, tmp_path):
    """MicroPython's own mip, in a build of the PC port that is not ours; the installed package then runs there."""
    lib = tmp_path / "lib"
    install = "\n".join(["import mip", *(f"mip.install({address!r}, target={str(lib)!r})" for address in published)])
    use = f"import signwave\nprint(signwave.backend.name, signwave.Model({str(lib / 'tiny.swm')!r}).self_test())"

    def run(script):
        command, env = [sys.executable, "-m", "micropython_unix", "-c", script], {**os.environ, "MICROPYPATH": f"{lib}:.frozen"}
        return subprocess.run(command, env=env, cwd=tmp_path, text=True, timeout=120, check=True, capture_output=True).stdout

    assert run(install).count("Done") == 2
    assert run(use).split() == ["kernels_x64", "True"]


def test_mip_of_mpremote_installs_package_and_model_on_a_board(published):
    """mpremote's mip, at work on a board at the end of a serial line."""
    with emulated_board() as emulated:
        board = Board(emulated.port)
        board.ask("import os\nos.mkdir('/lib')\nanswer = None")
        for address in published:
            board.command(["mip", "install", address], timeout_s=300)
        script = "import signwave\nanswer = [signwave.backend.name, signwave.Model('/lib/tiny.swm').self_test()]"
        assert board.ask(script) == ["kernels_rv32imc", True]


def test_models_of_one_name_are_not_written_over_each_other(tmp_path):
    source = next((DEVICE / "models").glob("*.swm"))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.swm").write_bytes(source.read_bytes())
    with pytest.raises(MicroPythonError, match="several models are called model"):
        write_folder(tmp_path / "out", [tmp_path / "a" / "model.swm", tmp_path / "b" / "model.swm"])
    assert not (tmp_path / "out").exists()


def test_a_manifest_lists_the_loader_last_and_every_architecture(tmp_path):
    for target in ("pc", "rv32", "xtensa"):
        target_or_skip(target)
    write_folder(tmp_path, [])
    manifest = json.loads((tmp_path / "package.json").read_text())
    names = [name for name, _ in manifest["urls"]]
    assert [Path(name).name for name in names[-2:]] == ["__init__.py", "__init__.mpy"] and manifest["deps"] == []
    assert {"kernels_x64.mpy", "kernels_rv32imc.mpy", "kernels_xtensawin.mpy"} <= {Path(name).name for name in names}
    assert all((tmp_path / url).is_file() for _, url in manifest["urls"])
