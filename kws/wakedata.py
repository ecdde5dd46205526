"""Training clips of wake words, composed of spoken phrases, recordings of people, ambient audio and noise.

    data = gather(["hey computer"], speech, recordings, ambient, noises, seconds=1.6, seed=0)
    samples, targets = data.waveforms("train")       # (clip, sample) int16, (clip,) int64

A clip is positive where the phrase ended within its last half second, whatever stands before or after; one that holds a part
of the phrase, or anything else, is `_unknown_`. So the mean over the network's window rises when the phrase has ended.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile

from kws.audio import AUDIO_SUFFIXES, RATE_HZ, AudioError, read_audio
from kws.augment import coloured_noise
from kws.data import SILENCE, SPLITS, UNKNOWN, Clip, DataError, Dataset, load_clips, plain
from kws.phrase import PARTS, SENTENCES, Piece, negative_kind

END_MS = 240  # from the end of the phrase to the end of its clip, before augmentation shifts it
RECORDED_COPIES = 2  # clips made of each recording of a person saying the phrase: other surroundings each time
LEAST_SHARE, MOST_COPIES = 4, 4  # negatives for each clip of a phrase, about, and how often a clip is taken at most for that
CONTEXT = 0.35  # share of clips with other speech before the phrase, and of those with other speech behind it
PAUSE = 0.1  # of a recording's peak: parts that are never louder hold no speech
MINED = "_mined_"
PEOPLE = 0.6  # recorded negatives for each synthesized one, at most, where nobody is recorded saying a phrase
NEGATIVES = 2000  # clips an epoch at most, once and again for each phrase; more are left out by lot, so that training ends


@dataclass(frozen=True)
class WakeData(Dataset):
    """Composed clips, for `kws.train`: each is made of one piece, drawn with a number of its own."""

    pieces: dict[str, list[Piece]] = field(default_factory=dict)  # by split, one a clip
    seconds: float = 1.6
    seed: int = 0

    def waveforms(self, split: str, seconds: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Composed clips (clip, sample) int16 at 16 kHz, and targets (clip,) int64."""
        pieces = self.pieces[split]
        words = self.labels[:-1]  # the last is `_unknown_`
        # Recorded speech stands about synthesized phrases too: a network must not learn that people never say them.
        fillers = [p for p in pieces if p.label not in (*words, SILENCE, MINED) and len(p.samples) < 2 * RATE_HZ]
        n = round(self.seconds * RATE_HZ)
        out = np.empty((len(pieces), n), np.int16)
        for i, piece in enumerate(pieces):
            rng = np.random.default_rng([self.seed, SPLITS.index(split), i])
            out[i] = compose(piece, piece.label in words, fillers, n, rng)
        targets = [self.labels.index(clip.label) for clip in self.clips(split)]
        return out, np.array(targets, np.int64)

    def domains(self) -> np.ndarray | None:
        """Of training clips (clip,) int8: 1 for a synthesized negative, 0 for one of recorded speech, -1 for others.

        None where people are recorded saying a phrase: then a network cannot take people for negatives.
        """
        pieces, words = self.pieces["train"], self.labels[:-1]
        if not _nobody_says(words, pieces):
            return None
        return np.array([-1 if p.label in (*words, SILENCE, MINED) else p.synthetic for p in pieces], np.int8)

    def with_hard(self, pieces: Sequence[Piece]) -> "WakeData":
        """This, and mined negatives in training."""
        clips = [*self.all_clips, *(Clip(p.path, UNKNOWN, p.speaker, "train") for p in pieces)]
        # Clips of one split stand in the order of its pieces, whatever stands between them.
        return replace(self, all_clips=clips, pieces={**self.pieces, "train": [*self.pieces["train"], *pieces]})

    @classmethod
    def of(cls, labels: Sequence[str], pieces: Iterable[Piece], seconds: float, seed: int) -> "WakeData":
        """Of all pieces, a share of the phrases cut off as negatives, and not too many negatives."""
        rng = np.random.default_rng([seed, 3])
        most = NEGATIVES * (1 + len(labels))
        by_split: dict[str, list[Piece]] = {}
        for split, limit in (("train", most), ("val", most // 5)):
            chosen = [p for p in pieces if p.split == split]
            phrases = [p for p in chosen if p.label in labels]
            others = [p for p in chosen if p.label not in labels] + [_cut_off(p, rng) for p in phrases if rng.random() < 0.2]
            if _nobody_says(labels, phrases):
                others = _fewer_people(others, rng)
            kept = sorted(rng.permutation(len(others))[:limit])
            by_split[split] = [p for label in labels for p in _enough([p for p in phrases if p.label == label], len(kept))]
            by_split[split] += [others[i] for i in kept]
        all_labels = [*labels, UNKNOWN]
        clips = [
            Clip(p.path, p.label if p.label in labels else UNKNOWN, p.speaker, split)
            for split, chosen in by_split.items()
            for p in chosen
        ]
        return cls(Path("."), all_labels, clips, by_split, seconds, seed)


def _nobody_says(labels: Sequence[str], pieces: Sequence[Piece]) -> bool:
    """Whether no piece is a recording of a person saying one of the phrases."""
    return all(p.synthetic for p in pieces if p.label in labels)


def _fewer_people(negatives: Sequence[Piece], rng: np.random.Generator) -> list[Piece]:
    """Where people say nothing but negatives, a network learns to tell people from synthesizers: so let there be few of them."""
    people = [p for p in negatives if not p.synthetic and p.label == UNKNOWN]
    others = [p for p in negatives if p.synthetic or p.label != UNKNOWN]
    most = round(PEOPLE * sum(p.synthetic for p in others))
    return others + [people[i] for i in sorted(rng.permutation(len(people))[:most])]


def _enough(pieces: Sequence[Piece], negatives: int) -> list[Piece]:
    """Recordings more often than synthesized speech, and all of them so often that the negatives do not drown them."""
    once = [p for p in pieces for _ in range(1 if p.synthetic else RECORDED_COPIES)]
    return once * min(MOST_COPIES, max(1, round(negatives / (LEAST_SHARE * max(1, len(once))))))


def compose(piece: Piece, positive: bool, fillers: Sequence[Piece], n: int, rng: np.random.Generator) -> np.ndarray:
    """One clip (n,) int16: long pieces are cut anywhere, others end END_MS before the clip does, often among other speech."""
    sound = piece.samples
    if not positive and len(sound) >= n and piece.label != MINED:
        start = int(rng.integers(len(sound) - n + 1))
        return sound[start : start + n]
    end = n - END_MS * RATE_HZ // 1000
    if piece.label == MINED:  # it ends where the network was wrong
        return np.pad(sound[-n:], (n - len(sound[-n:]), 0))
    if not positive and not piece.synthetic:  # a recorded word as it is, anywhere
        end = int(rng.integers(len(sound), n + 1))
    out = np.zeros(n, np.float32)
    sound = sound[-end:]
    start = end - len(sound)
    out[start:end] = sound
    before, after = rng.random(2) < CONTEXT
    if before and fillers:
        other = _level(fillers[int(rng.integers(len(fillers)))].samples, sound, rng)
        stop = max(0, start - int(rng.uniform(0, 0.25) * RATE_HZ))
        other = other[max(0, len(other) - stop) :]
        out[stop - len(other) : stop] += other
    if after and fillers:
        other = _level(fillers[int(rng.integers(len(fillers)))].samples, sound, rng)
        begin = min(n, end + int(rng.uniform(0, 0.15) * RATE_HZ))
        other = other[: n - begin]
        out[begin : begin + len(other)] += other
    return np.clip(np.rint(out), -32768, 32767).astype(np.int16)


def _level(other: np.ndarray, sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`other` about as loud as `sound`."""
    ratio = (float(np.abs(sound).max()) or 1.0) / (float(np.abs(other).max()) or 1.0)
    return other.astype(np.float32) * np.float32(ratio * 10 ** (rng.uniform(-6, 3) / 20))


def _cut_off(piece: Piece, rng: np.random.Generator) -> Piece:
    """The first or the last part of a phrase: what a network must not take for all of it."""
    share, n = rng.uniform(0.25, 0.5), len(piece.samples)
    part = piece.samples[: round(share * n)] if rng.random() < 0.7 else piece.samples[round((1 - share) * n) :]
    return replace(piece, samples=part, label=f"{PARTS}{piece.label}")


def speech_extent(samples: np.ndarray) -> slice:
    """Where in a recording (sample,) int16 of one phrase the speech is, by its energy in frames of 20 ms."""
    frame = RATE_HZ // 50
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame).astype(np.float64)
    if len(frames) < 3:
        return slice(0, len(samples))
    level = 10 * np.log10((frames - frames.mean(1, keepdims=True)).var(1) + 1)
    floor, peak = np.percentile(level, 10), level.max()
    loud = np.flatnonzero(level > max(peak - 32, min(floor + 8, peak - 12)))
    return slice(max(0, loud[0] - 1) * frame, min(len(frames), loud[-1] + 2) * frame)


def recorded_pieces(data_dir: str | os.PathLike[str], labels: Sequence[str]) -> list[Piece]:
    """Recordings of people in a folder `label/*.wav`: the phrases without silence at their ends, other words as negatives."""
    pieces = []
    for clip in load_clips(data_dir):
        samples, label = read_audio(clip.path, RATE_HZ, clip.start_s, clip.seconds), plain(clip.label)
        if label in labels:
            pieces.append(Piece(samples[speech_extent(samples)], label, clip.speaker, clip.split, clip.path, False))
        else:
            pieces.append(Piece(samples, UNKNOWN, clip.speaker, clip.split, clip.path, False))
    if not any(piece.label in labels for piece in pieces):
        found = sorted({plain(clip.label) for clip in load_clips(data_dir)})
        raise DataError(f"{data_dir}: no recordings of {', '.join(labels)}; its folders are {', '.join(found[:8])}")
    return pieces


def ambient_clips(folder: str | os.PathLike[str], labels: Sequence[str] = ()) -> list[Clip]:
    """All recordings of a folder in which no phrase is spoken: folders of words or of anything, or sound files as they lie.

    Sound files without folders and manifest are cut in time, 80 / 10 / 10 percent for training, validation and test.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; give one of recordings in which the phrase is not spoken")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES)
    if files and not (folder / "manifest.csv").exists() and any(map(_has_audio, folder.iterdir())):
        raise DataError(f"{folder}: {files[0].name} lies beside folders of recordings; put it into one, or give each by itself")
    if (folder / "manifest.csv").exists() or not files:
        return [clip for clip in load_clips(folder) if plain(clip.label) not in labels]
    clips = []
    for path in files:
        try:
            total = soundfile.info(path).duration
        except (OSError, RuntimeError):
            raise AudioError(f"{path}: cannot be read as audio; remove it or convert it to 16-bit WAV") from None
        cuts = [0.0, 0.8 * total, 0.9 * total, total]
        clips += [Clip(path, UNKNOWN, "", s, a, b - a) for s, a, b in zip(SPLITS, cuts, cuts[1:], strict=False) if b > a]
    return clips


def _has_audio(path: Path) -> bool:
    return path.is_dir() and any(file.suffix.lower() in AUDIO_SUFFIXES for file in path.iterdir())


def with_ambient(dataset: Dataset, folders: Sequence[str | os.PathLike[str]], seconds: float) -> Dataset:
    """A data set of commands and, as further `_unknown_` clips for training alone, what folders of other speech hold.

    Their training split, long recordings cut into clips of `seconds`. Raises DataError or AudioError.
    """
    if folders and UNKNOWN not in dataset.labels:
        raise DataError(f"other speech is learned as {UNKNOWN}, which is no label here: add it, or do without --negatives")
    labels = [plain(label) for label in dataset.labels if label != UNKNOWN]
    heard = [clip for folder in folders for clip in ambient_clips(folder, labels) if clip.split == "train"]
    return dataset.with_extra(replace(dataset, all_clips=[part for clip in heard for part in _cut(clip, seconds)]))


def _cut(clip: Clip, seconds: float) -> list[Clip]:
    """A clip as `_unknown_`: whole up to one and a half of the wanted length, else in parts of it that are no pauses."""
    clip, samples = replace(clip, label=UNKNOWN), read_audio(clip.path, RATE_HZ, clip.start_s, clip.seconds)
    n = round(seconds * RATE_HZ)
    if len(samples) < 1.5 * n:
        return [clip]
    loudness = np.abs(samples[: len(samples) // n * n].reshape(-1, n).astype(np.int32)).max(1)
    heard = np.flatnonzero(loudness > PAUSE * loudness.max())
    return [replace(clip, start_s=clip.start_s + i * seconds, seconds=seconds) for i in heard.tolist()]


def ambient_pieces(clips: Sequence[Clip], seconds: float) -> list[Piece]:
    """Pieces of ambient recordings of the training and validation splits, long ones once for every half of a clip's length."""
    pieces = []
    for clip in clips:
        if clip.split == "test":
            continue
        samples = read_audio(clip.path, RATE_HZ, clip.start_s, clip.seconds)
        copies = 1 if len(samples) < 2 * seconds * RATE_HZ else round(2 * len(samples) / (seconds * RATE_HZ))
        pieces += [Piece(samples, UNKNOWN, clip.speaker, clip.split, clip.path, False)] * copies
    return pieces


def noise_pieces(noises: dict[str, list[np.ndarray]], seed: int, count: int = 200) -> list[Piece]:
    """Noise recordings of each split, and coloured noise from faint to loud."""
    pieces = [Piece(x, SILENCE, "", s, Path("noise"), False) for s, recordings in noises.items() for x in recordings]
    for i in range(count):
        rng = np.random.default_rng([seed, 5, i])
        level = 32768 * 10 ** (rng.uniform(-75, -25) / 20)
        sound = np.clip(np.rint(coloured_noise(2 * RATE_HZ, rng) * level), -32768, 32767).astype(np.int16)
        pieces.append(Piece(sound, SILENCE, "", "val" if i % 10 == 1 else "train", Path("noise"), False))
    return pieces


def gather(
    labels: Sequence[str],
    speech: dict[str, list[Piece]],
    recordings: Sequence[Piece],
    ambient: Sequence[Clip],
    noises: dict[str, list[np.ndarray]],
    seconds: float,
    seed: int,
) -> WakeData:
    """All that a training reads."""
    pieces = [p for kind, spoken in speech.items() for p in spoken * (3 if negative_kind(kind) == SENTENCES else 1)]
    pieces = [replace(p, split="val") if p.split == "test" else p for p in pieces]  # of the synthesizers' voices
    pieces += [p for p in recordings if p.split != "test"]
    pieces += ambient_pieces(ambient, seconds) + noise_pieces(noises, seed)
    return WakeData.of(labels, pieces, seconds, seed)
