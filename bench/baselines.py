"""Known small networks and older binary recipes beside preset M: the same data, augmentation and number of epochs. Resumes.

    python bench/baselines.py runs/baselines --data speech_commands --label-column kws12 --noise noise --extra speech \
        --negatives other_speech --seeds 3

DS-CNN is also quantized to int8 after training and evaluated in integers; binary networks are evaluated as integer graphs.
XNOR-Net and Bi-Real are the M body as those papers train it: without shortcut, or with; without learned thresholds and PReLU,
from labels alone. XNOR-Net (Rastegari et al., 2016) is binary from the start, without its scale of inputs; Bi-Real
(Liu et al., 2018) starts from the clipped float network and has the quadratic slope.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from bnn.config import to_dict
from export.console import note, table
from export.format import read
from kws.baselines import NETWORKS, Int8DsCnn, train_baseline
from kws.cli import load_preset, open_training
from kws.data import Dataset
from kws.evaluate import Evaluation, evaluate, save_json
from kws.frontend import extract, log_mel_front_end
from kws.sweep import show_spread, spread
from kws.train import MODEL, Data, TrainConfig, answers, evaluate_stages, train

RESULT = "baseline.json"


def older(c: TrainConfig, estimator: str, shortcut: bool, float_epochs: int) -> TrainConfig:
    """The body without learned thresholds and PReLU, in at most two stages, from labels alone."""
    model = replace(c.model, estimator=estimator, shortcut=shortcut, rsign=False, rprelu=False)
    binary = c.float_epochs + c.activation_epochs + c.binary_epochs - float_epochs
    return replace(c, model=model, float_epochs=float_epochs, activation_epochs=0, binary_epochs=binary, distill=0.0)


RECIPES = {
    "m": lambda c: c,
    "m, labels alone": lambda c: replace(c, distill=0.0),
    "bi-real": lambda c: older(c, "quadratic", True, c.float_epochs),
    "xnor-net": lambda c: older(c, "ste", False, 0),
}


def run_recipe(name: str, dataset: Dataset, config: TrainConfig, run: Path, noise: Path | None) -> dict[str, dict]:
    """Train one binary recipe; percent on validation and test of the integer graph and of the float twin."""
    config = RECIPES[name](config)
    train(dataset, run, config, noise_dir=noise, name=name)
    out, model = {}, read(run / MODEL)
    for split in ("val", "test"):
        waveforms, targets = dataset.waveforms(split, config.seconds)
        out.setdefault(name, {})[split] = evaluate(model, waveforms, targets).as_dict()
        for stage, result in evaluate_stages(run, waveforms, targets).items():
            out.setdefault(f"{name}: {stage}", {})[split] = result.as_dict()
    out[name]["bytes"] = (run / MODEL).stat().st_size
    return out


def run_network(name: str, dataset: Dataset, config: TrainConfig, run: Path, noise: Path | None) -> dict[str, dict]:
    """Train one known network; percent on validation and test in real numbers and, for DS-CNN, in integers."""
    data = Data.prepare(dataset, config, noise)
    net = train_baseline(name, data, run, config)
    decide = {f"{name}, float": lambda x: answers(net, x)}
    if name == "ds-cnn":
        decide["ds-cnn, int8"] = Int8DsCnn(net, torch.from_numpy(data.train.sample(512))).answers
    weights = sum(p.numel() for p in net.parameters())
    out = {key: {"bytes": weights * (1 if "int8" in key else 4)} for key in decide}
    for split in ("val", "test"):
        waveforms, targets = dataset.waveforms(split, config.seconds)
        features = torch.from_numpy(extract(waveforms, log_mel_front_end()))
        for key, answer in decide.items():
            out[key][split] = Evaluation.of(dataset.labels, targets, answer(features).numpy()).as_dict()
    return out


def one(name: str, seed: int, dataset: Dataset, config: TrainConfig, out: Path, noise: Path | None) -> dict[str, dict]:
    """The results of a run, from its folder where it is finished."""
    config = replace(config, seed=seed)
    run, settings = out / f"{name.replace(', ', '-').replace(' ', '-')}-s{seed}", json.loads(json.dumps(to_dict(config)))
    try:
        kept = json.loads((run / RESULT).read_text())
        if kept["config"] == settings:
            return kept["results"]
    except (OSError, ValueError, KeyError):
        pass
    note(f"{run}:")
    results = (run_network if name in NETWORKS else run_recipe)(name, dataset, config, run, noise)
    save_json(run / RESULT, {"config": settings, "results": results})
    return results


def cell(results: list[dict], split: str) -> str:
    """Mean and 95 % interval: over seeds (Student's t) where there are several, of clips (Wilson) for one."""
    if len(results) > 1:
        return show_spread(spread([each[split]["accuracy"] for each in results]))
    low, high = results[0][split]["interval"]
    return f"{results[0][split]['accuracy']:.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--label-column", default="")
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--extra", type=Path)
    parser.add_argument("--negatives", type=Path, action="append", default=[])
    parser.add_argument("--preset", default="m")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=[*NETWORKS, *RECIPES], default=[*NETWORKS, *RECIPES])
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    config = load_preset(a.preset, a.set)
    dataset, noise, _ = open_training(config, a.data, "", a.label_column, a.extra, a.noise, "none", a.negatives)
    rows: dict[str, list[dict]] = {}
    for name in a.only:
        for seed in range(a.seeds):
            for key, result in one(name, seed, dataset, config, a.out, noise).items():
                rows.setdefault(key, []).append(result)
    if a.json:
        print(json.dumps({"preset": a.preset, "set": a.set, "seeds": a.seeds, "results": rows}))
    else:
        lines = [[key, *(cell(r, split) for split in ("val", "test")), r[0].get("bytes", "")] for key, r in rows.items()]
        print(table(["network", "validation %", "test %", "bytes of weights"], lines))


if __name__ == "__main__":
    main()
