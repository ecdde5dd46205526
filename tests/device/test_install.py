"""Installing: what is on the board afterwards, and that it works whatever interrupts it and wherever."""

import dataclasses
import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import device.install
from device.install import SWITCH, in_order, install
from device.link import Board, BoardError
from device.package import build, bytecode
from export.format import GoldenText, encode
from tests.device.board import emulated_board
from tests.device.test_micropython import target_or_skip
from tests.export.strategies import text_model, tiny_model

# What a program on the board does; the folder of the version in use tells which one that is.
USE = """
import signwave
model = signwave.Model("/tiny.swm")
answer = [signwave.__path__.split("/")[-1], signwave.backend.name, model.metadata["name"], model.self_test()]
"""
END = "from __main__ import files\nanswer = files.end"


@functools.cache
def package(name: str):
    """The package for the emulated board under a version's name of its own, without what is not used here."""
    made = build(["rv32imc"])
    unused = ("/kernels.mpy", "/textkernels.mpy", *(f"/{n}.mpy" for n in ("cascade", "detector", "gate", "mic", "wav", "slots")))
    rename = lambda data: data.replace(made.digest.encode(), name.encode())  # noqa: E731
    files = {path.replace(made.digest, name): data for path, data in made.files.items() if not path.endswith(unused)}
    return dataclasses.replace(made, digest=name, files=files, loader={p: rename(d) for p, d in made.loader.items()})


def write_model(folder: Path, name: str) -> Path:
    path = folder / "tiny.swm"
    model = tiny_model(bands=8)
    path.write_bytes(encode(dataclasses.replace(model, metadata={**model.metadata, "name": name})))
    return path


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """An emulated board with version old00000 and a model named old, and where its file system ended then."""
    with emulated_board() as emulated, pytest.MonkeyPatch.context() as patch:
        patch.setattr(device.install, "build", lambda architectures: package("old00000"))
        board = Board(emulated.port)
        report = install(board, [write_model(tmp_path_factory.mktemp("old"), "old")])
        assert (report.kernels, report.models, report.removed) == ("kernels_rv32imc", ["/tiny.swm"], [])
        yield emulated, board, board.ask(END)


@pytest.fixture
def board(old, monkeypatch):
    """That board, with the new version ready on this side."""
    emulated, board, end = old
    emulated.power(rewind=end)
    monkeypatch.setattr(device.install, "build", lambda architectures: package("new00000"))
    assert board.ask(USE) == ["old00000", "kernels_rv32imc", "old", True]
    emulated.power()
    return board


def test_an_update_replaces_all_and_leaves_nothing_behind(board, tmp_path):
    steps = []
    report = install(board, [write_model(tmp_path, "new")], progress=steps.append)
    assert board.ask(USE) == ["new00000", "kernels_rv32imc", "new", True]
    assert report.removed == ["old00000"] and report.digest == "new00000" and "writing /tiny.swm" in steps
    assert board.ask("import os\nanswer = [sorted(os.listdir(p)) for p in ('/', '/lib', '/lib/signwave')]") == [
        ["lib", "tiny.swm"], ["signwave"], ["__init__.mpy", "__init__.py", "new00000"]]  # fmt: skip
    assert install(board, [write_model(tmp_path, "new")]).bytes < 1500  # again: only the loader and the small model


def test_a_file_that_reads_text_is_tried_by_reading(board, tmp_path):
    path, model = tmp_path / "commands.swm", text_model(channels=8, more=0)
    path.write_bytes(encode(dataclasses.replace(model, golden=GoldenText("lights", 7))))
    with pytest.raises(BoardError, match="commands.swm does not run on this board: its self-test gives other results"):
        install(board, [path])


def test_power_cut_at_any_change_leaves_a_whole_version(old, board, tmp_path):
    emulated, _, end = old
    model = write_model(tmp_path, "new")
    install(board, [model])
    log = board.ask("from __main__ import files\nanswer = files.since(begin)", begin=end)  # what each change was
    switch = next(i for i, what in enumerate(log) if what.startswith("4 lib/signwave/__init__"))
    clean = next(i for i, what in enumerate(log) if what.startswith("3 "))
    assert switch > 8 and clean - switch == 3 and len(log) > clean + 5  # two loaders and the model are renamed

    def cut(begin: int, changes: int) -> list:
        emulated.power(changes, rewind=begin)
        with pytest.raises(BoardError):
            install(board, [model])
        emulated.power()
        folder, _, name, works = board.ask(USE)
        assert works
        return [folder, name]

    assert cut(end, 0) == cut(end, 1) == cut(end, switch // 2) == cut(end, switch) == ["old00000", "old"]
    ready = board.ask(END)  # all is written, nothing is switched
    assert cut(ready, 1) == cut(ready, 2) == ["new00000", "old"]
    for changes in (3, 4, len(log) - switch - 1):
        assert cut(ready, changes) == ["new00000", "new"]
    emulated.power(rewind=ready)
    install(board, [model])  # and the same command goes on
    assert board.ask(USE)[::2] == ["new00000", "new"]


def test_ctrl_c_while_writing_leaves_the_old_version(board, tmp_path):
    model = write_model(tmp_path, "new")
    command = [sys.executable, "-m", "signwave_cli", "device", "install", str(model), "--port", board.port]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while "kernels.mpy" not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors and "the same command goes on" in errors
    assert board.ask(USE)[::2] == ["old00000", "old"]
    install(board, [model])
    assert board.ask(USE)[::2] == ["new00000", "new"]


def test_a_version_that_does_not_run_gives_way_to_the_old_one(board, tmp_path, monkeypatch):
    broken = package("new00000")
    files = {**broken.files, "signwave/new00000/model.mpy": bytecode("raise ImportError('no such thing')", "model.py")}
    monkeypatch.setattr(device.install, "build", lambda architectures: dataclasses.replace(broken, files=files))
    with pytest.raises(BoardError, match="no such thing.*The version before is in use again"):
        install(board, [write_model(tmp_path, "new")])
    assert board.ask(USE) == ["old00000", "kernels_rv32imc", "old", True]


def test_a_model_that_fails_its_self_test_takes_no_place(board, tmp_path):
    model = tiny_model(bands=8)
    golden = dataclasses.replace(model.golden, result=[score + 1 for score in model.golden.result])
    (tmp_path / "tiny.swm").write_bytes(encode(dataclasses.replace(model, golden=golden)))
    with pytest.raises(BoardError, match="/tiny.swm does not run on this board: its self-test"):
        install(board, [tmp_path / "tiny.swm"])
    assert board.ask(USE) == ["old00000", "kernels_rv32imc", "old", True]


def test_what_was_copied_by_hand_is_replaced(old, board, tmp_path):
    """The package's sources lie in /lib/signwave themselves, as somebody put them there."""
    sources = Path(device.install.__file__).parent / "board" / "signwave"
    board.ask("import os\nfor name in ('__init__.py', '__init__.mpy'): os.remove('/lib/signwave/' + name)\nanswer = 0")
    board.copy({f"/lib/signwave/{path.name}": path.read_bytes() for path in sorted(sources.glob("*.py"))})
    assert board.ask(USE)[0] == "signwave"
    assert "model.py" in install(board).removed
    assert board.ask(USE)[::2] == ["new00000", "old"]


def test_a_full_flash_is_said_before_anything_is_written(board, tmp_path, monkeypatch):
    big = dataclasses.replace(package("new00000"), files={"signwave/new00000/big.mpy": bytes(3 << 20)})
    monkeypatch.setattr(device.install, "build", lambda architectures: big)
    with pytest.raises(BoardError, match="bytes of flash free, 3,1.* are needed"):
        install(board)
    assert board.ask(USE)[::2] == ["old00000", "old"]


def test_two_models_of_one_name_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(BoardError, match="two model files are called tiny.swm"):
        install(Board("none"), [write_model(tmp_path, "a"), write_model(tmp_path / "a", "b")])


# On the file systems that boards have, cut at every block that is written: littlefs2 and FAT, in memory of the PC port.
_CUTS = """
import os, sys, vfs
class Disk:
    def __init__(self): self.data, self.left = bytearray(512 * 256), 1 << 30
    def readblocks(self, n, out, offset=0):
        out[:] = memoryview(self.data)[512 * n + offset : 512 * n + offset + len(out)]
    def writeblocks(self, n, data, offset=0):
        if self.left <= 0: raise OSError(5)
        self.left -= 1
        self.data[512 * n + offset : 512 * n + offset + len(data)] = data
    def ioctl(self, what, arg): return {4: 256, 5: 512}.get(what, 0)
def put(path, data):
    with open(path, "wb") as f: f.write(data)
def used():
    for name in list(sys.modules):
        if name.startswith("signwave"): del sys.modules[name]
    import signwave
    return signwave.version()
for name in ("VfsLfs2", "VfsFat"):
    for old in OLD:
        disk, kind, found = Disk(), getattr(vfs, name), []
        kind.mkfs(disk)
        vfs.mount(kind(disk), "/disk")
        for folder in ("", "/old", "/new"): os.mkdir("/disk/signwave" + folder)
        for version in ("old", "new"): put("/disk/signwave/" + version + "/__init__.py", b"def version(): return '%s'" % version)
        for path, data in old.items(): put("/disk/signwave/" + path, data)
        for path, data in NEW.items(): put("/disk/signwave/" + path + ".new", data)
        sys.path[:] = ["", "/disk"]
        assert used() == "old"
        vfs.umount("/disk")
        before, cut, done = bytes(disk.data), 0, False
        while not done:
            disk.data[:], disk.left = before, cut
            fs = kind(disk)
            vfs.mount(fs, "/disk")
            try:
                __import__("switch_" + str(OLD.index(old)))
                done = True
            except OSError: pass
            sys.modules.pop("switch_" + str(OLD.index(old)), None)
            vfs.umount("/disk")
            disk.left = 1 << 30
            vfs.mount(kind(disk), "/disk")
            found.append(used())
            vfs.umount("/disk")
            cut += 1
        assert found[0] == "old" and found[-1] == "new" and sorted(found, reverse=True) == found, (name, found)
        print(name, len(found))
"""


def test_the_switch_survives_a_cut_at_every_block_on_littlefs_and_fat():
    target = target_or_skip("pc")
    text = '__path__ += "/{0}"\nfrom . import __init__ as _version\ndef __getattr__(name): return getattr(_version, name)\n'
    loaders = {v: {"__init__.py": (t := text.format(v)).encode(), "__init__.mpy": bytecode(t, "i")} for v in ("old", "new")}
    real = "def version(): return 'old'\n"  # a package that lies there itself, as source or compiled
    by_hand = [{"__init__.py": real.encode()}, {"__init__.mpy": bytecode(real, "i")}]
    starts = [loaders["old"], *by_hand]
    files = {}
    for i, start in enumerate(starts):
        renames = [(f"/disk/signwave/{name}.new", f"/disk/signwave/{name}") for name in in_order(loaders["new"], start)]
        files[f"switch_{i}.py"] = f"renames = {renames!r}\n{SWITCH}".encode()
    lines = target.run(f"OLD = {starts!r}\nNEW = {loaders['new']!r}\n{_CUTS}", files).check().splitlines()
    counts = [(name, int(count)) for name, count in (line.split() for line in lines)]
    assert [name for name, _ in counts] == ["VfsLfs2"] * 3 + ["VfsFat"] * 3 and min(n for _, n in counts) > 2
