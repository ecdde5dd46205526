"""MicroPython on this computer: the PC port, and the boards' two architectures under emulation.

    output = Target("rv32").run("import sys; print(sys.platform)", files={"data.bin": b"..."})
    module = native_module("rv32imc")        # the C kernels as a .mpy, built or reused; name="text": those for typed text

`make toolchain` prepares everything; what is missing is said with that command in the message.
"""

import hashlib
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

DEVICE = Path(__file__).resolve().parent
BOARD_PACKAGE, NATIVE = DEVICE / "board" / "signwave", DEVICE / "native"
ARCHITECTURES = {"pc": "x64", "rv32": "rv32imc", "xtensa": "xtensawin"}
MODULES = ("kernels", "text")  # native ones: for sound, for typed text

_ARCHIVE_ADDRESS = {"rv32": 0x84000000, "xtensa": 0x10000000}  # RAM beside the heap; xtensa: toolchain/xtensa/port/link.ld

# Serves the archive's files at /m without copying them, so that a script finds them as on a board's flash.
_PROLOGUE = """
import sys, io, os, vfs, uctypes
class _File(io.IOBase):
    def __init__(self, data): self.data = data; self.at = 0
    def __enter__(self): return self
    def __exit__(self, *a): pass
    def close(self): pass
    def ioctl(self, request, arg): return 0 if request == 4 else -1
    def readinto(self, out):
        n = min(len(out), len(self.data) - self.at)
        out[:n] = self.data[self.at:self.at + n]
        self.at += n
        return n
    def read(self, n=-1):
        rest = len(self.data) - self.at
        n = rest if n is None or n < 0 or n > rest else n
        self.at += n
        return bytes(self.data[self.at - n:self.at])
class _Files:
    def __init__(self, at):
        n = uctypes.struct(at, {"n": uctypes.UINT32 | 0}, uctypes.LITTLE_ENDIAN).n
        self.found = {}
        for line in bytes(uctypes.bytearray_at(at + 4, n)).decode().split("\\n")[:-1]:
            name, offset, length = line.split("\\t")
            self.found[name] = memoryview(uctypes.bytearray_at(at + int(offset), int(length)))
        self.folders = {name.rsplit("/", 1)[0] for name in self.found if "/" in name}
    def mount(self, readonly, mkfs): pass
    def umount(self): pass
    def chdir(self, path): pass
    def stat(self, path):
        path = path.strip("/")
        if path in self.found: return (0x8000, 0, 0, 0, 0, 0, len(self.found[path]), 0, 0, 0)
        if not path or path in self.folders: return (0x4000,) + (0,) * 9
        raise OSError(2)
    def open(self, path, mode):
        path = path.strip("/")
        if path not in self.found: raise OSError(2)
        return _File(self.found[path])
vfs.mount(_Files(ADDRESS), "/m")
os.chdir("/m")
sys.path[:] = [""]
"""
_MAIN = """
try:
    import script_main
except SystemExit as _stop:
    if _stop.args and _stop.args[0]: raise RuntimeError("exit status %r" % _stop.args[0])
"""

# Part of scripts that load model.swm: one that is larger than the emulated board's heap is used where it lies, as from a
# flash file system that maps its files into memory.
LOAD_MODEL = """
def load():
    try: return Model("model.swm")
    except ValueError as error:
        if "RAM" not in str(error): raise
        return Model(open("model.swm", "rb").data)
"""


class MicroPythonError(RuntimeError):
    """MicroPython is missing, does not answer in time, or a module cannot be built; the message says what to do."""


@dataclass
class Output:
    """What a script printed, and 0 if it came to its end without an exception."""

    stdout: str
    stderr: str
    returncode: int

    def check(self) -> str:
        """The standard output; raises MicroPythonError with the script's traceback if it failed."""
        if self.returncode:
            raise MicroPythonError(f"MicroPython failed:\n{self.stdout[-2000:]}{self.stderr[-4000:]}")
        return self.stdout


def toolchain_dir() -> Path:
    """The cache of built tools: $SIGNWAVE_TOOLCHAIN, else signwave/toolchain in the user's cache folder."""
    own = os.environ.get("SIGNWAVE_TOOLCHAIN")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(cache) / "signwave" / "toolchain"


def mpy_dir() -> Path:
    """MicroPython's sources: $MPY_DIR, else the toolchain's."""
    return Path(os.environ.get("MPY_DIR") or toolchain_dir() / "micropython")


def package_files(*modules: Path | None) -> dict[str, bytes]:
    """The board package by path below a board's library folder, with native modules or none (portable kernels)."""
    files = [*sorted(BOARD_PACKAGE.glob("*.py")), *(module for module in modules if module is not None)]
    return {f"signwave/{path.name}": path.read_bytes() for path in files}


class Target:
    """A MicroPython to run scripts on: "pc" (this computer), "rv32" (as ESP32-C3), "xtensa" (as ESP32 and S3)."""

    def __init__(self, name: str):
        if name not in ARCHITECTURES:
            raise MicroPythonError(f"unknown target '{name}'; the targets are {', '.join(ARCHITECTURES)}")
        self.name, self.arch = name, ARCHITECTURES[name]
        program = {"pc": "pc/micropython", "rv32": "rv32/firmware.elf", "xtensa": "xtensa/micropython.elf"}[name]
        self.program = toolchain_dir() / program

    def missing(self) -> str | None:
        """What keeps this target from running, as a sentence; None if it can run."""
        emulator = {"rv32": "qemu-system-riscv32", "xtensa": "qemu-xtensa"}.get(self.name)
        if not self.program.exists():
            return f"MicroPython for {self.name} is not built ({self.program}); type: make toolchain"
        if emulator and not shutil.which(emulator):
            return f"the emulator {emulator} is not installed; type: make toolchain"
        return None

    def run(self, script: str | Path, files: dict[str, bytes] | None = None, timeout_s: float = 60,
            count: bool = False) -> Output:  # fmt: skip
        """Run a script (text, or the path of a file) in a folder that holds `files`.

        With `count`, rv32 executes one instruction a tick, so that its counters are exact. Raises MicroPythonError
        where the target is missing or the script is not done within `timeout_s` seconds.
        """
        if reason := self.missing():
            raise MicroPythonError(reason)
        text = script.read_bytes() if isinstance(script, Path) else script.encode()
        with tempfile.TemporaryDirectory(prefix="signwave-") as folder:
            run = {"pc": self._run_pc, "rv32": self._run_rv32, "xtensa": self._run_xtensa}[self.name]
            return run(Path(folder), {**(files or {}), "script_main.py": text}, timeout_s, count)

    def _run_pc(self, folder: Path, files: dict[str, bytes], timeout_s: float, count: bool) -> Output:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        environment = {"PATH": os.environ.get("PATH", ""), "MICROPYPATH": ""}
        command = [str(self.program), "-X", "heapsize=8m", "script_main.py"]
        return self._finish(command, timeout_s, cwd=folder, env=environment)

    def _run_xtensa(self, folder: Path, files: dict[str, bytes], timeout_s: float, count: bool) -> Output:
        archive = _archive(files)
        data = struct.pack("<I", len(archive)) + archive + self._script().encode()
        return self._finish(["qemu-xtensa", "-cpu", "de233_fpu", str(self.program)], timeout_s, input=data)

    def _run_rv32(self, folder: Path, files: dict[str, bytes], timeout_s: float, count: bool) -> Output:
        (folder / "archive").write_bytes(_archive(files))
        loader = f"loader,file={folder / 'archive'},addr={_ARCHIVE_ADDRESS['rv32']:#x},force-raw=on"
        command = ["qemu-system-riscv32", "-bios", "none", "-machine", "virt", "-display", "none", "-monitor", "none",
                   "-semihosting", "-serial", "stdio", "-device", loader, "-kernel", str(self.program)]  # fmt: skip
        if count:
            command += ["-icount", "shift=0"]
        with _Console(command, timeout_s) as console:
            console.send(b"\r\x03\x03\x01")  # the raw REPL: script, ^D; then "OK", output, ^D, traceback, ^D
            console.until(b"raw REPL; CTRL-B to exit\r\n>")
            console.send(self._script().encode() + b"\x04")
            console.until(b"OK")
            out, error = console.until(b"\x04"), console.until(b"\x04")
        return Output(out, error, 1 if error else 0)

    def _script(self) -> str:
        return _PROLOGUE.replace("ADDRESS", hex(_ARCHIVE_ADDRESS[self.name])) + _MAIN

    def _finish(self, command: list[str], timeout_s: float, **how) -> Output:
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout_s, **how)
        except subprocess.TimeoutExpired as error:
            raise MicroPythonError(_too_slow(timeout_s, error.stdout or b"")) from None
        out, error = (text.decode(errors="replace").replace("\r\n", "\n") for text in (done.stdout, done.stderr))
        if done.returncode < 0:
            error += f"\n{command[0]} was ended by signal {-done.returncode}"
        return Output(out, error, done.returncode)


class _Console:
    """A process that is talked to over its standard input and output, until a point in time."""

    def __init__(self, command: list[str], timeout_s: float):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.timeout_s, self.end, self.pending = timeout_s, time.monotonic() + timeout_s, bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def send(self, data: bytes) -> None:
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: `until` says so, with what it printed

    def until(self, token: bytes) -> str:
        """What comes before the next `token`."""
        while token not in self.pending:
            if not select.select([self.process.stdout], [], [], max(0, self.end - time.monotonic()))[0]:
                raise MicroPythonError(_too_slow(self.timeout_s, self.pending))
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise MicroPythonError(f"the emulator ended; it printed: {self.pending[-400:].decode(errors='replace')}")
            self.pending += data
        out, _, rest = bytes(self.pending).partition(token)
        self.pending = bytearray(rest)
        return out.decode(errors="replace").replace("\r\n", "\n")


def _too_slow(timeout_s: float, printed: bytes) -> str:
    text = bytes(printed[-400:]).decode(errors="replace")
    return (f"the script was not done within {timeout_s:g} s; native code that crashes loops for ever in an emulator. "
            f"It printed: {text or 'nothing'}")  # fmt: skip


def _archive(files: dict[str, bytes]) -> bytes:
    """u32 length of the index, index lines (name, offset, length), files at multiples of 16."""
    index_room = 4 + sum(len(name.encode()) + 24 for name in files)
    at, index, body = -(-index_room // 16) * 16, "", b""
    start = at
    for name, data in files.items():
        index += f"{name}\t{at}\t{len(data)}\n"
        body += data + bytes(-len(data) % 16)
        at = start + len(body)
    head = struct.pack("<I", len(index.encode())) + index.encode()
    return head.ljust(start, b"\0") + body


def native_module(arch: str, count: bool = False, name: str = "kernels") -> Path:
    """The C core for an architecture as NAME_<arch>.mpy, NAME of MODULES, built once per state of the sources.

    With `count`, the build that also has the counting functions. Raises
    MicroPythonError with the compiler's words.
    """
    if arch not in ARCHITECTURES.values():
        raise MicroPythonError(f"unknown architecture '{arch}'; known are {', '.join(ARCHITECTURES.values())}")
    if not (mpy_dir() / "py" / "dynruntime.mk").exists():
        raise MicroPythonError(f"MicroPython's sources are not in {mpy_dir()}; type: make toolchain")
    digest = hashlib.sha256(f"{arch} {count} {mpy_dir()}".encode())
    for path in sorted(NATIVE.rglob("*")):
        if path.is_file() and (path.suffix in (".c", ".h", ".mk", ".S") or path.name == "Makefile"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    build = f"{arch}{'-count' if count else ''}-{digest.hexdigest()[:16]}"
    module = toolchain_dir() / "native" / build / name / f"{name}_{arch}.mpy"
    if not module.exists():
        _build(arch, count, module)
    return module


def _build(arch: str, count: bool, module: Path) -> None:
    folder = module.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{arch}.", dir=folder.parent))
    own_gcc = toolchain_dir() / "xtensa-gcc" / "bin"
    environment = {**os.environ, "PATH": f"{own_gcc}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = ["make", "-s", "-C", str(NATIVE), f"ARCH={arch}", f"MODULE={folder.name}", f"MPY_DIR={mpy_dir()}",
               f"BUILD={work}", f"PYTHON={sys.executable}"] + (["COUNT=1"] if count else [])  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        built = next(iter(work.rglob(module.name)), None)
        if done.returncode or built is None:
            raise MicroPythonError(f"building the kernels for {arch} failed (is the toolchain complete? type: make "
                                   f"toolchain):\n{(done.stdout + done.stderr)[-3000:]}")  # fmt: skip
        keep = Path(tempfile.mkdtemp(prefix=f"{arch}.", dir=folder.parent))
        shutil.copy(built, keep / module.name)
        try:
            keep.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(keep)
    except (subprocess.TimeoutExpired, FileNotFoundError) as error:
        raise MicroPythonError(f"building the kernels for {arch} failed: {error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def code_size(module: Path) -> int:
    """Bytes of code and constants in a native .mpy: what it takes of a board's executable RAM."""
    data, at = module.read_bytes(), 4

    def number() -> int:
        nonlocal at
        value, more = 0, True
        while more:
            value, more = value << 7 | data[at] & 127, data[at] & 128
            at += 1
        return value

    names, objects = number(), number()
    for _ in range(names):
        length = number()
        at += 0 if length & 1 else (length >> 1) + 1  # a name that MicroPython knows, or its bytes and a zero
    if objects:
        raise MicroPythonError(f"{module.name} holds constant objects, which modules in C do not")
    return number() >> 3
