"""Wake words on people as the README's table: misses at few false accepts, quiet, noisy, reverberant and far, from run folders.

    python bench/wake.py runs/wake-a runs/wake-b --data wake_words --negatives speech --negatives noise --noise noise

Every recording goes through the board's detector. Under a condition recordings of words and negatives are made harder alike,
and thresholds are those at which the negatives as they are, and as they are under that condition, fire so rarely.
"""

import argparse
import json
import sys
from pathlib import Path

from bnn.intervals import wilson_interval
from export.console import table
from export.format import FormatError, read
from kws.augment import hearing
from kws.data import Clip, load_clips
from kws.detection import Detection, hear, measure, summary
from kws.train import MODEL
from kws.wakedata import ambient_clips

FALSE_ACCEPTS = (0, 1, 3)  # of a word, in all negatives


def recordings(data: Path, negatives: list[Path], labels: list[str], split: str) -> list[Clip]:
    """What is listened to: words and negatives of one split."""
    clips = [clip for clip in load_clips(data) if clip.split == split]
    return clips + [clip for folder in negatives for clip in ambient_clips(folder, labels) if clip.split == split]


def conditions(noise: Path | None) -> dict[str, str]:
    """Column of the table to condition."""
    noisy = {"10 dB": f"snr10:{noise}", "0 dB": f"snr0:{noise}"} if noise else {}
    return {"as recorded": "", **noisy, "reverb": "reverb", "-20 dB gain": "gain-20"}


def cell(found: Detection, plain: Detection) -> str:
    """Percent missed where these negatives, and those as recorded, fire that rarely; interval of the first figure."""
    missed = [found.misses(max(d.threshold_at(most) for d in (found, plain))) for most in FALSE_ACCEPTS]
    low, high = wilson_interval(missed[0], found.n)
    first, *others = (f"{100 * n / found.n:.1f}" for n in missed)
    return ", ".join([f"{first} ({abs(low):.1f} to {high:.1f})", *others])


def rows(file: Path, arguments: argparse.Namespace) -> tuple[list[dict], dict]:
    """One row a word, and what `kws eval --stream --json` prints of the recordings as they are."""
    model = read(file / MODEL if file.is_dir() else file)
    clips = recordings(arguments.data, arguments.negatives, model.labels, arguments.split)
    out: dict[str, dict] = {}
    plain: dict[str, Detection] = {}
    for name, condition in conditions(arguments.noise).items():
        found = measure(model, hear(model, clips, hearing(condition, arguments.split)))
        if not condition:
            plain, value = {d.word: d for d in found}, summary(model, found)
        for d in found:
            if d.n:
                row = out.setdefault(d.word, {"file": file.name, "word": d.word, "n": d.n})
                row[name] = cell(d, plain[d.word])
    for word, row in out.items():
        chosen = value["words"][word]["chosen"]
        row["at the file's threshold"] = f"{chosen['missed']} missed, {chosen['false_accepts']} false"
    return list(out.values()), value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="run folders or .swm files")
    parser.add_argument("--data", type=Path, required=True, help="recordings of the words, by label")
    parser.add_argument("--negatives", type=Path, action="append", default=[], help="recordings without the words; several times")
    parser.add_argument("--noise", type=Path, help="noise to mix in at 10 and 0 dB (its part of the split)")
    parser.add_argument("--split", default="test", help="test; choose on val")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        results = [rows(file, arguments) for file in arguments.files]
    except (OSError, FormatError, ValueError) as error:
        print(f"wake: {error}", file=sys.stderr)
        return 1
    listed = [row for found, _ in results for row in found]
    if arguments.json:
        print(json.dumps({"split": arguments.split, "rows": listed, "eval": [value for _, value in results]}))
    else:
        keys = list(dict.fromkeys(key for row in listed for key in row))
        print(table(keys, [[str(row.get(key, "")) for key in keys] for row in listed], len(keys)))
        print(f"{60 * results[0][1]['negative_hours']:.0f} minutes without a word; percent missed at 0, 1 and 3 false accepts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
