"""Wake words: from phrases to a file, with hard negatives mined and thresholds chosen.

    result = train_wake_words(["hey computer"], "runs/hey", config, Sources(negatives=["speech"], noise_dir="noise"))

Speech is synthesized, clips are composed (kws.wakedata), a network is trained; then it listens to the ambient training audio,
and trains again with what it took for its words.
"""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from bnn.intervals import wilson_interval
from bnn.training import FINAL
from export.console import note
from export.format import Model, write
from kws.audio import RATE_HZ, read_audio
from kws.augment import AugmentConfig, MicrophoneConfig, noise_bank
from kws.data import SILENCE, UNKNOWN, Clip, background_spans, load_clips, plain
from kws.detection import Detection, hear, measure, summary, with_thresholds
from kws.embedding import SpeechEmbedding
from kws.evaluate import save_json
from kws.frontend import extract, log_mel_front_end
from kws.phrase import Piece, check_phrases, negative_kind, speak_phrases
from kws.teacher import Teacher
from kws.train import CALIBRATION, EXPORT, MODEL, Data, TrainConfig, augmented, begin_from, check_exportable, fit_student, hired
from kws.wakedata import MINED, WakeData, ambient_clips, gather, recorded_pieces

# A shift that leaves the end of the phrase in the clip; and all of a room: far away, reverberating.
AUGMENT = MicrophoneConfig(shift_ms=140, speed=0.15, gain_db=18, reverb_probability=0.4, reverb_max_ms=500)
ENOUGH = 20  # recordings of a phrase in validation
DETECTION = "detection.json"


def prepare(data: WakeData, config: TrainConfig, noises: list[np.ndarray], augment: AugmentConfig = AUGMENT) -> Data:
    """Composed clips as a training reads them."""
    waveforms, targets = data.waveforms("train")
    val_waveforms, val_targets = data.waveforms("val")
    train = augmented(waveforms, noises, augment, config)
    val = torch.from_numpy(extract(val_waveforms, log_mel_front_end()))
    return Data(data.labels, train, targets, 0, val, val_waveforms, torch.from_numpy(val_targets), noises, data.domains())


def mine(model: Model, clips: Sequence[Clip], most: int = 600) -> tuple[list[Piece], float]:
    """What of ambient training audio a model takes for its words: the sound before each of the greatest peaks, as negatives.

    Also the false accepts an hour of all words together at the thresholds of the file.
    """
    front_end = model.listening()
    before, after = round(1.4 * RATE_HZ), round(0.3 * RATE_HZ)
    peaks: list[tuple[int, int, int, int]] = []  # margin, clip, frame, label
    streams = hear(model, clips)
    for c, stream in enumerate(streams):
        words = np.array([label != UNKNOWN for label in model.labels])[stream.top]
        margin = np.where(words, stream.margin, -1)
        while margin.size and (best := int(margin.argmax())) >= 0 and margin[best] > 0:
            peaks.append((int(margin[best]), c, best, int(stream.top[best])))
            margin[max(0, best - 50) : best + 50] = -1
    peaks.sort(reverse=True)
    fired = sum(margin >= model.thresholds[label] for margin, _, _, label in peaks)
    pieces = []
    for _, c, frame, _ in peaks[:most]:
        clip, at = clips[c], frame * front_end.hop
        samples = read_audio(clip.path, RATE_HZ, clip.start_s, clip.seconds)[max(0, at - before) : max(1, at + after)]
        pieces += [Piece(samples, MINED, clip.speaker, "train", clip.path, True)] * 2
    hours = sum(stream.seconds for stream in streams) / 3600
    return pieces, fired / hours if hours else 0.0


@dataclass(frozen=True)
class Sources:
    """Where sound comes from: how phrases are spoken, and folders of recordings."""

    count: int = 800  # utterances of each phrase
    language: str = "en"
    synthesizers: Sequence[str] = ()
    voices: str | os.PathLike[str] | None = None
    data_dir: str | os.PathLike[str] | None = None  # people who say the phrase, and other words
    negatives: Sequence[str | os.PathLike[str]] = ()
    noise_dir: str | os.PathLike[str] | None = None


@dataclass(frozen=True)
class WakeResult:
    """The file, what it does on validation, and how long it all took."""

    model_path: Path
    file_bytes: int
    validation: dict
    mining: list[dict]
    minutes: float
    data: WakeData


def train_wake_words(
    phrases: Sequence[str],
    run_dir: str | os.PathLike[str],
    config: TrainConfig,
    sources: Sources,
    per_day: float = 1.0,
    start: str | os.PathLike[str] | None = None,
    teacher: Teacher | SpeechEmbedding | None = None,
) -> WakeResult:
    """From phrases to a file that wakes falsely at most `per_day` times a day, as far as validation audio can tell.

    `teacher`: one that is trained, or an ear behind which a Transformer is trained first; without it labels alone count.
    `start`: a finished run to begin from, with the binary stage at once: new recordings, or other words, without training anew.
    Raises SynthesisError, DataError, AudioError, ConfigError, TrainingError. An interrupted training resumes with the same call.
    """
    started, run_dir = time.monotonic(), Path(run_dir)
    labels = check_phrases(phrases)
    if start:
        config = replace(config, float_epochs=0, activation_epochs=0)
    config.check()
    check_exportable(config, len(labels) + 1)
    initial = begin_from(start, config, [*labels, UNKNOWN], run_dir) if start else None
    recordings = recorded_pieces(sources.data_dir, labels) if sources.data_dir else []
    ambient = [clip for folder in sources.negatives for clip in ambient_clips(folder, labels)]
    noises = {split: noise_bank(sources.noise_dir, split) if sources.noise_dir else [] for split in ("train", "val")}
    speech = speak_phrases(phrases, sources.count, config.seed, sources.language, sources.synthesizers, sources.voices)
    listening = validation_clips(labels, speech, ambient, sources)
    data = gather(labels, speech, recordings, ambient, noises, config.seconds, config.seed)
    prepared = prepare(data, config, noises["train"])
    tutor = hired(teacher, prepared, run_dir, config) if teacher is not None and config.distill > 0 else None
    _, model = fit_student(prepared, run_dir, config, tutor, initial)
    found = measure(model, hear(model, listening))
    model, found, mining = _mined_again(
        model, found, data, ambient, noises["train"], run_dir, config, listening, per_day, tutor
    )
    hours = max(d.hours for d in found)
    if hours < 1 / 6:
        note(f"thresholds rest on {60 * hours:.0f} minutes of validation audio: give hours of ambient recordings by --negatives")
    model = with_thresholds(model, found, per_day, "validation")
    size = write(model, run_dir / MODEL)
    recipe = json.loads((run_dir / EXPORT).read_text())  # for `signwave export`
    recipe |= {"thresholds": model.thresholds, "metadata": {"detection": model.metadata["detection"]}}
    save_json(run_dir / EXPORT, recipe)
    value = summary(model, found)
    save_json(run_dir / DETECTION, {"val": value, "mining": mining})
    return WakeResult(run_dir / MODEL, size, value, mining, (time.monotonic() - started) / 60, data)


def validation_clips(
    labels: Sequence[str], speech: dict[str, list[Piece]], ambient: Sequence[Clip], sources: Sources
) -> list[Clip]:
    """Whole recordings that thresholds are chosen on: of people, and where they are few, phrases spoken by unheard voices too."""
    clips = [clip for clip in ambient if clip.split == "val"]
    if sources.noise_dir:
        noise = [Clip(path, SILENCE, "", split, a, b - a) for path, split, a, b in background_spans(sources.noise_dir)]
        clips += [clip for clip in noise or ambient_clips(sources.noise_dir, labels) if clip.split == "val"]
    if sources.data_dir:
        clips += [clip for clip in load_clips(sources.data_dir) if clip.split == "val"]
    spoken = [piece for pieces in speech.values() for piece in pieces if piece.split != "train"]
    recorded = Counter(plain(clip.label) for clip in clips)
    wanted = [label for label in labels if recorded[label] < ENOUGH]
    quiet = not ambient  # nothing recorded to stay silent at
    clips += [
        Clip(p.path, p.label if p.label in labels else UNKNOWN, p.speaker, "val")
        for p in spoken
        if p.label in wanted or (quiet and negative_kind(p.label))
    ]
    return clips


def _mined_again(
    model: Model,
    found: list[Detection],
    data: WakeData,
    ambient: Sequence[Clip],
    noises: list[np.ndarray],
    run_dir: Path,
    config: TrainConfig,
    listening: Sequence[Clip],
    per_day: float,
    teacher: Teacher | None,
) -> tuple[Model, list[Detection], list[dict]]:
    """Train once more, with hard negatives; that network unless validation calls it worse, and what happened.

    A second round changed nothing beyond noise (docs/ablations.md).
    """
    heard = [clip for clip in ambient if clip.split == "train"]
    if not heard or not config.binary_epochs:
        return model, found, []
    hard, rate = mine(with_thresholds(model, found, per_day, ""), heard)
    mining = [_round(0, rate, found, len(hard) // 2)]
    if not hard:
        return model, found, [*mining, {"chosen": 0}]
    epochs, folder = max(1, config.binary_epochs // 3), run_dir / "mined-1"
    again = replace(config, float_epochs=0, activation_epochs=0, binary_epochs=epochs, learning_rate=config.learning_rate / 2)
    initial = load_file(run_dir / "binary.safetensors")
    _, second = fit_student(prepare(data.with_hard(hard), again, noises), folder, again, teacher, initial)
    found_again = measure(second, hear(second, listening))
    _, rate = mine(with_thresholds(second, found_again, per_day, ""), heard)
    kept = not _worse(found_again, found)
    mining += [_round(1, rate, found_again, 0), {"chosen": int(kept)}]
    note(f"hard negatives: {json.dumps(mining)}")
    if not kept:
        return model, found, mining
    for name in (FINAL, CALIBRATION):
        shutil.copyfile(folder / name, run_dir / name)
    return replace(second, metadata=model.metadata | {"logit_unit": second.metadata["logit_unit"]}), found_again, mining


def _worse(mined: Sequence[Detection], before: Sequence[Detection]) -> bool:
    """Whether the network that met hard negatives misses more on validation, at no false accept there, than chance allows.

    They help on audio that validation has no example of: in doubt it is not worse.
    """
    n = sum(d.n for d in before)
    missed, known = (sum(d.misses(d.quiet) for d in found) for found in (mined, before))
    return n > 0 and missed > known and 100 * missed / n > wilson_interval(known, n)[1]


def _round(number: int, rate: float, found: Sequence[Detection], mined: int) -> dict:
    """What mining reports: false accepts on the audio mined, and misses on validation without a false accept there."""
    misses = [d.miss_percent(d.quiet) for d in found if d.n]
    mean = round(float(np.mean(misses)), 2) if misses else None
    return {"round": number, "false_accepts_per_hour": round(rate, 2), "miss_percent": mean, "mined": mined}
