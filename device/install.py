"""Puts the package and models on a board so that at every moment a whole version is there.

    report = install(Board(port), [Path("model.swm")])

New files go beside the old ones (the package's into a folder of its own, models under NAME.new) and are verified by SHA-256
on the board. Only then the loader is replaced, the new version is tried, and each model is renamed to its place. The old
version is removed last; where the new one does not work on this board, the old loader comes back.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from device.link import Board, BoardError
from device.package import Package, build
from export.format import read

_RESERVE_BYTES = 8192  # flash left free, for the file system's own blocks

# The library folder, the architecture by MicroPython's number, the space, the loaders that are there.
_LOOK = """
import os, sys
lib = [p for p in sys.path if p.endswith("/lib") and not p.startswith("/rom")]
lib = lib[0] if lib else None
loaders = {}
for name in ("signwave/__init__.py", "signwave/__init__.mpy") if lib else ():
    try:
        with open(lib + "/" + name, "rb") as f: loaders[name] = f.read().hex()
    except OSError:
        pass
s = os.statvfs("/")
answer = {"lib": lib, "mpy": getattr(sys.implementation, "_mpy", 0), "version": sys.implementation.version[:3],
    "loaders": loaders, "free": s[0] * s[3]}
"""

VERIFY = """
import hashlib
answer, block = [], memoryview(bytearray(512))
for path, digest in digests:
    h = hashlib.sha256()
    try:
        with open(path, "rb") as f:
            while True:
                n = f.readinto(block)
                if not n: break
                h.update(block[:n])
    except OSError:
        pass
    if h.digest().hex() != digest: answer.append(path)
"""

# What comes before may empty the list where something is wrong.
SWITCH = """
import os
for old, new in renames: os.rename(old, new)
"""

_REMOVE = """
for path in paths: os.remove(path)
answer = None
"""

# A model is tried where that is quick; portable kernels only check its structure.
_TRY = """
import gc, sys, signwave
answer = {"kernels": signwave.backend.name, "reason": signwave.backend.reason, "failed": []}
for path, _ in renames:
    try:
        model = None
        gc.collect()
        if path in texts: from signwave.text import Text as kind, kernels_name as kernels
        else: kind, kernels = signwave.Model, signwave.backend.name
        model = kind(path)
        if kernels != "portable" and not model.self_test(): raise ValueError("its self-test gives other results")
    except (ValueError, MemoryError) as error:
        answer["failed"].append([path, str(error)])
if answer["failed"]: renames = []
"""

# What is not of this version: folders of older ones, and files that lie where copying by hand or mip puts them.
_CLEAN = """
import os
def remove(path):
    if os.stat(path)[0] & 0x4000:
        for name in os.listdir(path): remove(path + "/" + name)
        os.rmdir(path)
    else: os.remove(path)
answer = [name for name in os.listdir(home) if name not in keep]
for name in answer: remove(home + "/" + name)
"""


@dataclass
class Report:
    """What was installed: version and its folder, kernels in use and why, bytes written, models, what was removed."""

    version: str
    digest: str
    kernels: str
    reason: str
    bytes: int
    models: list[str]
    removed: list[str] = field(default_factory=list)


def install(board: Board, models: list[Path] | None = None, every_architecture: bool = False, folder: str = "/",
            progress: Callable[[str], None] = lambda text: None) -> Report:  # fmt: skip
    """Install the package and model files into `folder`. Raises BoardError, FormatError, MicroPythonError, OSError.

    The package has the native kernels of the board's architecture, or those of all with `every_architecture`.
    """
    contents, texts = {}, []
    for path in models or []:
        model = read(path)
        place = f"/{folder.strip('/')}/{path.name}".replace("//", "/")
        if place in contents:
            raise BoardError(f"two model files are called {path.name}")
        contents[place] = path.read_bytes()
        texts += [f"{place}.new"] if model.text else []
    progress("looking at the board")
    found = board.ask(_LOOK)
    _check_firmware(found)
    progress("building the package")
    arch = architecture(found["mpy"])
    package = build(None if every_architecture else [arch] if arch else [])
    written, digests = _write(board, found, package, contents, progress)
    progress("switching")
    tried = _switch(board, found, package, list(contents), texts, digests)
    removed = board.ask(_CLEAN, home=f"{found['lib']}/signwave", keep=[package.digest, "__init__.py", "__init__.mpy"])
    return Report(package.version, package.digest, tried["kernels"], tried["reason"], written, list(contents), removed)


def architecture(mpy: int) -> str | None:
    """The architecture in sys.implementation._mpy if there are native kernels for it, else None."""
    return {2: "x64", 10: "xtensawin", 11: "rv32imc"}.get(mpy >> 10 & 15)


def _check_firmware(found: dict) -> None:
    major, minor = found["version"][:2]
    if (major, minor) < (1, 24):
        raise BoardError(f"the board has MicroPython {major}.{minor}; signwave needs 1.24 or newer: signwave device flash")
    if not found["lib"]:
        raise BoardError("the board's sys.path has no folder /lib; add one in its boot.py")


def _write(board: Board, found: dict, package: Package, models: dict[str, bytes],
           progress: Callable[[str], None]) -> tuple[int, list[tuple[str, str]]]:  # fmt: skip
    """Write what is missing beside what is in use; the bytes written, and (path, SHA-256) of all that must be there."""
    lib = found["lib"]
    files = {f"{lib}/{name}": data for name, data in package.files.items()}
    files |= {f"{lib}/{name}.new": data for name, data in package.loader.items()}
    files |= {f"{path}.new": data for path, data in models.items()}
    digests = [(path, hashlib.sha256(data).hexdigest()) for path, data in files.items()]
    missing = {path: files[path] for path in board.ask(VERIFY, digests=digests, timeout_s=120)}
    size = sum(len(data) for data in missing.values())
    if size + _RESERVE_BYTES > found["free"]:
        raise BoardError(f"the board has {found['free']:,} bytes of flash free, {size + _RESERVE_BYTES:,} are needed, as old and "
                         f"new lie side by side until the switch: remove other files (mpremote fs rm :FILE)")  # fmt: skip
    if missing:
        board.copy(missing, on_file=lambda path: progress(f"writing {path.removesuffix('.new')}"))
    return size, digests


def _switch(board: Board, found: dict, package: Package, models: list[str], texts: list[str],
            digests: list[tuple[str, str]]) -> dict:  # fmt: skip
    """Bring the new version into use if all is there as sent, try it, and go back to the old one if it fails.

    texts: the new files that read text.
    """
    lib = found["lib"]
    renames = [(f"{lib}/{name}.new", f"{lib}/{name}") for name in in_order(package.loader, found["loaders"])]
    if wrong := board.ask(VERIFY + "if answer: renames = []" + SWITCH, digests=digests, renames=renames, timeout_s=120):
        raise BoardError(f"{', '.join(wrong)} did not arrive as sent; nothing was switched, type the same command again")
    try:
        renames = [(f"{path}.new", path) for path in models]
        tried = board.ask(_TRY + SWITCH, renames=renames, texts=texts, timeout_s=120)
        if tried["failed"]:
            path, reason = tried["failed"][0]
            raise BoardError(f"{path.removesuffix('.new')} does not run on this board: {reason}")
    except BoardError as error:
        raise BoardError(f"{error}. {_go_back(board, found, package)}") from None
    return tried


def in_order(loaders: Iterable[str], there: Iterable[str]) -> list[str]:
    """Loaders in the order to replace them: one that is not there yet first, to stand in while the other is replaced."""
    return sorted(loaders, key=lambda name: name in there)


def _go_back(board: Board, found: dict, package: Package) -> str:
    lib, old = found["lib"], {name: bytes.fromhex(data) for name, data in found["loaders"].items()}
    if not old:
        return "The package stays; there was none before it"
    board.copy({f"{lib}/{name}.new": data for name, data in old.items()})
    renames = [(f"{lib}/{name}.new", f"{lib}/{name}") for name in old]
    board.ask(SWITCH + _REMOVE, renames=renames, paths=[f"{lib}/{name}" for name in package.loader if name not in old])
    return "The version before is in use again"
