"""How many times faster than real time the C core is on one core of this computer.

    python bench/speed.py [MODEL.swm] [--json]

Without a model, a random graph of the M preset's shape. Medians of processor time over repeats within one run: figures
of different machines do not compare, the shares of front end and layers do.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from export import format as swm
from export.format import FormatError, FrontEnd
from export.graph import Conv1b, ConvI4, DenseI8, Operation, SumWindow, encode_graph
from export.native import FrontEnd as NativeFrontEnd
from export.native import Graph

SECONDS = 20


def random_operation(rng: np.random.Generator, op: Operation) -> Operation:
    for name, dtype, shape in op.arrays():
        low, high = {"<i2": (-500, 500), "<i4": (-9999, 9999), "i1": (-128, 128), "<u2": (0, 1 << 16), "<u4": (0, 1 << 32)}[dtype]
        setattr(op, name, rng.integers(low, high, shape).astype(dtype))
    return op


def m_like(seed: int = 0) -> tuple[FrontEnd, list[Operation]]:
    """40 bands, 128 channels, stem, 8 binary layers of 3 taps, head of 12, a window of a second; 20 ms hop."""
    rng = np.random.default_rng(seed)
    mel = np.linspace(np.log1p(60 / 700), np.log1p(7600 / 700), 42)
    edges = np.maximum.accumulate(np.round(700 * np.expm1(mel) * 512 / 16000 * 16).astype(int) - 16 * np.arange(42))
    ops = [ConvI4(40, 128, 3, 1, 8, 8)]
    ops += [Conv1b(128, 128, 3, dilation, 8, 0, True) for dilation in (1, 2, 4, 8) * 2]
    ops += [DenseI8(128, 12, 1, 1, 8, 8), SumWindow(12, 12, 50)]
    return FrontEnd((edges + 16 * np.arange(42)).tolist(), 320), [random_operation(rng, op) for op in ops]


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def measure(front_end: FrontEnd | None, ops: list[Operation], repeats: int) -> dict:
    """Real-time factors of the whole, front end and graph, and microseconds a frame of every operation."""
    rng, graph = np.random.default_rng(1), Graph(encode_graph(ops))
    low_high = {"i8": (-128, 128), "i16": (-9999, 9999)}
    rate = front_end.frames_per_second if front_end else 50.0
    frames = int(SECONDS * rate)
    front_s = 0.0
    if front_end:
        samples = rng.integers(-9000, 9000, SECONDS * front_end.rate_hz).astype(np.int16)
        native = NativeFrontEnd(front_end.encode())
        x = native.log_mel(samples)
        front_s = median_seconds(lambda: native.log_mel(samples), repeats)
    else:
        x = rng.integers(*low_high[ops[0].reads], (frames, ops[0].cin)).astype(graph.dtype_in)
    graph_s = median_seconds(lambda: graph.run(x), repeats)
    layers = []
    for i, op in enumerate(ops):
        alone = Graph(encode_graph([op]))
        frames_in = rng.integers(*low_high[op.reads], (frames, op.cin)).astype(alone.dtype_in)
        seconds = median_seconds(lambda alone=alone, frames_in=frames_in: alone.run(frames_in), repeats)
        name = f"{i} {op.name} {op.cin}x{op.taps} -> {op.cout}"
        layers.append({"name": name, "us_per_frame": seconds / frames * 1e6})
    return {"times_real_time": SECONDS / (front_s + graph_s), "graph_times_real_time": SECONDS / graph_s,
            "front_end_times_real_time": SECONDS / front_s if front_s else None,
            "front_end_us_per_frame": front_s / frames * 1e6, "frames_per_second": rate, "layers": layers}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a .swm file")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="runs to take the median of (7)")
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f"--repeats is {args.repeats}; at least 1 is needed")
    try:
        model = swm.read(args.model) if args.model else None
    except (OSError, FormatError) as error:
        print(f"speed: {error}", file=sys.stderr)
        return 1
    if model and model.text:
        print(f"speed: {args.model} reads text; give a model that listens", file=sys.stderr)
        return 1
    front_end, ops = (model.front_end, model.ops) if model else m_like()
    result = measure(front_end, ops, args.repeats)
    if args.json:
        print(json.dumps({"model": args.model or "random, M-like", **result}))
        return 0
    print(f"{args.model or 'random graph, M-like'}, one core, real time = 1")
    if front_end:
        print(f"  front end  {result['front_end_times_real_time']:8.0f} x  {result['front_end_us_per_frame']:6.1f} us a frame")
    print(f"  graph      {result['graph_times_real_time']:8.0f} x")
    for layer in result["layers"]:
        print(f"    {layer['name']:<28} {layer['us_per_frame']:6.1f} us a frame")
    print(f"  together   {result['times_real_time']:8.0f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
