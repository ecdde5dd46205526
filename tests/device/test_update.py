"""Updates on MicroPython's PC port: killed processes, littlefs and FAT whose power goes, little RAM, and the example.

tests/board/check_update.py has every reset between calls, on every target.
"""

import os
import pty
import struct
import subprocess
import sys
import time
import tty
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from device.micropython import BOARD_PACKAGE, DEVICE, mpy_dir, native_module, package_files
from device.package import bytecode
from export import format as swm
from export.graph import ConvI4, DenseI8, SumWindow, pack_i4
from tests.device.test_micropython import target_or_skip

EXAMPLES = DEVICE / "examples"


def model(name: str, cin: int = 8, cout: int = 40) -> bytes:
    """A small model without a front end, of some more than cin * cout bytes; its name tells it from others."""
    rng = np.random.default_rng(len(name))
    n = lambda low, high, *shape: rng.integers(low, high, shape)  # noqa: E731
    head = DenseI8(cin, cout, 1, 1, 8, 4, False, n(20, 90, cin), n(-99, 99, cin), n(-99, 99, cout), n(-128, 128, cout, cin))
    labels = [f"word {i}" for i in range(cout)]
    return swm.encode(swm.Model({"name": name}, labels, [0] * cout, None, [head, SumWindow(cout, cout, 3)]))


def listening_model(name: str, channels: int = 32, note: str = "") -> bytes:
    """A model of four labels that hears sound, of about 120 bytes a channel, a multiple of 8."""
    rng = np.random.default_rng(3)
    n = lambda low, high, *shape: rng.integers(low, high, shape)  # noqa: E731
    c = channels
    stem = ConvI4(40, c, 5, 1, 5, 10, False, n(300, 900, c), n(-900, 900, c), pack_i4(n(-8, 8, c, 5, 40)))
    head = DenseI8(c, 4, 1, 1, 8, 4, False, n(20, 90, c), n(-99, 99, c), n(-99, 99, 4), n(-128, 128, 4, c))
    front_end = swm.FrontEnd(list(range(64, 64 + 42 * 90, 90)))
    metadata = {"name": name, "note": note}
    model = swm.Model(metadata, ["a", "b", "c", "d"], [1 << 20] * 4, front_end, [stem, head, SumWindow(4, 4, 10)])
    return swm.encode(model)


def unsound(data: bytes) -> bytes:
    """The same file with another golden result and the right checksum."""
    return with_checksum(data[:-1] + bytes([data[-1] ^ 1]))


def with_checksum(data: bytes) -> bytes:
    return data[:12] + struct.pack("<I", zlib.crc32(data[16:])) + data[16:]


def models() -> dict[str, bytes]:
    return {"first.swm": model("first"), "second.swm": model("second"), "last.swm": model("last"),
            "unsound.swm": unsound(model("unsound"))}  # fmt: skip


# What a program does from start to start, in one process. `right`: names of models that a start may find then.
LIFE = """
import os
from signwave.update import Store

def all_of(name):
    with open(name, "rb") as f: return f.read()

FIRST, SECOND, LAST, UNSOUND = [all_of(name + ".swm") for name in ("first", "second", "last", "unsound")]

def start():
    store = Store(PATH, 2, 2)
    return store, store.open().metadata["name"]

def send(store, data):
    store.begin()
    for at in range(0, len(data), 250): store.write(data[at:at + 250])
    store.commit()

def expect(got, wanted): assert got == wanted, (got, wanted)

def life(right):
    right[:] = ["first"]
    store, name = start()
    expect(name, "first")
    right.append("second")
    send(store, SECOND)
    for _ in range(2):
        store, name = start()
        expect(name, "second")
        store.confirm()
    right[:] = ["second"]
    send(store, UNSOUND)
    store, name = start()
    expect(name, "second")
    right.append("last")
    send(store, LAST)
    for wanted in ("last", "last", "second"):
        store, name = start()
        expect(name, wanted)

def recover(right):
    store, name = start()
    assert name in right, (name, right)
    send(store, LAST)
    for _ in range(2):
        store, name = start()
        expect(name, "last")
        store.confirm()
    expect(all_of(PATH), LAST)
    expect(sorted([entry[0] for entry in os.ilistdir(FOLDER)]), ["model.swm"])
"""

# Each operation that changes files can be the last: there the process kills itself as a reset would, without any cleaning.
KILLED = """
import sys
PATH, FOLDER = "flash/model.swm", "flash"
real_open, left, torn = open, int(sys.argv[1]), sys.argv[2] == "torn"

def die():
    with real_open("right", "w") as f: f.write(" ".join(right))
    os.system("kill -9 $PPID")

def step(half=None):
    global left
    if left == 0:
        if half and torn: half()
        die()
    left -= 1

class File:
    def __init__(self, f): self.f = f
    def __enter__(self): return self
    def __exit__(self, *a): self.close()
    def write(self, data):
        step(lambda: self.f.write(memoryview(data)[:len(data) // 2]))
        return self.f.write(data)
    def flush(self): step(); self.f.flush()
    def close(self): step(); self.f.close()

class Os:
    stat, statvfs = os.stat, os.statvfs
    def rename(self, old, new): step(); os.rename(old, new)
    def remove(self, path): step(); os.remove(path)

def open_counted(path, mode):
    if mode == "rb": return real_open(path, mode)
    step()
    return File(real_open(path, mode))

import signwave.update
signwave.update.os, signwave.update.open = Os(), open_counted
right = []
life(right)
print("alive")
"""


def package() -> dict[str, bytes]:
    target_or_skip("pc")
    return package_files(native_module("x64"))


def run_pc(folder: Path, script: str, *arguments: str, heap: str = "2m", timeout_s: float = 60) -> subprocess.CompletedProcess:
    (folder / "script.py").write_text(script)
    command = [str(target_or_skip("pc").program), "-X", f"heapsize={heap}", "script.py", *arguments]
    environment = {"PATH": os.environ.get("PATH", ""), "MICROPYPATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s)


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("torn", ["whole", "torn"])
def test_a_process_killed_at_any_step_starts_again_with_a_working_model(torn, tmp_path):
    fill(tmp_path, {**package(), **models()})
    flash, killed = tmp_path / "flash", 0
    flash.mkdir()
    while True:
        for path in flash.iterdir():
            path.unlink()
        (flash / "model.swm").write_bytes(models()["first.swm"])
        done = run_pc(tmp_path, "right = []\n" + LIFE + KILLED, str(killed), torn)
        if done.returncode == 0:
            assert done.stdout == "alive\n" and killed > 40
            return
        assert done.returncode == -9, done.stdout + done.stderr
        right = (tmp_path / "right").read_text().split()
        done = run_pc(tmp_path, 'PATH, FOLDER = "flash/model.swm", "flash"\n' + LIFE + f"recover({right})")
        assert done.returncode == 0, (killed, done.stdout + done.stderr)
        killed += 1


# Power goes at each write and each erasure of a block, also in its middle; from then on the disk refuses all writes.
DISK = """
import vfs, gc
PATH, FOLDER, SIZE = "/flash/model.swm", "/flash", 512

class Disk:
    def __init__(self, data, left=-1, torn=False): self.data, self.left, self.torn, self.off = data, left, torn, False
    def readblocks(self, n, out, at=0):
        at += n * SIZE
        out[:] = memoryview(self.data)[at:at + len(out)]
    def change(self, at, new):
        if self.off: raise OSError(5)
        if self.left == 0:
            self.off = True
            if self.torn:
                half = len(new) // 2
                self.data[at:at + half] = new[:half]
            raise OSError(5)
        self.left -= 1
        self.data[at:at + len(new)] = new
    def writeblocks(self, n, data, at=None):
        if at is None and KIND is vfs.VfsLfs2: self.ioctl(6, n)
        self.change(n * SIZE + (at or 0), memoryview(data))
    def ioctl(self, op, arg):
        if op == 4: return len(self.data) // SIZE
        if op == 5: return SIZE
        if op == 6:
            if KIND is vfs.VfsLfs2: self.change(arg * SIZE, memoryview(b"\\xff" * SIZE))
            return 0

def mounted(disk, work, *arguments):
    try:
        vfs.mount(KIND(disk), "/flash")
        try: work(*arguments)
        finally:
            gc.collect()
            vfs.umount("/flash")
    except (OSError, AssertionError, ValueError):
        if not disk.off: raise

def begin():
    with open(PATH, "wb") as f: f.write(FIRST)

blank = bytearray(BLOCKS * SIZE)
KIND.mkfs(Disk(blank))
disk = Disk(blank)
mounted(disk, begin)
for torn in TORN:
    left = 0
    while True:
        disk, right = Disk(bytearray(blank), left, torn), []
        mounted(disk, life, right)
        if not disk.off: break
        disk.off, disk.left = False, -1
        try: mounted(disk, recover, right)
        except Exception:
            print("power went at block write", left, "torn" if torn else "")
            raise
        left += 1
    assert left > 40, left
    print("checked", left)
"""


@pytest.mark.parametrize("kind, blocks", [("VfsLfs2", 96), ("VfsFat", 128)])
def test_power_that_goes_at_any_block_write_leaves_a_working_model(kind, blocks, tmp_path):
    script = f"import vfs\nKIND, BLOCKS, TORN = vfs.{kind}, {blocks}, (False, True)\n" + LIFE + DISK
    done = run_pc(fill(tmp_path, {**package(), **models()}), script, heap="1m", timeout_s=200)
    assert done.returncode == 0 and done.stdout.count("checked") == 2, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["VfsLfs2", "VfsFat"])
def test_flash_that_is_too_small_loses_nothing(kind, tmp_path):
    """A disk for one model but not for two; where it does not tell its free space before, the write that fails does."""
    disk = DISK[: DISK.index("for torn in TORN")]
    script = """
for honest in (True, False):
    disk = Disk(bytearray(blank))
    vfs.mount(KIND(disk), "/flash")
    store, name = start()
    if not honest: store._check_space = lambda: None
    try:
        send(store, LAST)
        print("taken")
    except OSError as error: print(error)
    expect(sorted([entry[0] for entry in os.ilistdir(FOLDER)]), ["model.swm"])
    expect(start()[1], "first")
    vfs.umount("/flash")
"""
    files = {**package(), **models(), "first.swm": model("first", 64, 80), "last.swm": model("last", 64, 120)}
    head = f"import vfs\nKIND, BLOCKS, TORN = vfs.{kind}, {36 if kind == 'VfsLfs2' else 50}, ()\n"
    done = run_pc(fill(tmp_path, files), head + LIFE + disk + script)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2, done.stdout + done.stderr
    assert "bytes free" in lines[0] and "remove other files" in lines[0] and "flash is full" in lines[1], lines


# Models come and go in a heap that holds one.
ONE_MODEL = """
def send(name):
    piece = memoryview(bytearray(512))
    with open(name, "rb") as f:
        store.begin()
        while store.missing: store.write(piece[:f.readinto(piece[:min(512, store.missing)])])
    store.commit()
store = Store("model.swm", 1)
model = store.open()
try:
    Model("model.swm")
    print("two fit")
except (ValueError, MemoryError): print("one fits")
for name in ("second", "unsound", "last"):
    send(name + ".swm")
    print(model.self_test())
    model = None
    store = Store("model.swm", 1)
    model = store.open()
    print(model.metadata["name"], store.refused)
    store.confirm()
"""


def large_models() -> dict[str, bytes]:
    """Files of 60 kB."""
    large = {f"{name}.swm": listening_model(name, 512) for name in ("first", "second", "unsound", "last")}
    return {**large, "unsound.swm": unsound(large["unsound.swm"])}


def check_one_model(printed: str) -> None:
    lines = printed.splitlines()
    assert lines[0] == "one fits" and lines[1::2] == ["True"] * 3, lines
    assert lines[2] == "second None" and lines[6] == "last None", lines
    assert lines[4].startswith("second ") and "self-test" in lines[4], lines


def test_a_heap_with_room_for_one_model_takes_updates(tmp_path):
    """One model fits and two do not: the new one comes in beside the running one, and behind one that fails the old one fits."""
    models = large_models()
    fill(tmp_path, {**package(), **models, "model.swm": models["first.swm"]})
    done = run_pc(tmp_path, "from signwave import Model\nfrom signwave.update import Store\n" + ONE_MODEL, heap="165k")
    assert done.returncode == 0, done.stdout + done.stderr
    check_one_model(done.stdout)
    assert (tmp_path / "model.swm").read_bytes() == models["last.swm"]


# A file system for writing, in RAM outside of the heap, from 0x86000000 on: what flash is on a board.
OUTSIDE = """
import gc, uctypes
gc.threshold(4096)  # so that what importing leaves behind does not lie between what stays
gc.collect()
ballast = bytearray(gc.mem_free() - 110 * 1024)
gc.collect()
print("free", gc.mem_free())
real_open, sizes, places = open, {}, {}
class File:
    def __init__(self, path, mode):
        if mode != "rb":
            places[path] = (max(places.values()) if places else 0x86000000) + 0x40000
            sizes[path] = 0
        if path not in sizes: raise OSError(2)
        self.path, self.at = path, 0
    def __enter__(self): return self
    def __exit__(self, *a): pass
    def flush(self): pass
    def close(self): pass
    def readinto(self, out):
        n = min(len(out), sizes[self.path] - self.at)
        out[:n] = uctypes.bytearray_at(places[self.path] + self.at, n)
        self.at += n
        return n
    def read(self, n=-1):
        out = bytearray(min(n, sizes[self.path] - self.at) if n >= 0 else sizes[self.path] - self.at)
        self.readinto(out)
        return bytes(out)
    def write(self, data):
        uctypes.bytearray_at(places[self.path] + sizes[self.path], len(data))[:] = data
        sizes[self.path] += len(data)
class Files:
    def stat(self, path):
        if path not in sizes: raise OSError(2)
    def remove(self, path): del sizes[path], places[path]
    def rename(self, old, new): sizes[new], places[new] = sizes.pop(old), places.pop(old)
import signwave.model
from signwave import Model
f = File("model.swm", "wb")
with real_open("first.swm", "rb") as first:
    piece = bytearray(512)
    n = first.readinto(piece)
    while n:
        f.write(memoryview(piece)[:n])
        n = first.readinto(piece)
import signwave.update
from signwave.update import Store
signwave.update.os = Files()
signwave.update.open = signwave.model.open = File
def open(path, mode): return real_open(path, mode)
gc.collect()
gc.threshold(-1)
print("free with the package", gc.mem_free())
"""


def test_a_chip_with_110_kib_of_heap_for_package_and_model_takes_updates():
    target = target_or_skip("rv32")
    files = {f"signwave/{path.stem}.mpy": bytecode(path.read_text(), path.name) for path in BOARD_PACKAGE.glob("*.py")}
    kernels = native_module("rv32imc")
    files[f"signwave/{kernels.name}"] = kernels.read_bytes()
    printed = target.run(OUTSIDE + ONE_MODEL, {**files, **large_models()}, timeout_s=200).check()
    check_one_model(printed.split("\n", 2)[2])


def example_folder(folder: Path, seconds: int) -> None:
    """What the example needs, a recording of silence, and a new model."""
    asyncio = {f"asyncio/{path.name}": path.read_bytes() for path in (mpy_dir() / "extmod" / "asyncio").glob("*.py")}
    examples = {path.name: path.read_bytes() for path in EXAMPLES.glob("update_*.py")}
    models = {"model.swm": listening_model("old"), "new.swm": listening_model("new", note="x" * 4000)}
    fill(folder, {**package(), **asyncio, **examples, **models})
    with open(folder / "sound.wav", "wb") as f:
        f.write(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 32000 * seconds, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16,
                            b"data", 32000 * seconds))  # fmt: skip
        f.truncate(44 + 32000 * seconds)


def test_the_example_takes_a_model_while_it_listens_and_keeps_it(tmp_path):
    example_folder(tmp_path, 61)
    new = (tmp_path / "new.swm").read_bytes()
    command = [str(target_or_skip("pc").program), "-X", "heapsize=2m", "update_over_uart.py", "sound.wav"]
    with open(tmp_path / "new.swm", "rb") as line:
        done = subprocess.run(command, cwd=tmp_path, stdin=line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [text for text in done.stdout.splitlines() if "heard" in text or "runs" in text]
    assert len(runs) == 4 and "arrived" in done.stdout, done.stdout
    assert "old" in runs[0] and "on trial" not in runs[0] and "new on trial" in runs[2], runs
    assert int(runs[1].split()[1]) > len(new) // 512 and runs[3] == "heard 3050 frames", runs
    assert (tmp_path / "model.swm.new").read_bytes() == new and (tmp_path / "model.swm").read_bytes() == listening_model("old")
    assert (tmp_path / "model.swm.starts").read_bytes() == b"sg"


@contextmanager
def serial_line():
    """Two ends of a pseudo-terminal: a file descriptor and a port's name."""
    near, far = pty.openpty()
    tty.setraw(near)
    tty.setraw(far)
    try:
        yield near, os.ttyname(far)
    finally:
        os.close(near)
        os.close(far)


def test_the_examples_on_both_ends_of_a_serial_line(tmp_path):
    pytest.importorskip("serial")
    example_folder(tmp_path, 36000)
    new = (tmp_path / "new.swm").read_bytes()
    (tmp_path / "other.gif").write_bytes(b"GIF89a" + bytes(3000))
    (tmp_path / "damaged.swm").write_bytes(new[:999] + bytes([new[999] ^ 1]) + new[1000:])
    command = [str(target_or_skip("pc").program), "-X", "heapsize=2m", "update_over_uart.py", "sound.wav"]
    with serial_line() as (near, port), subprocess.Popen(command, cwd=tmp_path, stdin=near, stdout=near) as board:
        try:
            time.sleep(1)
            for name, answer in (("other.gif", "not a signwave model"), ("damaged.swm", "checksum"), ("new.swm", "arrived")):
                sent = subprocess.run([sys.executable, "update_send.py", port, name], cwd=tmp_path, capture_output=True,
                                      text=True, timeout=100)  # fmt: skip
                assert answer in sent.stdout, (name, sent.stdout + sent.stderr)
            assert board.poll() is None
        finally:
            board.kill()
    assert (tmp_path / "model.swm.new").read_bytes() == new
