"""The heap that a board needs to import the package and load a model, as bytecode and as source.

    python bench/board_ram.py [MODEL.swm] [--json]

The same on every computer: an emulated ESP32-C3 is given less and less heap until it fails.
"""

import argparse
import json
import sys
from pathlib import Path

from device.micropython import MicroPythonError
from device.ram import attempt, bytecode_files, heap_needed, source_files
from export.console import table
from export.format import FormatError, read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help="a .swm file; default: device/models/commands12-m.swm")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    model = arguments.model or Path(__file__).resolve().parents[1] / "device" / "models" / "commands12-m.swm"
    try:
        read(model)
        rows = {}
        for name, files in (("bytecode", bytecode_files()), ("source", source_files())):
            stays = attempt(files, model, 160 * 1024)
            rows[name] = {"import": heap_needed(files), "import_and_load": heap_needed(files, model),
                          "stays_after_import": stays[0], "stays_after_load": stays[1]}  # fmt: skip
    except (FormatError, MicroPythonError, OSError) as error:
        sys.exit(f"error: {error}")
    if arguments.json:
        print(json.dumps({"model": model.name, "model_bytes": model.stat().st_size, **rows}))
        return
    head = ["bytes of heap", *next(iter(rows.values()))]
    print(table(head, [[name, *row.values()] for name, row in rows.items()]))


if __name__ == "__main__":
    main()
