"""A board at the end of a serial line: QEMU's RV32 board running real MicroPython behind a pseudo-terminal.

    with EmulatedBoard() as board:
        Board(board.port).ask("answer = 1")

Two things that this firmware lacks and stock ones have are made by a boot script, which runs at every soft reset as boot.py
does: a file system, kept in RAM outside of the heap so that it survives resets, and a clock. `power(n)` takes the power away
after n more changes of the file system: all later ones fail, until it is given back. `rewind` undoes changes.
"""

import os
import pty
import select
import subprocess
import threading
import tty
from contextlib import contextmanager

import pytest

from device.micropython import Target

_FOREVER = 0xFFFFFFFF
_REBOOTED = b"soft reboot\r\nraw REPL; CTRL-B to exit\r\n>"

# An append-only log of what was done to the files, read again at every start. A file's new content is there from its
# closing on, as on littlefs; until then the old one is. Renaming replaces a file in one step.
_BOOT = """
import io, os, sys, vfs, uctypes, machine
_AT, _SIZE, _GENERATION, _LEFT, _END = 0x84000000, 0x1000000, %d, %d, %d
_HEAD = {"kind": uctypes.UINT32 | 0, "name": uctypes.UINT32 | 4, "size": uctypes.UINT32 | 8}
def _head(at):
    return uctypes.struct(_AT + at, _HEAD, uctypes.LITTLE_ENDIAN)
_cells = uctypes.struct(_AT - 16, {"generation": uctypes.UINT32 | 0, "left": uctypes.UINT32 | 4}, uctypes.LITTLE_ENDIAN)
if _cells.generation != _GENERATION:
    _cells.generation, _cells.left = _GENERATION, _LEFT
    if _END >= 0: _head(_END).kind = 0
class _File(io.IOBase):
    def __init__(self, fs, name, mode, at, size):
        self.fs, self.name, self.writing = fs, name, "r" not in mode
        self.text, self.start, self.size, self.at = "b" not in mode, at, size, 0
    def __enter__(self): return self
    def __exit__(self, *a): self.close()
    def ioctl(self, request, arg):
        if request == 4: self.close()
        return 0 if request in (1, 4) else -1
    def readinto(self, out):
        n = min(len(out), self.size - self.at)
        out[:n] = uctypes.bytearray_at(_AT + self.start + self.at, n)
        self.at += n
        return n
    def read(self, n=-1):
        n = self.size - self.at if n is None or n < 0 else min(n, self.size - self.at)
        out = bytes(uctypes.bytearray_at(_AT + self.start + self.at, n))
        self.at += n
        return out.decode() if self.text else out
    def seek(self, to, whence=0):
        self.at = to + (0, self.at, self.size)[whence]
        return self.at
    def write(self, data):
        data = data.encode() if isinstance(data, str) else data
        if self.fs.used() + len(data) > _SIZE or _SIZE < self.start + self.size + len(data): raise OSError(28)
        uctypes.bytearray_at(_AT + self.start + self.size, len(data))[:] = data
        self.size += len(data)
        return len(data)
    def flush(self): pass
    def close(self):
        if self.writing:
            self.writing = False
            self.fs.commit(1, self.name, self.size)
class _Files:
    def __init__(self):
        self.found, self.end, self.cwd = {"": None}, 0, ""
        while _head(self.end).kind: self.replay()
    def replay(self):
        head = _head(self.end)
        name = bytes(uctypes.bytearray_at(_AT + self.end + 12, head.name)).decode()
        data = self.end + 12 + (head.name + 3 & ~3)
        self.end = data + (head.size + 3 & ~3)
        if head.kind == 1: self.found[name] = (data, head.size)
        if head.kind == 2: self.found[name] = None
        if head.kind == 3: del self.found[name]
        if head.kind == 4:
            old, new = name.split("\\n")
            for path in list(self.found):
                if path == old or path.startswith(old + "/"): self.found[new + path[len(old):]] = self.found.pop(path)
    def since(self, at):
        out = []
        while _head(at).kind:
            head = _head(at)
            out.append(str(head.kind) + " " + bytes(uctypes.bytearray_at(_AT + at + 12, head.name)).decode())
            at += 12 + (head.name + 3 & ~3) + (head.size + 3 & ~3)
        return out
    def commit(self, kind, name, size=0):
        if not _cells.left: raise OSError(5)
        if _cells.left != 0xffffffff: _cells.left -= 1
        raw, head = name.encode(), _head(self.end)
        head.name, head.size = len(raw), size
        uctypes.bytearray_at(_AT + self.end + 12, len(raw))[:] = raw
        _head(self.end + 12 + (len(raw) + 3 & ~3) + (size + 3 & ~3)).kind = 0
        head.kind = kind
        self.replay()
    def used(self): return sum(entry[1] for entry in self.found.values() if entry)
    def path(self, path):
        parts = []
        for part in (path if path.startswith("/") else self.cwd + "/" + path).split("/"):
            if part == "..": parts.pop()
            elif part and part != ".": parts.append(part)
        return "/".join(parts)
    def there(self, path):
        path = self.path(path)
        if path not in self.found: raise OSError(2)
        return path
    def room(self, path):
        path = self.path(path)
        if "/" in path and self.found.get(path.rsplit("/", 1)[0], 0) is not None: raise OSError(2)
        return path
    def mount(self, readonly, mkfs): pass
    def umount(self): pass
    def chdir(self, path): self.cwd = self.there(path)
    def getcwd(self): return "/" + self.cwd
    def stat(self, path):
        entry = self.found[self.there(path)]
        return (0x8000 if entry else 0x4000,) + (0,) * 5 + (entry[1] if entry else 0, 0, 0, 0)
    def statvfs(self, path):
        return (4096, 4096, 512, 512 - (self.used() + 4095 >> 12), 512 - (self.used() + 4095 >> 12), 0, 0, 0, 0, 255)
    def ilistdir(self, path):
        folder = self.there(path)
        start = folder + "/" if folder else ""
        return iter([(name[len(start):], 0x8000 if entry else 0x4000, 0, entry[1] if entry else 0) for name, entry
            in self.found.items() if name and name.startswith(start) and "/" not in name[len(start):]])
    def mkdir(self, path):
        if self.path(path) in self.found: raise OSError(17)
        self.commit(2, self.room(path))
    def remove(self, path):
        path = self.there(path)
        if self.found[path] is None: raise OSError(21)
        self.commit(3, path)
    def rmdir(self, path):
        path = self.there(path)
        if any(name.startswith(path + "/") for name in self.found): raise OSError(39)
        self.commit(3, path)
    def rename(self, old, new): self.commit(4, self.there(old) + "\\n" + self.room(new))
    def open(self, path, mode):
        if "r" in mode: return _File(self, None, mode, *(self.found[self.there(path)] or (0, 0)))
        name = self.room(path)
        return _File(self, name, mode, self.end + 12 + (len(name.encode()) + 3 & ~3), 0)
files = _Files()
vfs.mount(files, "/")
if "/lib" not in sys.path: sys.path.append("/lib")
class _Time:
    @staticmethod
    def ticks_us(): return machine.mem32[0x0200bff8] // 10 & 0x3fffffff
    @staticmethod
    def ticks_ms(): return machine.mem32[0x0200bff8] // 10000 & 0x3fffffff
    @staticmethod
    def ticks_diff(a, b): return (a - b + 0x20000000 & 0x3fffffff) - 0x20000000
sys.modules["time"] = _Time
"""


class EmulatedBoard:
    """MicroPython on an emulated chip; `port` is its serial line."""

    def __init__(self):
        self._generation, self._left, self._rewind = 1, _FOREVER, -1
        self._emulator = subprocess.Popen(
            ["qemu-system-riscv32", "-bios", "none", "-machine", "virt", "-display", "none", "-monitor", "none",
             "-semihosting", "-serial", "stdio", "-kernel", str(Target("rv32").program)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)  # fmt: skip
        self._line, self._end = pty.openpty()
        tty.setraw(self._line)
        tty.setraw(self._end)
        self.port = os.ttyname(self._end)
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        os.close(self._stop)
        self._emulator.kill()
        self._thread.join()
        for stream in (self._emulator.stdin, self._emulator.stdout):
            stream.close()
        self._emulator.wait()
        for end in (self._line, self._end, self._wake):
            os.close(end)

    def power(self, changes: int = _FOREVER, rewind: int = -1) -> None:
        """Let the file system take so many more changes, from the next soft reset on.

        rewind: a value that `files.end` once had on the board: the changes since then are undone.
        """
        self._generation, self._left, self._rewind = self._generation + 1, changes, rewind

    def _relay(self) -> None:
        """Pass bytes both ways; after a soft reset, run the boot script before the other side hears of the prompt."""
        chip, printed = self._emulator.stdout.fileno(), b""
        while True:
            ready = select.select([chip, self._line, self._wake], [], [])[0]
            if self._wake in ready:
                return
            if self._line in ready:
                self._emulator.stdin.write(os.read(self._line, 4096))
            if chip in ready:
                data = os.read(chip, 4096)
                if not data:
                    return
                printed = (printed + data)[-200:]
                if printed.endswith(_REBOOTED):
                    self._boot(chip)
                    printed = b""
                os.write(self._line, data)

    def _boot(self, chip: int) -> None:
        script = (_BOOT % (self._generation, self._left, self._rewind)).encode() + b"\x04"
        for at in range(0, len(script), 256):
            self._emulator.stdin.write(script[at : at + 256])
        answer = b""
        while answer.count(b"\x04") < 2 or not answer.endswith(b">"):
            answer += os.read(chip, 4096)
        if answer != b"OK\x04\x04>":
            raise RuntimeError(f"the boot script failed: {answer.decode(errors='replace')}")


@contextmanager
def emulated_board():
    """An EmulatedBoard; skips the test where there is no emulator, or fails it where SIGNWAVE_REQUIRE_TOOLCHAIN says so."""
    if reason := Target("rv32").missing():
        (pytest.fail if os.environ.get("SIGNWAVE_REQUIRE_TOOLCHAIN") == "1" else pytest.skip)(reason)
    with EmulatedBoard() as board:
        yield board
