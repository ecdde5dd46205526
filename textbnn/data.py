"""Files of labelled commands as data sets: CSV, TSV or JSONL, or a folder of them.

    data = load("commands.csv")
    texts, targets = data.in_scope("train")          # list of str, (text,) int64
    strangers = data.out_of_scope("train")           # texts that no label is meant for

A file has the columns text and label. Two kinds of labels are reserved: `_unknown_` (or `oos`) marks texts to be rejected,
and `@room` puts its text into the slot list "room" (see slots.py). A folder holds train, val and test (.csv, .tsv, .jsonl),
and where it has them oos_train, oos_val, oos_test, oos and slots; what is not split already is split by a hash of the text.
"""

import codecs
import csv
import hashlib
import io
import json
import os
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from export.format import UNKNOWN

SPLITS = ("train", "val", "test")
UNKNOWN_ALIASES = (UNKNOWN, "oos")
LIST_MARK = "@"
SUFFIXES = (".csv", ".tsv", ".jsonl")
MAX_TEXT_CHARS = 1000
MAX_LABEL_BYTES, MAX_LABELS = 255, 512

_SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val",
                "test": "test", "testing": "test"}  # fmt: skip
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip


class DataError(ValueError):
    """A data set that cannot be used; the message says where and what to do."""


class DataWarning(UserWarning):
    """A data set that can be used, but whose figures may mislead."""


@dataclass(frozen=True)
class Example:
    """One labelled text; `where` names its file and line."""

    text: str
    label: str
    where: str
    split: str = ""

    @property
    def key(self) -> str:
        """What two texts have in common that count as one: the text without case, accents' spelling and spacing."""
        return " ".join(unicodedata.normalize("NFKC", self.text).casefold().split())


@dataclass(frozen=True)
class Dataset:
    """Labelled texts in the splits train, val and test. A target is an index into `labels`, which leave out `_unknown_`.

    lists: what slots are filled from, {list: {item: value}}.
    """

    root: Path
    labels: list[str]
    examples: list[Example]
    lists: dict[str, dict[str, str]] = field(default_factory=dict)

    def in_scope(self, split: str) -> tuple[list[str], np.ndarray]:
        """Texts of one split and their targets (text,) int64, in a fixed order. Raises DataError where there are none."""
        index = {label: i for i, label in enumerate(self.labels)}
        chosen = [e for e in self._of(split) if e.label in index]
        if not chosen:
            raise DataError(f"{self.root}: no texts in split '{split}'; add a file {split}.csv, or more texts")
        return [e.text for e in chosen], np.array([index[e.label] for e in chosen], np.int64)

    def out_of_scope(self, split: str) -> list[str]:
        """The texts of one split that are labelled `_unknown_`; there may be none."""
        return [e.text for e in self._of(split) if e.label == UNKNOWN]

    def for_labels(self, labels: Sequence[str]) -> "Dataset":
        """This with the labels of a model, in its order; texts of other labels are left out with a warning."""
        wanted = [label for label in labels if label != UNKNOWN]
        others = sorted({e.label for e in self.examples} - {*wanted, UNKNOWN})
        if len(others) == len(self.labels):
            raise DataError(f"{self.root}: none of its labels, such as {_some(others)}, is known to the model")
        if others:
            _warn(f"{self.root}: the model does not know {_some(others)}: texts of these labels are left out")
        return replace(self, labels=wanted, examples=[e for e in self.examples if e.label not in others])

    def _of(self, split: str) -> list[Example]:
        if split not in SPLITS:
            raise DataError(f"split '{split}' does not exist; choose one of {', '.join(SPLITS)}")
        return [e for e in self.examples if e.split == split]


def load(source: str | os.PathLike, oos: Path | None = None, slots: Path | None = None, seed: int = 0) -> Dataset:
    """Open a file of text and label, or a folder of such files.

    oos: a further file whose texts are all out of scope; slots: a further file of slot lists (column text, label @list).
    seed: chooses the splits where none are given, 80 / 10 / 10 percent of each label's distinct texts.
    Raises DataError naming file and line; warns with DataWarning of what would make figures mislead.
    """
    root = Path(source)
    examples = _read_folder(root) if root.is_dir() else read_examples(root)
    if oos is not None:
        examples += [replace(e, label=UNKNOWN) for e in read_examples(Path(oos), UNKNOWN)]
    if slots is not None:
        examples += _read_lists(Path(slots))
    lists, examples = _take_lists(examples)
    examples = _complete(examples, seed)
    labels = sorted({e.label for e in examples} - {UNKNOWN})
    data = Dataset(root, labels, examples, lists)
    _check(data)
    return data


def unlabelled(sources: Sequence[Path], data: Dataset) -> list[str]:
    """Texts of files, or of what folders have to train with, whatever their labels: none twice, and none that `data` has."""
    found: dict[str, str] = {}
    for source in sources:
        examples = _read_folder(source) if source.is_dir() else read_examples(source, UNKNOWN)
        found |= {e.key: e.text for e in examples if e.split in ("", "train") and not e.label.startswith(LIST_MARK)}
    held = {e.key for e in data.examples}
    return [text for key, text in found.items() if key not in held]


# --- Files ---------------------------------------------------------------------------------------------------------


def read_examples(path: Path, default_label: str | None = None) -> list[Example]:
    """The rows of one file, checked. `default_label` stands where the file has no column of labels. Raises DataError."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: not one of {', '.join(SUFFIXES)}, or a folder of such files with train in it")
    content = decode_text(path.read_bytes(), path)
    rows = _json_rows if path.suffix.lower() == ".jsonl" else _table_rows
    examples, problems = [], []
    for line, text, label in rows(path, content, default_label):
        where = f"{path.name}, line {line}"
        try:
            examples.append(Example(check_text(text), check_label(label), where))
        except DataError as error:
            problems.append(f"line {line}: {error}")
    if problems:
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DataError(f"{path}: " + "\n  ".join(problems[:5]) + more)
    if not examples:
        raise DataError(f"{path}: holds no texts")
    return examples


def decode_text(raw: bytes, path: object) -> str:
    """Text of UTF-8, with or without byte order mark, or of UTF-16 with one. Raises DataError naming the line."""
    mark, encoding = next((pair for pair in _MARKS if raw.startswith(pair[0])), (b"", "utf-8"))
    body = raw[len(mark) :] if encoding == "utf-8" else raw
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body[: error.start].decode(encoding, "ignore").count("\n") + 1
        bad = body[error.start : error.start + 4].hex(" ")
        raise DataError(f"{path}: line {line}: bytes {bad} are not {encoding.upper()}; save the file as UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path}: line {line}: a NUL character; remove it, or save the file as UTF-8 if it is UTF-16")
    return text


def _table_rows(path: Path, content: str, default_label: str | None) -> Iterator[tuple[int, str, str | None]]:
    """(line, text, label) of CSV, with commas, semicolons or tabs as its first line has them, or of TSV."""
    first = content.lstrip("\r\n").split("\n", 1)[0]
    tabs = path.suffix.lower() == ".tsv"
    for delimiter in "\t" if tabs else ",;\t":
        names = [name.strip().strip('"').lower() for name in _cells(first, delimiter)]
        if "text" in names and ("label" in names or default_label):
            break
    else:
        raise DataError(f"{path}: line 1: {first[:80]!r} does not name the columns; begin the file with: text,label")
    at = [names.index(name) if name in names else -1 for name in ("text", "label")]
    quoting = {"quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
    reader, line, head = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, **quoting), 1, True
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}: line {line}: {error}; quote a text as \"...\" and a quote in it as \"\"") from None
        if row is None:
            return
        if row and not head:
            if len(row) != len(names):
                raise DataError(f"{path}: line {line}: {len(row)} columns, the first line names {len(names)}; put a text "
                                f"that holds {_SPOKEN[delimiter]} between double quotes")  # fmt: skip
            text, label = (None if i < 0 else _unquote(row[i]) if tabs else row[i] for i in at)
            yield line, text, default_label if label is None else label
        head, line = head and not row, reader.line_num + 1


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line.strip("\r\n ")], delimiter=delimiter), [])
    except csv.Error:
        return []


_SPOKEN = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


def _unquote(cell: str) -> str:
    """A cell of TSV, where quotes mean something only around the whole of it."""
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"'
    return cell[1:-1].replace('""', '"') if quoted else cell


def _json_rows(path: Path, content: str, default_label: str | None) -> Iterator[tuple[int, str, str | None]]:
    for line, row in enumerate(content.split("\n"), 1):
        if not row.strip():
            continue
        try:
            value = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {line}: not JSON ({error}); a line holds {_JSON_LINE}") from None
        text, label = (value.get("text"), value.get("label", default_label)) if isinstance(value, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(label, str):
            raise DataError(f"{path}: line {line}: no text and label, both strings; a line holds {_JSON_LINE}")
        yield line, text, label


_JSON_LINE = '{"text": "...", "label": "..."}'


def check_text(text: str) -> str:
    """A text without spaces at its ends. Raises DataError where it is none, too long, or of several lines."""
    text = text.strip()
    if not text:
        raise DataError("the text is empty; remove the line")
    if any(c in text for c in "\n\r\0"):
        raise DataError(f"the text '{text[:40]}...' runs over several lines; is a quote left open?")
    if len(text) > MAX_TEXT_CHARS:
        raise DataError(f"the text '{text[:40]}...' has {len(text):,} characters, a command at most {MAX_TEXT_CHARS:,}")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise DataError(f"the text {ascii(text[:40])} holds half of a surrogate pair")
    return text


def check_label(label: str) -> str:
    """A label in Unicode's composed form; what other sets call `oos` is `_unknown_`. Raises DataError."""
    label = unicodedata.normalize("NFC", label.strip())
    size = len(label.encode("utf-8", "replace"))
    if not label:
        raise DataError(f"the label is empty; {UNKNOWN} is for texts that no label is meant for")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in label):
        raise DataError(f"label {ascii(label[:40])} holds control characters")
    if size > MAX_LABEL_BYTES:
        raise DataError(f"label '{label[:40]}...' takes {size} bytes, at most {MAX_LABEL_BYTES} are allowed")
    return UNKNOWN if label in UNKNOWN_ALIASES else label


# --- Folders, lists, splits ----------------------------------------------------------------------------------------


def _read_folder(root: Path) -> list[Example]:
    files: dict[str, Path] = {}
    for path in sorted(p for p in root.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()):
        kind, _, part = path.stem.lower().rpartition("_")
        name = path.stem.lower() if path.stem.lower() in ("oos", "slots") else f"{kind}_{_SPLIT_NAMES.get(part, part)}".strip("_")
        if name not in (*SPLITS, *(f"oos_{split}" for split in SPLITS), "oos", "slots"):
            _warn(f"{path}: neither train, val, test, oos, oos_train ... nor slots: left out")
        elif name in files:
            raise DataError(f"{root}: {files[name].name} and {path.name} are both the part '{name}'; keep one")
        else:
            files[name] = path
    if "train" not in files and "test" not in files:
        raise DataError(f"{root}: no train.csv, train.tsv or train.jsonl in this folder")
    examples = []
    for name, path in files.items():
        if name == "slots":
            examples += _read_lists(path)
            continue
        outside, split = name.startswith("oos"), name.removeprefix("oos").removeprefix("_")
        found = read_examples(path, UNKNOWN if outside else None)
        examples += [replace(e, split=split, label=UNKNOWN if outside else e.label) for e in found]
    return examples


def _read_lists(path: Path) -> list[Example]:
    """The rows of a file of slot lists, where the mark before a list's name may be left out."""
    return [replace(e, label=LIST_MARK + e.label.removeprefix(LIST_MARK)) for e in read_examples(path)]


def _take_lists(examples: list[Example]) -> tuple[dict[str, dict[str, str]], list[Example]]:
    """Slot lists, and the examples that are no part of one. A label @room=living room gives its text that value."""
    lists: dict[str, dict[str, str]] = {}
    for e in examples:
        if e.label.startswith(LIST_MARK):
            name, _, value = e.label[1:].partition("=")
            items = lists.setdefault(name.strip(), {})
            value = value.strip() or e.text
            if items.setdefault(e.text, value) != value:
                raise DataError(f"{e.where}: '{e.text}' stands in list '{name}' already, for '{items[e.text]}'")
    return lists, [e for e in examples if not e.label.startswith(LIST_MARK)]


def _complete(examples: list[Example], seed: int) -> list[Example]:
    """Split what has no split, and give train's share to val where a folder has none; in scope and out of it by themselves."""
    out = []
    for part in ([e for e in examples if e.label != UNKNOWN], [e for e in examples if e.label == UNKNOWN]):
        given = {e.split for e in part} - {""}
        fixed = given if "val" in given else given - {"train"}
        loose = [e for e in part if e.split not in fixed]
        out += [e for e in part if e.split in fixed] + _split_by_hash(loose, seed, 0 if given else 0.1)
    return out


def _split_by_hash(examples: list[Example], seed: int, test_share: float) -> list[Example]:
    """A tenth of each label's distinct texts to val, `test_share` to test, the rest to train; alike texts stay together."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key, label in {e.key: e.label for e in reversed(examples)}.items():
        groups[label].append(key)
    split = {}
    for keys in groups.values():
        ordered = sorted(keys, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
        val, test = (max(1, round(share * len(keys))) if share and len(keys) >= len(SPLITS) else 0 for share in (0.1, test_share))
        split |= {key: "val" if i < val else "test" if i < val + test else "train" for i, key in enumerate(ordered)}
    return [replace(e, split=split[e.key]) for e in examples]


# --- Checks --------------------------------------------------------------------------------------------------------


def _check(data: Dataset) -> None:
    root, labels = data.root, data.labels
    unknown = any(e.label == UNKNOWN for e in data.examples)
    if len(labels) + unknown < 2 or not labels:
        found = f"only the label '{labels[0]}'" if labels else f"no label but {UNKNOWN}"
        raise DataError(f"{root}: {found}; a classifier needs at least two, such as {UNKNOWN} for texts to be rejected")
    if len(labels) + unknown > MAX_LABELS:
        raise DataError(f"{root}: {len(labels) + unknown} labels, at most {MAX_LABELS} are allowed; is label the right column?")
    if any(e.split == "train" for e in data.examples):
        trained = {e.label for e in data.examples if e.split == "train"}
        if absent := [label for label in labels if label not in trained]:
            raise DataError(f"{root}: no training text of label {_some(absent)}; add some, or remove the label everywhere")
    _warn_of_two_labels(data)
    _warn_of_shared_texts(data)


def _warn_of_two_labels(data: Dataset) -> None:
    first, found = {}, []
    for e in data.examples:
        other = first.setdefault((e.split, e.key), e)
        if other.label != e.label:
            found.append(f"'{e.text[:60]}' is {other.label} ({other.where}) and {e.label} ({e.where})")
    if found:
        _warn(f"{data.root}: {len(found)} texts stand under two labels, which cannot be learned: {_listed(found)}")


def _warn_of_shared_texts(data: Dataset) -> None:
    trained = {e.key: e for e in data.examples if e.split == "train"}
    for split in ("val", "test"):
        shared = [(trained[e.key], e) for e in data.examples if e.split == split and e.key in trained]
        if shared:
            found = _listed([f"'{e.text[:60]}' ({other.where}; {e.where})" for other, e in shared])
            _warn(f"{data.root}: {len(shared)} texts of '{split}' stand in 'train' too, so figures will flatter: {found}")


def _listed(found: list[str], most: int = 3) -> str:
    return "; ".join(found[:most]) + (f"; and {len(found) - most} more" if len(found) > most else "")


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(f"'{name}'" for name in names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _warn(text: str) -> None:
    warnings.warn(text, DataWarning, stacklevel=4)
