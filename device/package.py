"""The board package as it is installed: bytecode, the native kernels, and a loader that names the version in use.

    package = build(["rv32imc", "xtensawin"])
    package.files, package.loader           # path below the board's library folder: bytes

    signwave/5f3a9c01/__init__.mpy ...      one folder a version, named by what is in it
    signwave/__init__.py, __init__.mpy      the loader: a new version is in use when this small file is replaced

MicroPython takes `__init__.py` before `__init__.mpy`. Replacing one after the other leaves a loader at every moment, even
on FAT, where MicroPython's rename removes the file in its way first (on littlefs it replaces it in one step).
"""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from device.micropython import ARCHITECTURES, BOARD_PACKAGE, DEVICE, MODULES, MicroPythonError, native_module
from export.format import read, write_atomically

# The version's own __init__ runs under the package's name, so that its submodules are found through __path__.
_LOADER = """# Names the folder of the version in use; it is replaced to switch to another.
__version__ = "{version}"
__path__ += "/{digest}"
from . import __init__ as _version
_version.__name__ = __name__
def __getattr__(name):
    return getattr(_version, name)
"""


@dataclass(frozen=True)
class Package:
    """Files by path below a board's library folder; `digest` names the version's folder."""

    version: str
    digest: str
    files: dict[str, bytes]
    loader: dict[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(data) for data in [*self.files.values(), *self.loader.values()])


def build(architectures: list[str] | None = None) -> Package:
    """The package with native kernels for some architectures (default: all). Raises MicroPythonError."""
    names = list(ARCHITECTURES.values()) if architectures is None else architectures
    sources = sorted(BOARD_PACKAGE.glob("*.py"))
    files = {f"{path.stem}.mpy": bytecode(path.read_text(), path.name) for path in sources}
    for module in (native_module(arch, name=kind) for arch in names for kind in MODULES):
        files[module.name] = module.read_bytes()
    digest = hashlib.sha256(b"".join(name.encode() + b"\0" + hashlib.sha256(data).digest() for name, data in files.items()))
    folder, version = digest.hexdigest()[:8], importlib.metadata.version("signwave")
    loader = _LOADER.format(version=version, digest=folder)
    return Package(
        version,
        folder,
        {f"signwave/{folder}/{name}": data for name, data in files.items()},
        {"signwave/__init__.py": loader.encode(), "signwave/__init__.mpy": bytecode(loader, "loader.py")},
    )


def bytecode(source: str, name: str) -> bytes:
    """A module compiled by mpy-cross; `name` is what tracebacks call it, a short one, since it stays in RAM."""
    with tempfile.TemporaryDirectory(prefix="signwave-") as folder:
        path, out = Path(folder) / "module.py", Path(folder) / "module.mpy"
        path.write_text(source)
        command = [sys.executable, "-m", "mpy_cross", "-s", name, "-o", str(out), str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise MicroPythonError(f"mpy-cross refuses {name}: {(done.stderr or done.stdout).strip()[-500:]}")
        return out.read_bytes()


def write_folder(out: str | Path, models: list[Path] | None = None, architectures: list[str] | None = None) -> dict:
    """Write what mip installs from any web server: OUT/package.json and one package.json for each model.

    models: .swm files, by default those of device/models. Returns {version, bytes, packages: [path, ...]}.
    Raises MicroPythonError, FormatError, OSError.
    """
    models = sorted((DEVICE / "models").glob("*.swm")) if models is None else models
    for model in models:
        read(model)
    names = [model.stem for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise MicroPythonError(f"several models are called {', '.join(twice)}: their packages would be one; rename the files")
    out, package = Path(out), build(architectures)
    # Where a reader is cut off half-way the loader must not be there yet: it comes last, as mip keeps the order.
    packages = [_write(out, package.version, {**package.files, **package.loader})]
    packages += [_write(out / "models" / m.stem, package.version, {m.name: m.read_bytes()}) for m in models]
    return {"version": package.version, "bytes": package.size, "packages": [str(path) for path in packages]}


def _write(folder: Path, version: str, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, data)
    manifest = {"version": version, "urls": [[name, name] for name in files], "deps": []}
    write_atomically(folder / "package.json", (json.dumps(manifest, indent=1) + "\n").encode())
    return folder / "package.json"
