"""Looks at a board and runs models on it, over its serial line.

    facts = examine(Board(port), Path("model.swm"))       # what is there, and whether the model fits
    result = run_clips(board, path, [samples])            # the same integers as every other interpreter gives
    times = measure(board, path)                          # microseconds of each layer, RAM
"""

import hashlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from device.install import VERIFY, architecture
from device.link import Board, BoardError
from device.run import Result
from export import native
from export.format import Model, read
from export.graph import FormatError, encode_graph

# RAM that importing the package takes, where it cannot be measured because it is not installed yet; tests hold it to that.
PACKAGE_RAM_BYTES = 28 * 1024
_WORKING_RAM_BYTES = 8 * 1024  # for the program that listens
_SCRATCH = "/signwave-scratch"

_EXAMINE = """
import gc, os, sys
def largest():
    low, high = 0, gc.mem_free() + 1
    while high - low > 512:
        gc.collect()
        middle = (low + high) // 2
        try:
            bytearray(middle)
            low = middle
        except MemoryError:
            high = middle
    gc.collect()
    return low
def models(folder, deeper):
    for entry in os.ilistdir(folder or "/"):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            if deeper: models(path, False)
        elif path.endswith(".swm"):
            found.append([path, os.stat(path)[6]])
found = []
gc.collect()
disk, me = os.statvfs("/"), sys.implementation
answer = {"machine": getattr(me, "_machine", sys.platform), "version": me.version[:3], "mpy": getattr(me, "_mpy", 0),
    "ram_free": gc.mem_free(), "ram_largest": largest(), "flash_free": disk[0] * disk[3], "flash_size": disk[1] * disk[2],
    "models": found, "signwave": None, "kernels": None, "reason": None}
models("", True)
try:
    import signwave
    gc.collect()
    answer["signwave"] = getattr(signwave, "__version__", "unknown")
    answer["kernels"], answer["reason"] = signwave.backend.name, signwave.backend.reason
    answer["ram_free"], answer["ram_largest"] = gc.mem_free(), largest()
except Exception as error:
    answer["reason"] = str(error)
"""

_RUN = """
import signwave
model, hop, answer = signwave.Model(path), None, []
for clip in clips:
    model.reset()
    with open(clip, "rb") as f:
        hop = bytearray(2 * model.hop)
        while f.readinto(hop) == len(hop): top = model.step(hop)
    answer.append([None if top is None else model.labels[top], model.margin, model.scores()])
"""

# Each stage on the same frames of noise; the clock's own cost, the least of a hundred times, is taken off.
_MEASURE = """
import gc, time
from array import array
peak = 0
def used():
    global peak
    peak = max(peak, gc.mem_alloc())
    gc.collect()
    return gc.mem_alloc()
start = used()
from signwave import Model, backend
imported = used() - start
model = Model(path)
loaded = used() - start - imported
kernels, graph, state, value = backend.kernels, model._graph, model._state, model._value
ticks, diff, n = time.ticks_us, time.ticks_diff, model.layers + 1
total, most, own = [0] * n, [0] * n, 1 << 20
for _ in range(100):
    begin = ticks()
    own = min(own, diff(ticks(), begin))
block, seed = bytearray(2 * model.hop if model.hop else model.frame_bytes), 1
for frame in range(frames + 1):
    for i in range(len(block)):
        seed = (seed * 1103 + 12345) & 0xffff
        block[i] = seed >> 8
    for i in range(n):
        if i == 0 and not model.hop: value[:len(block)] = block
        begin = ticks()
        if i: kernels.graph_step(graph, state, value, i - 1, i)
        elif model.hop: kernels.frontend_step(model._params, model._audio, block, value)
        spent = max(0, diff(ticks(), begin) - own)
        if frame:
            total[i] += spent
            most[i] = max(most[i], spent)
used()
answer = {"kernels": backend.name, "mean": [t / frames for t in total], "most": most, "import": imported, "model": loaded,
    "peak": peak, "free": gc.mem_free()}
"""


def needs(path: str | Path) -> tuple[int, int]:
    """(bytes of the file, bytes of RAM beside it) that a model takes on a board. Raises FormatError, OSError."""
    model = read(path)
    if model.text is not None:
        return Path(path).stat().st_size, native.Text(model.text.encode(), encode_graph(model.ops)).value_size
    graph = native.Graph(encode_graph(model.ops))
    beside = graph.state_size + graph.value_size
    if model.front_end:
        beside += native.FrontEnd(model.front_end.encode()).state_size
    return Path(path).stat().st_size, beside


def examine(board: Board, model: Path | None = None) -> dict:
    """What is on a board, and what to do next.

    machine, version, arch (of native kernels for it, else None); signwave (version or None), kernels, reason;
    ram_free, ram_largest (in one piece; with the package imported where there is one), flash_free, flash_size; models
    as {path: bytes}; with a model: fits, obstacles (list of sentences); next: a sentence. Raises BoardError, FormatError.
    """
    size = needs(model) if model else None
    facts = board.ask(_EXAMINE)
    facts["arch"] = architecture(facts.pop("mpy"))
    facts["version"] = ".".join(str(part) for part in facts["version"])
    facts["models"] = dict(facts["models"])
    if size:
        facts["obstacles"] = _obstacles(facts, *size)
        facts["fits"] = not facts["obstacles"]
    facts["next"] = _next_step(facts, board.port)
    return facts


def _obstacles(facts: dict, file_bytes: int, beside: int) -> list[str]:
    """Why a model of this size does not fit; nothing if it does."""
    package = 0 if facts["signwave"] else PACKAGE_RAM_BYTES
    free, piece = facts["ram_free"] - package, facts["ram_largest"] - package
    total = file_bytes + beside + _WORKING_RAM_BYTES
    out = []
    if free < total:
        out.append(f"RAM: {max(0, free):,} bytes free, {total:,} needed")
    if piece < file_bytes:
        out.append(f"RAM: {max(0, piece):,} bytes in one piece, the file needs {file_bytes:,}")
    if facts["flash_free"] < file_bytes and file_bytes not in facts["models"].values():
        out.append(f"flash: {facts['flash_free']:,} bytes free, the file has {file_bytes:,}")
    return out


def _next_step(facts: dict, port: str) -> str:
    if tuple(int(part) for part in facts["version"].split(".")) < (1, 24):
        return f"this firmware is older than 1.24; type: signwave device flash --port {port} --firmware FILE"
    if not facts["signwave"]:
        return f"type: signwave device install MODEL.swm --port {port}"
    if facts.get("obstacles"):
        return "take a smaller model (preset s), or a board with PSRAM"
    if facts["kernels"] == "portable":
        return f"the kernels are the slow ones ({facts['reason']}); type: signwave device install --port {port}"
    if not facts["models"]:
        return f"no model is on the board; type: signwave device install MODEL.swm --port {port}"
    return f"ready; type: signwave device bench MODEL.swm --port {port}"


def run_clips(board: Board, path: Path, clips: list[np.ndarray]) -> list[Result]:
    """Decide clips, each (sample,) int16 at the model's rate, on the board. Raises BoardError, FormatError."""
    read(path).listening()
    sounds = {f"{_SCRATCH}-{i}.raw": clip.astype("<i2").tobytes() for i, clip in enumerate(clips)}
    with on_board(board, path, sounds) as place:
        answers = board.ask(_RUN, path=place, clips=list(sounds), timeout_s=60 + 60 * len(clips))
    return [Result(*answer) for answer in answers]


def measure(board: Board, path: Path, frames: int = 50) -> dict:
    """Times and memory of a model on the board, over `frames` frames of noise.

    kernels; stages: list of {name, mean_us, most_us}, front end first; frame_us, most_us (all stages of a frame);
    hop_us and load (frame_us / hop_us; None where there is no front end); ram: bytes that import and model take, peak (the
    most in use, garbage included) and free (with the model loaded). Raises BoardError, FormatError.
    """
    model = read(path)
    if model.text is not None:
        raise FormatError(f"{path} reads text, and only sound is measured on boards: signwave bench {path} counts instructions")
    with on_board(board, path) as place:
        got = board.ask(_MEASURE, path=place, frames=frames, timeout_s=600)
    names = ["front end", *(op.name for op in model.ops)]
    stages = [{"name": name, "mean_us": round(mean, 1), "most_us": most}
              for name, mean, most in zip(names, got["mean"], got["most"], strict=True)]  # fmt: skip
    if not model.front_end:
        del stages[0]
    frame_us = sum(stage["mean_us"] for stage in stages)
    hop_us = _hop_us(model)
    return {
        "kernels": got["kernels"], "stages": stages, "frame_us": round(frame_us, 1),
        "most_us": sum(stage["most_us"] for stage in stages), "hop_us": hop_us, "load": hop_us and round(frame_us / hop_us, 4),
        "ram": {"import_bytes": got["import"], "model_bytes": got["model"], "peak_bytes": got["peak"], "free_bytes": got["free"]},
    }  # fmt: skip


def _hop_us(model: Model) -> float | None:
    return 1e6 * model.front_end.hop / model.front_end.rate_hz if model.front_end else None


@contextmanager
def on_board(board: Board, path: Path, more: dict[str, bytes] | None = None):
    """Where a model file lies on the board: its installed copy, else one written for the while, as `more` files are."""
    data, installed = Path(path).read_bytes(), f"/{Path(path).name}"
    missing = board.ask(VERIFY, digests=[(installed, hashlib.sha256(data).hexdigest())])
    files = dict(more or {})
    place = f"{_SCRATCH}.swm" if missing else installed
    if missing:
        files[place] = data
    try:
        if files:
            board.copy(files)
        yield place
    finally:
        if files:
            try:
                board.ask(_REMOVE, paths=list(files))
            except BoardError:
                pass  # what was being done has failed with a reason of its own


_REMOVE = """
import os
for path in paths:
    try: os.remove(path)
    except OSError: pass
answer = None
"""
