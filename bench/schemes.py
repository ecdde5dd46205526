"""What a binary layer costs by its shape, beside a popcount word by word: exact instruction counts under emulation.

    python bench/schemes.py            # a table for rv32imc and xtensawin

Ours: thresholds, list of set bits, bit-sliced counters of 32 outputs, results; half of the bits set, its worst case.
Naive: XOR and popcount, the sums alone, without thresholds and results: the comparison favours it.
"""

import numpy as np

from device.counts import CHIPS, count_calls, count_model
from export import format as swm
from export.graph import Conv1b, SumWindow, pack_bits, pack_outputs

SHAPES = ((96, 8), (96, 16), (96, 32), (96, 96), (384, 8), (384, 16), (384, 32), (384, 64), (384, 128), (512, 160))
FRAMES = 12
_NAIVE = """
for inputs, outputs in SHAPES:
    w, x, y = bytearray((inputs + 31) // 8 * outputs), bytearray(4096), bytearray(4 * outputs)
    count(kernels.yardstick_count, False, inputs, outputs, w, x, y)
"""


def ours(chip: str, inputs: int, outputs: int) -> float:
    """Instructions of a frame through a dense binary layer, exactly half of whose inputs are set."""
    rng = np.random.default_rng(0)
    zeros, weight = np.zeros(inputs, int), pack_outputs(rng.integers(0, 2, (1, inputs, outputs)))
    scale = rng.integers(1, 300, outputs)
    op = Conv1b(inputs, outputs, 1, 1, 8, 0, False, zeros, pack_bits(zeros), scale, scale, np.zeros(outputs, int), weight)
    labels = [str(i) for i in range(outputs)]
    model = swm.Model({"name": "shape"}, labels, [0] * outputs, None, [op, SumWindow(outputs, outputs, 2)])
    signs = rng.permuted(np.tile(np.where(np.arange(inputs) % 2, 1, -1), (FRAMES, 1)), axis=1)
    x = (signs * rng.integers(1, 9999, (FRAMES, inputs))).astype("<i2")
    return float(np.mean(count_model(chip, swm.encode(model), x.tobytes(), 2 * inputs).layers[0]))


def main() -> None:
    for chip in CHIPS:
        naive, _ = count_calls(chip, _NAIVE.replace("SHAPES", repr(SHAPES)))
        print(f"{chip}\n{'inputs':>8} {'outputs':>8} {'ours':>8} {'naive':>8} {'ratio':>6} {'MAC/instruction':>16}")
        for (inputs, outputs), popcount in zip(SHAPES, naive, strict=True):
            n = ours(chip, inputs, outputs)
            print(f"{inputs:8} {outputs:8} {n:8.0f} {popcount:8} {popcount / n:6.2f} {inputs * outputs / n:16.2f}")


if __name__ == "__main__":
    main()
