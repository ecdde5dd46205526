"""Fuzzes the C core: libFuzzer with the address and undefined-behaviour sanitizers over device/native/fuzz.c.

    make fuzz SECONDS=3600                     (or: python -m device.fuzz --seconds 3600)

begins with the kept corpus, adds what it learns to runs/fuzz/corpus and goes on from there the next time. A finding (a crash,
a read or write outside of a buffer, undefined behaviour, a broken claim of fuzz.c, more than 20 s on one input) ends the run;
it lies in runs/fuzz/findings and is reproduced by `runs/fuzz/fuzz FILE`. `--keep DIR` then writes the fewest inputs with all
of that coverage to DIR: after a change of the format,

    python -m tests.device.seeds runs/fuzz/corpus && make fuzz SECONDS=600
    rm tests/device/corpus/* && python -m device.fuzz --seconds 0 --keep tests/device/corpus

Exit status: 0 nothing found, 1 a finding, 2 it could not run.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from device.micropython import NATIVE

KEPT = Path(__file__).resolve().parents[1] / "tests" / "device" / "corpus"
MAX_INPUT = 4096  # bytes
LIMIT_S = 20  # on one input: a hang, not a busy machine
_FLAGS = ["-std=c99", "-g", "-O1", "-fwrapv", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
_SANITIZERS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
_NOT_FUZZED = {"module.c", "textmodule.c", "yardsticks.c"}  # MicroPython's glue; kernels to compare with


class FuzzError(RuntimeError):
    """What keeps the fuzzer from being built or run, and what to do."""


@dataclass
class Run:
    """executions, and a second; edges of the code reached; inputs it began with; findings, each a file and what it does."""

    executions: int
    per_second: int
    edges: int
    loaded: int
    findings: list[tuple[Path, str]]


def missing() -> str | None:
    """What keeps the fuzzer from being built, as a sentence; None if it can be."""
    library = f"libclang_rt.fuzzer-{os.uname().machine}.a"
    if not shutil.which("clang"):
        return "clang is not installed; type: make toolchain"
    found = subprocess.run(["clang", f"-print-file-name={library}"], capture_output=True, text=True).stdout.strip()
    if not Path(found).is_absolute():
        return f"clang has no {library}; type: make toolchain"
    return None


def build(program: Path, native: Path = NATIVE, sanitizers: tuple[str, ...] = _SANITIZERS) -> Path:
    """Compile the core and its fuzz target, which lie in `native`. Raises FuzzError with the compiler's words."""
    if reason := missing():
        raise FuzzError(reason)
    sources = [str(path) for path in sorted(native.glob("*.c")) if path.name not in _NOT_FUZZED]
    program.parent.mkdir(parents=True, exist_ok=True)
    command = ["clang", *_FLAGS, *sanitizers, f"-I{native}", *sources, "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise FuzzError(f"clang could not build the fuzz target:\n{done.stderr[-3000:]}")
    return program


def fuzz(program: Path, corpora: list[Path], findings: Path, seconds: int) -> Run:
    """Fuzz for some seconds (0: each input of the corpora once). New inputs go to the first corpus, findings to `findings`."""
    corpora[0].mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    limit = f"-max_total_time={seconds}" if seconds else "-runs=0"
    text = _libfuzzer(program, limit, f"-artifact_prefix={findings}/", "-print_final_stats=1", *corpora)
    (findings.parent / "log.txt").write_text(text)
    found = [path for path in sorted(set(findings.iterdir()) - before) if not path.name.startswith("slow-unit")]
    what = re.search(r"fuzz\.c:\d+: broken: .*", text) or re.search(r"(?<=SUMMARY: ).*", text)
    if not found and "stat::number_of_executed_units" not in text:
        raise FuzzError(f"the fuzz target did not run:\n{text[-3000:]}")
    number = lambda pattern: int((re.findall(pattern, text) or [0])[-1])  # noqa: E731
    return Run(number(r"stat::number_of_executed_units: *(\d+)"), number(r"stat::average_exec_per_sec: *(\d+)"),
               number(r"cov: (\d+) "), number(r"seed corpus: files: (\d+)"),
               [(path, what[0] if what else path.name.split("-")[0]) for path in found])  # fmt: skip


def keep(program: Path, corpora: list[Path], kept: Path) -> int:
    """Add to the folder `kept` the fewest inputs of the corpora that reach what they reach; how many files it then has."""
    kept.mkdir(parents=True, exist_ok=True)
    _libfuzzer(program, "-set_cover_merge=1", "-use_counters=0", kept, *corpora)
    return sum(1 for _ in kept.iterdir())


def coverage(corpora: list[Path]) -> dict[str, tuple[float, float]]:
    """Percent of lines and of branches of each source that the corpora reach. Raises FuzzError without LLVM's tools."""
    if not shutil.which("llvm-cov") or not shutil.which("llvm-profdata"):
        raise FuzzError("llvm-cov and llvm-profdata are not installed; type: apt-get install llvm")
    with tempfile.TemporaryDirectory(prefix="signwave-") as folder:
        program, raw, profile = (Path(folder) / name for name in ("fuzz", "raw", "profile"))
        build(program, NATIVE, ("-fsanitize=fuzzer", "-fprofile-instr-generate", "-fcoverage-mapping"))
        _libfuzzer(program, "-runs=0", *corpora, LLVM_PROFILE_FILE=str(raw))
        subprocess.run(["llvm-profdata", "merge", raw, "-o", profile], check=True)
        export = ["llvm-cov", "export", "-summary-only", f"-instr-profile={profile}", program]
        files = json.loads(subprocess.run(export, check=True, capture_output=True).stdout)["data"][0]["files"]
    summaries = {Path(f["filename"]).name: f["summary"] for f in files if f["filename"].endswith(".c")}
    core = {name: s for name, s in summaries.items() if not name.startswith("fuzz")}
    return {name: (s["lines"]["percent"], s["branches"]["percent"]) for name, s in core.items()}


def _libfuzzer(program: Path, *arguments: str | Path, **environment: str) -> str:
    """What the target prints, which ends by itself."""
    limits = [f"-timeout={LIMIT_S}", f"-max_len={MAX_INPUT}", "-rss_limit_mb=2048", "-detect_leaks=0"]
    command = [str(program), *limits, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    return done.stdout.decode(errors="replace")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long to fuzz (60); 0: the corpora once")
    parser.add_argument("--work", type=Path, default=Path("runs/fuzz"), metavar="DIR", help="all that is made (runs/fuzz)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the fewest inputs of the same coverage to DIR")
    parser.add_argument("--coverage", action="store_true", help="lines and branches reached (needs LLVM's tools)")
    args = parser.parse_args()
    if args.seconds < 0:
        parser.error(f"--seconds is {args.seconds}; at least 0 is needed")
    corpora = [args.work / "corpus", *([KEPT] if KEPT.is_dir() else [])]
    try:
        program = build(args.work / "fuzz")
        run = fuzz(program, corpora, args.work / "findings", args.seconds)
        print(f"{run.executions} executions, {run.per_second} a second, from {run.loaded} inputs; {run.edges} edges reached")
        for path, what in run.findings:
            print(f"FOUND {path}: {what}\n      reproduce: {program} {path}; report: {args.work / 'log.txt'}")
        if args.coverage:
            for name, (lines, branches) in coverage(corpora).items():
                print(f"  {name:<14} {lines:5.1f} % of lines, {branches:5.1f} % of branches")
        if args.keep and not run.findings:
            print(f"{keep(program, corpora, args.keep)} inputs in {args.keep}")
    except (FuzzError, OSError) as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 2
    return 1 if run.findings else 0


if __name__ == "__main__":
    sys.exit(main())
