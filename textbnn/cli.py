"""signwave text ...: train, evaluate and try networks for typed commands."""

import os
from pathlib import Path
from typing import Annotated

import typer

from export.console import show

app = typer.Typer(no_args_is_help=True, help="Typed or received commands: from a table of text and label to a 1-bit model file.")

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, everything else on standard error.")
]
File = Annotated[Path, typer.Argument(help="A .swm file that reads text.")]
Oos = Annotated[
    Path | None,
    typer.Option(help="A further file of texts to be rejected, whatever their labels; split as DATA is."),
]
Slots = Annotated[
    Path | None,
    typer.Option(help="A file of slot lists: columns text (kitchen) and label (room). Or such rows in DATA, labelled @room."),
]


@app.command()
def train(
    data: Annotated[
        Path,
        typer.Argument(help="CSV, TSV or JSONL with text and label, or a folder with train, val and test (and oos_..., slots)."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Run folder; an interrupted training in it goes on.")],
    max_kb: Annotated[int, typer.Option(help="The file is never larger, labels and slots included: 16, 32, 64 or 128 KB.")] = 32,
    tokenizer: Annotated[
        str, typer.Option(help="ngram: words and letters; sentencepiece: learned pieces too; auto: what validation prefers.")
    ] = "auto",
    teacher: Annotated[
        str,
        typer.Option(help="Hugging Face name or directory to learn from, fine-tuned first; minilm: a packaged one; none."),
    ] = "none",
    unlabelled: Annotated[
        list[Path] | None, typer.Option(help="A further file of texts, or folder with train in it, for the teacher to answer.")
    ] = None,
    slots: Slots = None,
    oos: Oos = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: --set seed=1 --set keep=98.")] = None,
    json: Json = False,
) -> None:
    """Train a 1-bit network on labelled texts and write the model file that boards run.

    Texts labelled _unknown_ (or oos) teach it what to reject. The threshold is set on validation texts.

    Example: signwave text train commands.csv --out runs/lights --max-kb 32
    """
    from textbnn.data import load
    from textbnn.data import unlabelled as read_unlabelled
    from textbnn.train import configure
    from textbnn.train import train as run_training

    config = configure(max_kb, tokenizer, set_ or [])
    dataset = load(data, oos, slots)
    further = read_unlabelled(unlabelled or [], dataset)
    result = run_training(dataset, out, config, teacher=teacher, unlabelled=further)
    low, high = result.validation.interval
    value = {"file": str(result.model_path), "file_bytes": result.file_bytes, "validation": result.validation.as_dict()}
    text = f"validation: {result.validation.accuracy:.1f} % ({low:.1f} to {high:.1f})"
    show(value, f"{text}\n{result.model_path}  {result.file_bytes:,} bytes", json)


@app.command("eval")
def evaluate(
    file: File,
    data: Annotated[Path, typer.Option("--data", help="The file or folder as in training.")],
    split: Annotated[str, typer.Option(help="train, val or test. Choose on val; look at test once.")] = "test",
    oos: Oos = None,
    json: Json = False,
) -> None:
    """Accuracy with its interval, and how well what is out of scope is rejected, by the integer graph.

    Accuracy counts the best label of texts in scope. AUROC: how well the score that is compared with the
    file's threshold tells the two kinds apart.

    Example: signwave text eval lights.swm --data commands.csv --split test
    """
    from export.format import read
    from textbnn.data import load
    from textbnn.evaluate import evaluate as run_evaluation

    model = read(file)
    model.reading()
    dataset = load(data, oos).for_labels(model.labels)
    result = run_evaluation(model, *dataset.in_scope(split), dataset.out_of_scope(split))
    size = file.stat().st_size
    show({**result.as_dict(), "file_bytes": size}, f"{result}\nfile: {size:,} bytes", json)


@app.command()
def classify(
    file: File,
    texts: Annotated[list[str], typer.Argument(help="Texts, each quoted for the shell.")],
    json: Json = False,
) -> None:
    """Say what each text asks for, or that it is rejected, and the values found in it.

    Durations are in seconds and times in minutes after midnight, as programs on a board get them.

    Example: signwave text classify lights.swm "turn on the kitchen lights for 5 minutes"
    """
    from export.format import read
    from textbnn.evaluate import classify as run_classify
    from textbnn.slots import describe

    model, typed = read(file), [os.fsencode(text) for text in texts]  # the bytes, whatever they are
    found = [(raw.decode("utf-8", "replace"), run_classify(model, raw)) for raw in typed]
    value = {"texts": [{"text": text, **vars(d)} for text, d in found]}
    lines = []
    for text, d in found:
        said = d.label or f"rejected, at best {d.best}"
        lines.append(f"{text}: {said}  (score {d.score})" + "".join(f"\n  {describe(*slot)}" for slot in d.slots))
    show(value, "\n".join(lines), json)
