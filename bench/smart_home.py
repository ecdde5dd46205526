"""The training folder of the shipped smart-home model: two home corpora in one, with rooms as a slot.

    python bench/smart_home.py DATA OUT        # DATA holds hwu64/ and ha_intents/ with train, val and test.csv
    signwave text train OUT --max-kb 32 --tokenizer ngram --out runs/smart-home
"""

import csv
import sys
from pathlib import Path

CORPORA = ("hwu64", "ha_intents")
# What both corpora name in their own way.
SAME = {"iot_hue_lighton": "HassTurnOn_light", "iot_hue_lightoff": "HassTurnOff_light"}
ROOMS = ("kitchen", "living room", "bedroom", "bathroom", "dining room", "hallway", "office", "garage", "garden", "basement")


def main(data: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    known: set[str] = set()
    for split in ("test", "val", "train"):  # a text that one corpus tests with trains nothing
        rows = []
        for corpus in CORPORA:
            with open(data / corpus / f"{split}.csv", encoding="utf-8", newline="") as file:
                rows += [(row["text"], SAME.get(row["label"], row["label"])) for row in csv.DictReader(file)]
        fresh = {text.casefold(): (text, label) for text, label in rows if text.casefold() not in known}
        known |= fresh.keys()
        write(out / f"{split}.csv", fresh.values())
    write(out / "slots.csv", [(room, "room") for room in ROOMS])


def write(path: Path, rows) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
