"""What a command prints: text for people, or with --json exactly one object on standard output and the rest on standard error."""

import json
import sys


def show(value: dict, text: str, as_json: bool) -> None:
    """Print the result of a command: `value` as one line of JSON, or `text`."""
    print(json.dumps(value, ensure_ascii=False) if as_json else text)


def note(text: str) -> None:
    """Print what happens on the way to the result, always on standard error."""
    print(text, file=sys.stderr, flush=True)


def table(head: list[str], rows: list[list], right_from: int = 1) -> str:
    """Aligned columns; those from `right_from` on to the right, numbers with thousands separated."""
    cells = [[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(c.rjust(w) if i >= right_from else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in lines)
