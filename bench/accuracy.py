"""Accuracy of finished runs as the README's table: teacher, float twin and the integer graph, with intervals, size and cost.

    python bench/accuracy.py runs/gsc12-m runs/gsc12-s --data speech_commands --label-column kws12
"""

import argparse
import json
from pathlib import Path

from export.cli import describe
from export.console import table
from export.format import read
from kws.cli import open_data
from kws.evaluate import Evaluation, evaluate
from kws.models import clip_seconds
from kws.train import MODEL, evaluate_stages


def interval(result: Evaluation) -> str:
    low, high = result.interval
    return f"{result.accuracy:.1f} ({low:.1f} to {high:.1f})"


def row(run: Path, data: Path, label_column: str, split: str) -> dict:
    """Figures of one run on a split of the data."""
    model = read(run / MODEL)
    waveforms, targets = open_data(data, model.labels, label_column).waveforms(split, clip_seconds(model))
    others = evaluate_stages(run, waveforms, targets)
    facts = describe(model, (run / MODEL).stat().st_size)
    integer = evaluate(model, waveforms, targets)
    return {
        "run": run.name,
        "clips": integer.n,
        **{name: interval(result) for name, result in others.items()},
        "1-bit, integer graph": interval(integer),
        "gap": round(others["float twin"].accuracy - integer.accuracy, 1) if "float twin" in others else None,
        "file_kib": round(facts["file_bytes"] / 1024, 1),
        "binary_macs_per_second": facts["binary_macs_per_second"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--label-column", default="")
    parser.add_argument("--split", default="test")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [row(run, arguments.data, arguments.label_column, arguments.split) for run in arguments.runs]
    if arguments.json:
        print(json.dumps({"split": arguments.split, "runs": rows}))
    else:
        keys = list(dict.fromkeys(key for each in rows for key in each))
        print(table(keys, [[str(each.get(key, "")) for key in keys] for each in rows]))


if __name__ == "__main__":
    main()
