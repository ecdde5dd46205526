"""How fast augmented clips reach a training: features kept in variants, and made anew by workers, alone and through preset M.

    python bench/datapath.py                 # uses all cores that the process may use; taskset -c 0,1 for two

On made-up clips of a second. "alone" is what the data path could feed; the other rows are what a training step takes of it.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bnn.layers import Precision
from bnn.stages import Stage
from bnn.training import fit
from export.console import note, table
from kws.augment import AugmentConfig
from kws.batches import Batches, FreshBatches
from kws.cli import load_preset
from kws.features import FeatureSet, FreshFeatures
from kws.frontend import log_mel_front_end
from kws.losses import StudentLoss
from kws.models import KwsNet
from kws.teacher import build_teacher

LABELS = [f"word{i}" for i in range(12)]


def clips(count: int) -> np.ndarray:
    """Made-up clips (clip, sample) int16: noise between two stretches of digital silence, as many recordings are."""
    rng = np.random.default_rng(0)
    out = np.zeros((count, 16000), np.int16)
    out[:, 4000:12000] = rng.normal(0, 2000, (count, 8000))
    return out


def alone(batches: Callable, count: int) -> float:
    """Clips a second of one epoch that nobody trains on."""
    started = time.perf_counter()
    for _ in batches(1, torch.Generator().manual_seed(0)):
        pass
    return count / (time.perf_counter() - started)


def trained(batches: Callable, precision: Precision, loss: StudentLoss, channels: int, blocks: int) -> tuple[float, float]:
    """Clips a second and percent of time waiting for data, in the second epoch of a training."""
    config = load_preset("m", [f"model.channels={channels}", f"model.blocks={blocks}"])
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage("stage", precision, 2, 1e-3)
        net = KwsNet(config.model, len(LABELS))
        result = fit(net, [stage], batches, lambda net: 0.0, folder, loss=loss, progress=False)
    return result.history[-1]["examples_per_second"], 100 * result.history[-1]["waiting"]


def rows(count: int, variants: int, channels: int, blocks: int) -> list[dict]:
    """All figures, one row a measurement."""
    config = load_preset("m", [])
    inputs = (clips(count), log_mel_front_end(), [clips(1)[0]], AugmentConfig())
    targets = np.arange(count) % len(LABELS)
    started = time.perf_counter()
    kept = FeatureSet.build(*inputs, variants, 0)
    out = [{"data": "kept", "with": "making them, once", "clips_per_second": count * variants / (time.perf_counter() - started)}]
    fresh = FreshBatches(FreshFeatures(*inputs, 0), targets, config)
    ways = {"kept": Batches(kept.features, targets, config), "made anew": fresh}
    plain, listening = StudentLoss(config, False), StudentLoss(config, True)
    listening.listen_to(build_teacher(LABELS))
    for name, batches in ways.items():
        list(batches(0, torch.Generator().manual_seed(0)))  # workers begin
        out.append({"data": name, "with": "alone", "clips_per_second": alone(batches, count)})
        steps = [("M, float", Precision.FLOAT, plain), ("M, binary", Precision.BINARY, plain)]
        if batches is fresh:
            steps.append(("M, float, teacher listening", Precision.FLOAT, listening))
        for what, precision, loss in steps:
            rate, waiting = trained(batches, precision, loss, channels, blocks)
            out.append({"data": name, "with": what, "clips_per_second": rate, "waiting_percent": waiting})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2560)
    parser.add_argument("--variants", type=int, default=2)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    note(f"{cores} cores, load {load:.1f} before, {torch.get_num_threads()} threads in PyTorch, {device}")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SIGNWAVE_CACHE"] = str(Path(cache))
        found = rows(a.clips, a.variants, a.channels, a.blocks)
    if a.json:
        print(json.dumps({"cores": cores, "load_before": load, "device": device, "rows": found}))
        return
    lines = [[r["data"], r["with"], round(r["clips_per_second"]), f"{r.get('waiting_percent', 0):.1f}"] for r in found]
    print(table(["features", "with", "clips a second", "% waiting"], lines, 2))


if __name__ == "__main__":
    main()
