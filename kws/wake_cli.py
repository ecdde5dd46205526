"""What `signwave kws train --phrase` and `signwave kws eval --stream` do."""

from collections.abc import Sequence
from pathlib import Path

from export.console import note, show, table


def train_phrases(
    phrases: Sequence[str], out: Path, config, sources, per_day: float, start: Path | None, teacher, json: bool
) -> None:
    """Train wake words from phrases, write file and report, print what was reached on validation."""
    from kws.report import write_report
    from kws.synthesizers import hints
    from kws.wake import train_wake_words

    if not sources.synthesizers:
        for hint in hints(sources.voices):
            note(f"more voices: {hint}")
    result = train_wake_words(phrases, out, config, sources, per_day, start, teacher)
    report = write_report(out, result.data, config.seconds)
    value = {"file": str(result.model_path), "file_bytes": result.file_bytes, "report": str(report),
             "minutes": round(result.minutes, 1), "validation": result.validation, "mining": result.mining}  # fmt: skip
    text = f"{words_table(result.validation)}\n{result.model_path}  {result.file_bytes:,} bytes, {result.minutes:.0f} minutes\n"
    show(value, f"validation\n{text}report: {report}", json)


def eval_stream(
    file: Path, data: Path, negatives: Sequence[Path], split: str, condition, json: bool, label_column: str = ""
) -> None:
    """Misses against false accepts of a file over whole recordings, through the board's detector."""
    from device.board.signwave.decision import IGNORED
    from export.format import read
    from kws.data import SPLITS, DataError, load_clips, plain
    from kws.detection import hear, measure, summary
    from kws.evaluate import check_rate
    from kws.train import MODEL
    from kws.wakedata import ambient_clips

    if split not in SPLITS:
        raise DataError(f"split '{split}' does not exist; choose one of {', '.join(SPLITS)}")
    model = read(file / MODEL if file.is_dir() else file)
    check_rate(file, model)
    labels = [plain(label) for label in model.labels if label not in IGNORED]
    clips = [clip for clip in load_clips(data, label_column or None) if clip.split == split]
    clips += [clip for folder in negatives for clip in ambient_clips(folder, labels) if clip.split == split]
    if not any(plain(clip.label) in labels for clip in clips):
        raise DataError(f"{data}: no recordings of {', '.join(labels)} in split '{split}'")
    value = summary(model, measure(model, hear(model, clips, condition)))
    show(value, words_table(value), json)


def words_table(value: dict) -> str:
    """Each word's figures for people."""
    rows = []
    for word, w in value["words"].items():
        low, high = w["interval"] or (0, 0)
        at_zero = f"{w['miss_at_zero_false_accepts']} ({low} to {high})" if w["n"] else "no recordings"
        chosen = w["chosen"]
        rows.append([word, w["n"], at_zero, w["threshold"], chosen["missed"], chosen["false_accepts"]])
    head = ["word", "recordings", "% missed at no false accept", "threshold", "missed there", "false accepts there"]
    return f"{table(head, rows)}\n{60 * value['negative_hours']:.0f} minutes without the word"
