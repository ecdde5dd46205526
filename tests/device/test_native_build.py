import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device.micropython import MicroPythonError, Target, code_size, mpy_dir, native_module
from export import reference
from export.format import FrontEnd
from export.graph import Conv1b, ConvI4, DenseI8, SumWindow, encode_graph
from tests.export.strategies import random_op

NATIVE = Path(__file__).parents[2] / "device" / "native"
FLAGS = ["-std=c99", "-O2", "-fwrapv", "-fno-strict-aliasing", "-fno-tree-loop-distribute-patterns", "-ffreestanding"]
LIMIT_BYTES = {"kernels": 12 * 1024, "text": 8 * 1024}  # of a board's executable RAM


def require(reason: str | None) -> None:
    if reason and os.environ.get("SIGNWAVE_REQUIRE_TOOLCHAIN") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def target_or_skip(name: str) -> Target:
    target = Target(name)
    require(target.missing())
    return target


@pytest.mark.parametrize("arch, target", [("rv32imc", "rv32"), ("xtensawin", "xtensa")])
@pytest.mark.parametrize("count", [False, True])
@pytest.mark.parametrize("name", LIMIT_BYTES)
def test_module_fits_a_board(arch, target, count, name):
    target_or_skip(target)
    data = native_module(arch, count, name).read_bytes()
    assert data[:2] == b"M\x06"
    if not count:
        assert len(data) - 1000 < code_size(native_module(arch, name=name)) < LIMIT_BYTES[name]


@pytest.mark.parametrize("source", ["graph.c", "kernels.c", "frontend.c", "text.c", "bag.c"])
@pytest.mark.parametrize("compiler, chip", [
    ("gcc", []),
    ("riscv64-unknown-elf-gcc", ["-march=rv32imc", "-mabi=ilp32"]),
])  # fmt: skip
def test_core_needs_nothing_and_keeps_nothing(source, compiler, chip, tmp_path):
    """No library call (memset and 64-bit helpers included), no variable, no floating point, no 64-bit integer."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    out = tmp_path / "core.o"
    subprocess.run([compiler, *FLAGS, *chip, "-Wall", "-Wextra", "-Werror", "-Wdouble-promotion", "-c",
                    str(NATIVE / source), "-o", str(out)], check=True)  # fmt: skip
    tool = compiler.replace("gcc", "")
    undefined = subprocess.run([tool + "nm", "-u", out], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in undefined if name not in ("U", "_GLOBAL_OFFSET_TABLE_") and name[:3] != "sw_"] == []
    sizes = subprocess.run([tool + "size", out], capture_output=True, text=True, check=True).stdout.splitlines()[1]
    assert sizes.split()[1:3] == ["0", "0"]  # data, bss
    code = re.sub(r"//.*|/\*.*?\*/|\"[^\"]*\"", "", (NATIVE / source).read_text())
    assert not re.search(r"\b(float|double|u?int64_t|long)\b", code)


def test_build_leaves_the_sources_alone(tmp_path):
    target_or_skip("pc")
    before = sorted(NATIVE.rglob("*"))
    try:
        sources = mpy_dir()
        native_module("x64")
    except MicroPythonError as error:
        require(str(error))
    make = ["make", "-s", "-C", str(NATIVE), "ARCH=x64", f"MPY_DIR={sources}", f"BUILD={tmp_path}"]
    subprocess.run([*make, f"PYTHON={sys.executable}"], check=True, capture_output=True)
    assert (tmp_path / "kernels_x64.mpy").exists()
    assert sorted(NATIVE.rglob("*")) == before


MISUSE = """
import array
import kernels_x64 as k
def file(name):
    with open(name, "rb") as f: return bytearray(f.read())
graph, params = file("graph.bin"), file("params.bin")
state_size, value_size = k.graph_check(graph)
state, value = bytearray(state_size), bytearray(value_size)
front, out = bytearray(k.frontend_state_size(params)), bytearray(12)
samples = array.array("h", bytes(640))
k.graph_reset(bytes(graph), state)                  # bytes will do for what is only read
k.frontend_reset(params, front)
k.frontend_step(params, front, memoryview(samples)[:320], out)
k.graph_step(graph, state, value, 0, 4)
for name, call in (
    ("truncated", lambda: k.graph_check(graph[:-4])),
    ("truncated", lambda: k.graph_check(b"")),
    ("aligned", lambda: k.graph_check(memoryview(graph)[1:])),
    ("state", lambda: k.graph_reset(graph, bytearray(8))),
    ("state", lambda: k.graph_step(graph, memoryview(state)[2:], value, 0, 1)),
    ("state", lambda: k.graph_step(graph, state[:-4], value, 0, 4)),
    ("value", lambda: k.graph_step(graph, state, bytearray(8), 0, 1)),
    ("value", lambda: k.graph_step(graph, state, memoryview(value)[1:], 0, 1)),
    ("range", lambda: k.graph_step(graph, state, value, 0, 5)),
    ("range", lambda: k.graph_step(graph, state, value, 2, 1)),
    ("range", lambda: k.graph_step(graph, state, value, -1, 1)),
    ("front end", lambda: k.frontend_reset(params[:-4], front)),
    ("aligned", lambda: k.frontend_state_size(memoryview(params)[1:])),
    ("state", lambda: k.frontend_reset(params, front[:-4])),
    ("samples", lambda: k.frontend_step(params, front, samples[:100], out)),
    ("samples", lambda: k.frontend_step(params, front, bytes(639), out)),
    ("out", lambda: k.frontend_step(params, front, samples[:320], bytearray(3))),
):
    try:
        call()
    except ValueError as error:
        assert name in str(error), (name, error)
    else:
        raise SystemExit("accepted: " + name)
for call in (lambda: k.graph_reset(graph, bytes(state_size)), lambda: k.graph_check(3), lambda: k.graph_check()):
    try:
        call()
        raise SystemExit("accepted a wrong type")
    except TypeError:
        pass
print("ok")
"""


def small_model() -> tuple[list, FrontEnd]:
    rng = np.random.default_rng(2)
    ops = [random_op(rng, ConvI4, 12, 20, 2), random_op(rng, Conv1b, 20, 20, 3, 2, True),
           random_op(rng, DenseI8, 20, 3), random_op(rng, SumWindow, 3, 3, 4)]  # fmt: skip
    return ops, FrontEnd(np.linspace(32, 4000, 14).astype(int).tolist(), 320)


def test_misuse_raises_a_value_error_that_names_the_argument():
    target = target_or_skip("pc")
    ops, front_end = small_model()
    files = {"graph.bin": encode_graph(ops), "params.bin": front_end.encode(),
             "kernels_x64.mpy": native_module("x64").read_bytes()}  # fmt: skip
    assert target.run(MISUSE, files).check().strip() == "ok"


COUNTS = """
import kernels_rv32imc as k
def file(name):
    with open(name, "rb") as f: return f.read()
graph, params, x, y = (bytearray(file(n)) for n in ("graph.bin", "params.bin", "x.bin", "y.bin"))
state_size, value_size = k.graph_check(graph)
state, value, front, out = bytearray(state_size), bytearray(value_size), bytearray(k.frontend_state_size(params)), bytearray(40)
k.graph_reset(graph, state)
k.frontend_reset(params, front)
for t in range(4):
    count = k.frontend_count(params, front, memoryview(x)[640 * t:640 * t + 640], out)
    value[:40] = out
    layers = [k.graph_count(graph, state, value, i, i + 1) for i in range(2)]
    assert value[:256] == y[256 * t:256 * t + 256]
print(count, *layers)
"""


def test_instructions_on_rv32_stay_within_their_budget():
    """Exact counts: a slower kernel fails here, and the results must be right."""
    target = target_or_skip("rv32")
    rng = np.random.default_rng(1)
    ops = [random_op(rng, ConvI4, 40, 128, 3), random_op(rng, Conv1b, 128, 128, 3, 4, True)]
    front_end = FrontEnd(np.linspace(64, 3900, 42).astype(int).tolist(), 320)
    x = rng.integers(-9000, 9000, 4 * 320).astype(np.int16)
    y = reference.run(ops, reference.log_mel(x, front_end))
    files = {"graph.bin": encode_graph(ops), "params.bin": front_end.encode(), "x.bin": x.tobytes(),
             "y.bin": y.astype("<i2").tobytes(), "kernels_rv32imc.mpy": native_module("rv32imc", True).read_bytes()}  # fmt: skip
    front, stem, binary = map(int, target.run(COUNTS, files, count=True).check().split())
    assert front < 30_000
    assert stem < 2.9 * 128 * 3 * 40
    assert binary < 384 * 128 / 4.1  # with weights, slopes and biases over all their range, half of the bits set
