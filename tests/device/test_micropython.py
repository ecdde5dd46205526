"""The same checks (tests/board) under CPython, MicroPython's PC port and both boards' architectures under emulation."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from device import micropython
from device.micropython import MODULES, MicroPythonError, Target, native_module, package_files

HERE = Path(__file__).parent
BOARD = HERE.parent / "board"
CHECKS = sorted(path.name for path in BOARD.glob("check_*.py"))
# name: (target or None for CPython, native kernels)
PLACES = {
    "cpython": (None, False),
    "pc-portable": ("pc", False),
    "pc-x64": ("pc", True),
    "rv32-rv32imc": ("rv32", True),
    "xtensa-xtensawin": ("xtensa", True),
}


@functools.cache
def board_files() -> dict[str, bytes]:
    import importlib.util

    spec = importlib.util.spec_from_file_location("vectors", HERE / "vectors.py")
    vectors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vectors)
    return {"vectors.bin": vectors.vectors(), **vectors.model_files(), **vectors.bad_files(), **vectors.text_files()}


def target_or_skip(name: str) -> Target:
    """A target that can run. Its absence fails the test where SIGNWAVE_REQUIRE_TOOLCHAIN says so."""
    target = Target(name)
    reason = target.missing()
    if reason and os.environ.get("SIGNWAVE_REQUIRE_TOOLCHAIN") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return target


def run_cpython(check: str, files: dict[str, bytes], folder: Path) -> str:
    for name, data in {**files, "main.py": (BOARD / check).read_bytes()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    done = subprocess.run([sys.executable, "-I", "-c", "import sys; sys.path.insert(0, ''); import main"], cwd=folder,
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("place", PLACES)
def test_board_checks_pass(place, check, tmp_path):
    name, native = PLACES[place]
    if name is None:
        files = {**board_files(), **package_files(), "expected_backend": b"portable"}
        assert "checked" in run_cpython(check, files, tmp_path)
        return
    target = target_or_skip(name)
    modules = [native_module(target.arch, name=kind) for kind in MODULES] if native else []
    backend = f"kernels_{target.arch}" if native else "portable"
    files = {**board_files(), **package_files(*modules), "expected_backend": backend.encode()}
    assert "checked" in target.run(BOARD / check, files, timeout_s=200).check()


@pytest.mark.parametrize("name", micropython.ARCHITECTURES)
def test_an_endless_script_is_ended_with_a_message(name):
    target = target_or_skip(name)
    with pytest.raises(MicroPythonError, match="not done within 2 s"):
        target.run("print('begun')\nwhile True: pass", timeout_s=2)


@pytest.mark.parametrize("name", micropython.ARCHITECTURES)
def test_a_failing_script_reports_its_traceback(name):
    output = target_or_skip(name).run("print('before')\n1 / 0")
    assert output.returncode == 1 and output.stdout == "before\n" and "ZeroDivisionError" in output.stderr
    with pytest.raises(MicroPythonError, match="ZeroDivisionError"):
        output.check()


@pytest.mark.parametrize("name", micropython.ARCHITECTURES)
def test_a_module_of_another_architecture_is_refused_with_the_reason(name):
    target = target_or_skip(name)
    module = bytearray(native_module(target.arch).read_bytes())
    module[2] ^= 1 << 2  # the lowest bit of the architecture's number
    files = {**package_files(), f"signwave/kernels_{target.arch}.mpy": bytes(module)}
    output = target.run("import signwave\nprint(signwave.backend.name, signwave.backend.reason)", files).check()
    assert output.startswith("portable") and "does not fit this firmware" in output


def test_older_firmware_is_refused_with_a_sentence():
    script = (
        "import sys\nclass Old:\n    name = 'micropython'\n    version = (1, 23, 0)\n"
        "class Sys:\n    implementation = Old\nsys.modules['sys'] = Sys\nimport signwave"
    )
    output = target_or_skip("pc").run(script, package_files())
    assert "needs MicroPython 1.24 or newer, this is 1.23" in output.stderr + output.stdout


def test_a_missing_toolchain_says_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setenv("SIGNWAVE_TOOLCHAIN", str(tmp_path))
    monkeypatch.delenv("MPY_DIR", raising=False)
    for name in micropython.ARCHITECTURES:
        with pytest.raises(MicroPythonError, match="make toolchain"):
            Target(name).run("print(1)")
    with pytest.raises(MicroPythonError, match="make toolchain"):
        native_module("rv32imc")


def test_unknown_names_are_refused():
    with pytest.raises(MicroPythonError, match="pc, rv32, xtensa"):
        Target("esp8266")
    with pytest.raises(MicroPythonError, match="xtensawin"):
        native_module("esp8266")
