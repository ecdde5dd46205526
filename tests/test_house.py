"""Who may import whom, and what must not be in the repository."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "bnn": {"bnn"},
    "export": {"export", "bnn"},
    "kws": {"kws", "export", "bnn"},
    "textbnn": {"textbnn", "export", "bnn"},
    "device": {"device", "export"},
}
# Files of the board package that the host runs too, so that both decide alike. They import nothing but each other.
SHARED = {
    "kws": {"device.board.signwave.decision"},
    "textbnn": {"device.board.signwave.lexicon", "device.board.signwave.slots"},
}
ROOMS = {*ALLOWED, "signwave_cli", "tests", "bench"}


def imported(path: Path) -> set[str]:
    """Names of the modules that a file imports, "." where it imports from its own package."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else node.module or "")
    return names


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_the_house_allows(room):
    for path in (ROOT / room).rglob("*.py"):
        allowed = set() if "board" in path.relative_to(ROOT).parts else ALLOWED[room]
        names = imported(path) - SHARED.get(room, set())
        assert not ({name.split(".")[0] for name in names} & ROOMS) - allowed, path


def test_what_the_host_shares_with_a_board_imports_nothing():
    for module in set.union(*SHARED.values()):
        assert imported(ROOT / (module.replace(".", "/") + ".py")) <= {"."}, module


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name]


def test_the_repository_holds_no_recordings_and_no_pickles():
    assert not [p for p in tracked() if p.suffix in {".wav", ".flac", ".ogg", ".pt", ".pkl", ".pickle", ".npy", ".npz"}]


def test_nothing_evaluates_text_or_unpickles():
    for path in tracked():
        if path.suffix == ".py" and path.name != Path(__file__).name:
            text = path.read_text()
            assert not re.search(r"(?<![\w.])(eval|exec)\(|\bpickle\b|allow_pickle=True", text), path
            assert text.count("torch.load(") <= text.count("weights_only=True"), path
