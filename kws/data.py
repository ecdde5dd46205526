"""Folders of recordings as labelled, speaker-disjoint data sets.

    data = load_folder("speech_commands", label_column="kws12")
    samples, targets = data.waveforms("train")       # (clip, sample) int16, (clip,) int64
"""

import csv
import hashlib
import json
import os
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import track

from kws.audio import AUDIO_SUFFIXES, RATE_HZ, AudioError, fit_length, read_audio

SPLITS = ("train", "val", "test")
SILENCE, UNKNOWN = "_silence_", "_unknown_"
BACKGROUND = "_background_noise_"
GSC12_WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
GSC12 = (*GSC12_WORDS, SILENCE, UNKNOWN)
TASKS = ("gsc12", "gsc35")  # the standard tasks of Speech Commands: ten words among others, or all 35
MAX_LABEL_BYTES = 255
MAX_LABELS = 512

_SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val"}
_SPLIT_NAMES |= {"test": "test", "testing": "test", "eval": "test"}
_CACHE_VERSION = 1


class DataError(ValueError):
    """A data set that cannot be used; the message says which part and what to do."""


class DataWarning(UserWarning):
    """A data set that can be used, but whose figures may mislead."""


@dataclass(frozen=True)
class Clip:
    """One labelled stretch of a recording: all of it, or `seconds` from `start_s` on."""

    path: Path
    label: str
    speaker: str
    split: str
    start_s: float = 0.0
    seconds: float | None = None
    extra: bool = False  # further training material, such as synthesized speech


@dataclass(frozen=True)
class Dataset:
    """Labelled clips in the splits train, val and test. A target is an index into `labels`."""

    root: Path
    labels: list[str]
    all_clips: list[Clip]

    def clips(self, split: str) -> list[Clip]:
        """The clips of one split, in a fixed order. Raises DataError for an unknown or empty split."""
        if split not in SPLITS:
            raise DataError(f"split '{split}' does not exist; choose one of {', '.join(SPLITS)}")
        chosen = [clip for clip in self.all_clips if clip.split == split]
        if not chosen:
            raise DataError(f"{self.root}: no clips in split '{split}'; add recordings of more speakers")
        return chosen

    def with_extra(self, extra: "Dataset") -> "Dataset":
        """This and all clips of another set, of whatever split, as further training material; val and test stay as they are.

        Raises DataError where one of these files is among them.
        """
        known = [clip for clip in extra.all_clips if clip.label in self.labels]
        judged = {clip.path.resolve(): clip.split for clip in self.all_clips if clip.split != "train"}
        for clip in known:
            if split := judged.get(clip.path.resolve()):
                raise DataError(f"{clip.path} is in split '{split}' already: further training material must be other recordings")
        return replace(self, all_clips=[*self.all_clips, *(replace(clip, split="train", extra=True) for clip in known)])

    def counts(self) -> dict[str, dict[str, int]]:
        """Clips as {split: {label: count}}, zeros included."""
        found = Counter((clip.split, clip.label) for clip in self.all_clips)
        return {split: {label: found[split, label] for label in self.labels} for split in SPLITS}

    def waveforms(self, split: str, seconds: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Samples (clip, sample) int16 at 16 kHz, centred in `seconds`, and targets (clip,) int64.

        Decoded audio is kept in the cache folder ($SIGNWAVE_CACHE or ~/.cache/signwave) and read again
        when a file's path, size or time changes. Raises AudioError naming the file, or DataError.
        """
        if not 0.1 <= seconds <= 60:
            raise DataError(f"clips of {seconds} seconds: give 0.1 to 60")
        clips = self.clips(split)
        index = {label: i for i, label in enumerate(self.labels)}
        targets = np.array([index[clip.label] for clip in clips], dtype=np.int64)
        length = round(seconds * RATE_HZ)
        cache = cache_folder() / f"waveforms-{_fingerprint(clips, length)}.npy"
        samples = _load_cached(cache, (len(clips), length))
        if samples is None:
            samples = read_clips(clips, length, f"reading {split}")
            _store_cached(cache, samples)
        _warn_of_silence(clips, samples)
        return samples, targets


def load_folder(
    root: str | os.PathLike[str],
    labels: Sequence[str] | str | None = None,
    label_column: str | None = None,
    seed: int = 0,
    allow_missing: bool = False,
) -> Dataset:
    """Open a folder of `label/*.wav|flac|ogg`, with or without a `manifest.csv`, or the official Speech Commands.

    labels: None for all that are found (sorted, `_silence_` and `_unknown_` last), a list whose order is kept, or
        "gsc12" for the usual ten words, `_silence_` and `_unknown_` (Warden, 2018). Where the list holds `_unknown_`,
        all other words fold into it, for those twelve labels as many as a word has clips; otherwise they are left out.
    label_column: the manifest's column to read labels from; rows with nothing there are left out.
    seed: chooses the speakers of the splits where none are given, and the `_unknown_` and `_silence_` subsets.
    The official folder may also be the one below which torchaudio puts it. For those twelve labels, the separate test clips
    of the 12-class task are taken where they lie beside it (speech_commands_test_set_v0.02).
    allow_missing: the labels are those of a model that is tried: some may have no clip, and folders may spell them otherwise
        (smart_mirror for "smart mirror").
    Raises DataError; warns with DataWarning of what would make figures mislead.
    """
    root = locate(root)
    clips = load_clips(root, label_column, seed)
    if labels is not None:
        wanted = list(GSC12) if labels == "gsc12" else [check_label(label, "labels") for label in labels]
        if allow_missing:  # the labels of a file, which folders may spell otherwise
            spelled = {plain(label): label for label in wanted if label not in (SILENCE, UNKNOWN)}
            clips = [replace(clip, label=spelled.get(plain(clip.label), clip.label)) for clip in clips]
        _warn_of_left_out(root, clips, wanted)
        twelve = set(wanted) == set(GSC12)
        clips = _select(clips, wanted, seed, limit_unknown=twelve)
        if SILENCE in wanted and not any(clip.label == SILENCE for clip in clips):
            clips += _cut_background(root, clips, seed)
        if twelve and official_test_folder(root).is_dir():
            clips = [clip for clip in clips if clip.split != "test"] + _scan_test_set(official_test_folder(root))
    else:
        wanted = sort_labels({clip.label for clip in clips})
    dataset = Dataset(root, wanted, clips)
    _check(dataset, allow_missing)
    return dataset


def load_clips(root: str | os.PathLike[str], label_column: str | None = None, seed: int = 0) -> list[Clip]:
    """Every clip of a folder with its own labels, unchecked for use in classification. Raises DataError."""
    root = locate(root)
    if not root.is_dir():
        raise DataError(f"{root}: is not a folder; give the folder that holds one folder of recordings a label")
    if (root / "manifest.csv").exists():
        return _scan_manifest(root, label_column or "label", seed)
    if label_column not in (None, "label"):
        raise DataError(f"{root}: there is no manifest.csv to read column '{label_column}' from")
    return _scan_folders(root, seed)


def locate(root: str | os.PathLike[str]) -> Path:
    """The folder itself, or Speech Commands below it, where torchaudio puts it."""
    below = Path(root) / "SpeechCommands" / "speech_commands_v0.02"
    return below if below.is_dir() else Path(root)


def official_test_folder(root: Path) -> Path:
    """Where the separate test clips of the 12-class task lie: beside the official recordings."""
    return root.parent / f"speech_commands_test_set{root.name.removeprefix('speech_commands')}"


def sort_labels(labels: Iterable[str]) -> list[str]:
    """Words in code point order, then `_silence_`, then `_unknown_`."""
    return sorted(set(labels), key=lambda label: (label in (SILENCE, UNKNOWN), label))


# --- Where clips come from ---------------------------------------------------------------------------------------


def _scan_manifest(root: Path, label_column: str, seed: int) -> list[Clip]:
    rows = _read_rows(root / "manifest.csv", ("path", label_column))
    base = os.path.realpath(root)
    clips, missing, seen = [], [], {}
    for line, row in rows:
        where = f"{root / 'manifest.csv'}, line {line}"
        relative = (row["path"] or "").strip()
        target = os.path.realpath(os.path.join(base, relative)) if "\0" not in relative else ""
        if not relative or os.path.commonpath([base, target or os.sep]) != base:
            raise DataError(f"{where}: path '{relative}' leads out of the data folder; paths are relative to it")
        if target in seen:
            raise DataError(f"{where}: '{relative}' stands in line {seen[target]} already; list each file once")
        seen[target] = line
        if label_column != "label" and not (row[label_column] or "").strip():
            continue  # this file takes no part in that task
        if not os.path.isfile(target):
            missing.append(relative)
        label = check_label((row[label_column] or "").strip(), where)
        speaker = (row.get("speaker") or "").strip()
        clips.append(Clip(root / relative, label, speaker, _checked_split(row.get("split"), where)))
    if missing:
        raise DataError(f"{root / 'manifest.csv'}: {len(missing)} listed files are missing: {_some(missing)}")
    if not clips:
        raise DataError(f"{root / 'manifest.csv'}: lists no clips with a value in column '{label_column}'")
    return _complete(root, clips, seed)


def _read_rows(manifest: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            absent = [name for name in needed if name not in columns]
            if absent:
                raise DataError(f"{manifest}: no column '{absent[0]}'; its columns are: {', '.join(columns) or 'none'}")
            return [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest}: cannot be read as UTF-8 CSV ({error})") from None


def _complete(root: Path, clips: list[Clip], seed: int) -> list[Clip]:
    """Fill in the speakers and splits that a manifest leaves out."""
    if any(not clip.speaker for clip in clips):
        named = _name_speakers([clip for clip in clips if not clip.speaker])
        clips = [clip if clip.speaker else replace(clip, speaker=named[clip.path]) for clip in clips]
    without = [clip for clip in clips if not clip.split]
    if len(without) == len(clips):
        return _split_by_speaker(clips, seed)
    if without:
        raise DataError(f"{root / 'manifest.csv'}: {len(without)} rows have no split, others do: fill in all or none")
    return clips


def _scan_folders(root: Path, seed: int) -> list[Clip]:
    clips, empty = [], []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if folder.name.startswith(".") or folder.name == BACKGROUND:
            continue
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
        label = check_label(folder.name, root)
        clips += [Clip(path, label, "", "") for path in files]
        if not files:
            empty.append(folder.name)
    if not clips:
        raise DataError(f"{root}: no recordings found; put {', '.join(AUDIO_SUFFIXES)} files in one folder a label")
    if empty:
        raise DataError(f"{root}: no recordings in folder {_some(empty)}; add some or remove the folder")
    lists = [root / name for name in ("validation_list.txt", "testing_list.txt")]
    if all(path.exists() for path in lists):
        return _split_by_lists(clips, root, *lists)
    if all("_nohash_" in clip.path.name for clip in clips):
        return [replace(clip, speaker=speaker_hash(clip.path.name), split=which_set(clip.path.name)) for clip in clips]
    named = _name_speakers(clips)
    return _split_by_speaker([replace(clip, speaker=named[clip.path]) for clip in clips], seed)


def _split_by_lists(clips: list[Clip], root: Path, val_list: Path, test_list: Path) -> list[Clip]:
    try:
        val, test = (set(path.read_text(encoding="utf-8").split("\n")) for path in (val_list, test_list))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{root}: the lists of validation and test files cannot be read ({error})") from None
    split = {name: "test" for name in test} | {name: "val" for name in val}
    return [
        replace(
            clip,
            speaker=speaker_hash(clip.path.name),
            split=split.get(f"{clip.path.parent.name}/{clip.path.name}", "train"),
        )
        for clip in clips
    ]


def _scan_test_set(folder: Path) -> list[Clip]:
    clips = []
    for label in GSC12:
        files = sorted((folder / label).glob("*.wav"))
        if not files:
            raise DataError(f"{folder}: no recordings in folder '{label}'; unpack the test set there again, or remove it")
        clips += [Clip(path, label, "_noise_" if label == SILENCE else speaker_hash(path.name), "test") for path in files]
    return clips


def speaker_hash(file_name: str) -> str:
    """The speaker of a file of the Speech Commands layout: what stands before `_nohash_`."""
    return re.sub(r"_nohash_.*$", "", Path(file_name).name)


def which_set(file_name: str, val_percent: float = 10.0, test_percent: float = 10.0) -> str:
    """The split of a Speech Commands file by the published rule: SHA-1 of the speaker's name (Warden, 2018).

    >>> which_set("no/3cbd76a3_nohash_0.wav"), which_set("down/3cbd76a3_nohash_2.wav", 0, 0)
    ('test', 'train')
    """
    digest = int(hashlib.sha1(speaker_hash(file_name).encode()).hexdigest(), 16)
    percent = (digest % 2**27) * 100.0 / (2**27 - 1)
    if percent < val_percent:
        return "val"
    return "test" if percent < val_percent + test_percent else "train"


def _name_speakers(clips: list[Clip]) -> dict[Path, str]:
    """Speakers from file names `speaker_n.wav`; each file its own where names do not tell."""
    prefixes = {}
    for clip in clips:
        prefix, underscore, _ = clip.path.stem.partition("_")
        told = underscore and prefix and prefix.casefold() != clip.label.casefold()
        prefixes[clip.path] = prefix if told else ""
    speakers = set(prefixes.values())
    if "" not in speakers and len(speakers) >= len(SPLITS):
        return prefixes
    warnings.warn(
        f"speakers cannot be told from file names such as '{clips[0].path.name}': every file counts as its own "
        "speaker, so one person may be in training and test; name files speaker_number.wav, at least three speakers",
        DataWarning,
        stacklevel=4,
    )
    return {clip.path: f"file:{clip.label}/{clip.path.name}" for clip in clips}


def _split_by_speaker(clips: list[Clip], seed: int) -> list[Clip]:
    """80 / 10 / 10 percent of the speakers, by a hash of the speaker's name."""
    if all(clip.speaker.startswith("file:") for clip in clips):
        groups = defaultdict(set)  # with one clip a speaker each label can be split by itself
        for clip in clips:
            groups[clip.label].add(clip.speaker)
        split = {name: part for group in groups.values() for name, part in _assign(group, seed).items()}
    else:
        split = _assign({clip.speaker for clip in clips}, seed)
    return [replace(clip, split=split[clip.speaker]) for clip in clips]


def _assign(speakers: set[str], seed: int) -> dict[str, str]:
    rank = {name: int(hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()[:8], 16) / 2**32 for name in speakers}
    if len(speakers) >= 100:  # a speaker keeps the split when others join
        return {name: "val" if r < 0.1 else "test" if r < 0.2 else "train" for name, r in rank.items()}
    ordered = sorted(speakers, key=lambda name: (rank[name], name))
    share = max(1, round(0.1 * len(ordered))) if len(ordered) >= len(SPLITS) else 0
    return {name: "val" if i < share else "test" if i < 2 * share else "train" for i, name in enumerate(ordered)}


# --- Which labels they take ----------------------------------------------------------------------------------------


def _select(clips: list[Clip], wanted: list[str], seed: int, limit_unknown: bool) -> list[Clip]:
    """Keep the wanted labels; the others become `_unknown_` where that is wanted."""
    kept = [clip for clip in clips if clip.label in wanted]
    others = [clip for clip in clips if clip.label not in wanted and clip.label != SILENCE]
    if UNKNOWN not in wanted or not others:
        return kept
    if limit_unknown:  # the 12-class task has a tenth as many unknown words as clips of the ten words
        rng = np.random.default_rng([seed, 12])
        words = max(1, len([label for label in wanted if label not in (SILENCE, UNKNOWN)]))
        chosen = []
        for split in SPLITS:
            pool = [clip for clip in others if clip.split == split]
            count = -(-sum(clip.split == split and clip.label not in (SILENCE, UNKNOWN) for clip in kept) // words)
            picks = rng.permutation(len(pool))[:count]
            chosen += [pool[i] for i in sorted(picks)]
        others = chosen
    return kept + [replace(clip, label=UNKNOWN) for clip in others]


def _cut_background(root: Path, clips: list[Clip], seed: int, seconds: float = 1.0) -> list[Clip]:
    """`_silence_` clips from `_background_noise_`: as many as a mean word has, disjoint in time by split."""
    spans = background_spans(root)
    rng = np.random.default_rng([seed, 0])
    cuts = []
    spoken = [clip for clip in clips if clip.label != UNKNOWN] or clips
    words = len({clip.label for clip in spoken})
    for split in SPLITS:
        usable = [(path, a, b) for path, part, a, b in spans if part == split and b - a >= seconds]
        count = -(-sum(clip.split == split for clip in spoken) // max(1, words)) if usable else 0
        for _ in range(count):
            path, a, b = usable[rng.integers(len(usable))]
            start_s = round(float(rng.uniform(a, b - seconds)), 4)
            cuts.append(Clip(path, SILENCE, "_noise_", split, start_s, seconds))
    return cuts


def background_spans(root: str | os.PathLike[str]) -> list[tuple[Path, str, float, float]]:
    """The recordings in `_background_noise_` as (path, split, start_s, end_s): 80 / 10 / 10 percent of each."""
    folder = locate(root) / BACKGROUND
    if not folder.is_dir():
        return []
    spans = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES):
        try:
            total = soundfile.info(path).duration
        except (OSError, RuntimeError):
            raise AudioError(f"{path}: cannot be read as audio; remove it or convert it to 16-bit WAV") from None
        cuts = (0.0, 0.8 * total, 0.9 * total, total)
        spans += [(path, split, a, b) for split, a, b in zip(SPLITS, cuts, cuts[1:], strict=False)]
    return spans


# --- Checks ------------------------------------------------------------------------------------------------------


def check_label(label: str, where: object) -> str:
    """The label in Unicode's composed form. Raises DataError, its message led by `where`, if it cannot be used."""
    label = unicodedata.normalize("NFC", label)  # macOS hands out decomposed folder names
    size = len(label.encode("utf-8", "replace"))
    if not label or label != label.strip() or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in label):
        raise DataError(f"{where}: label {label!r} is empty or holds spaces at its ends or control characters")
    if size > MAX_LABEL_BYTES:
        raise DataError(f"{where}: label '{label[:40]}...' takes {size} bytes, at most {MAX_LABEL_BYTES} are allowed")
    return label


def plain(label: str) -> str:
    """A label as phrases are compared: folders are often called smart_mirror, people say "Smart mirror".

    >>> plain(" Smart_mirror")
    'smart mirror'
    """
    return " ".join(unicodedata.normalize("NFC", label).casefold().replace("_", " ").replace("-", " ").split())


def _checked_split(split: str | None, where: str) -> str:
    name = (split or "").strip().lower()
    if name and name not in _SPLIT_NAMES:
        raise DataError(f"{where}: split '{split}' is unknown; use train, val or test")
    return _SPLIT_NAMES.get(name, "")


def _check(dataset: Dataset, allow_missing: bool) -> None:
    root, labels = dataset.root, dataset.labels
    if len(labels) < 2:
        found = f"only label '{labels[0]}'" if labels else "no labels"
        raise DataError(f"{root}: {found}; a classifier needs at least two, such as {UNKNOWN}")
    if len(labels) > MAX_LABELS or len(set(labels)) < len(labels):
        raise DataError(f"{root}: {len(labels)} labels; at most {MAX_LABELS} are allowed, no two alike")
    counts = dataset.counts()
    empty = [label for label in labels if not any(counts[split][label] for split in SPLITS)]
    if len(empty) == len(labels) or (empty and not allow_missing):
        raise DataError(f"{root}: no recordings of {_some(empty)}; record some or leave the label out")
    if empty:
        warnings.warn(f"{root}: no clips of {_some(empty)}: nothing is measured for them", DataWarning, stacklevel=3)
    for split in SPLITS:
        absent = [label for label in labels if label not in empty and not counts[split][label]]
        if absent:
            text = f"{root}: split '{split}' has no clip of {_some(absent)}; add recordings of more speakers"
            warnings.warn(text, DataWarning, stacklevel=3)
    _warn_of_shared_speakers(dataset)


def _warn_of_left_out(root: Path, clips: list[Clip], wanted: list[str]) -> None:
    out = [clip.label for clip in clips if clip.label not in wanted]
    if out and UNKNOWN not in wanted:
        text = f"{root}: {len(out)} clips of {_some(sorted(set(out)))} are left out: no such label is wanted"
        warnings.warn(text, DataWarning, stacklevel=3)


def _warn_of_shared_speakers(dataset: Dataset) -> None:
    splits = defaultdict(set)
    for clip in dataset.all_clips:
        if clip.label != SILENCE:  # noise has no speaker
            splits[clip.speaker].add(clip.split)
    shared = sorted(speaker for speaker, parts in splits.items() if len(parts) > 1)
    if shared:
        text = f"{len(shared)} speakers are in more than one split, so figures will flatter: {_some(shared)}"
        warnings.warn(f"{dataset.root}: {text}", DataWarning, stacklevel=4)


def _warn_of_silence(clips: list[Clip], samples: np.ndarray) -> None:
    silent = [str(c.path) for c, row in zip(clips, samples, strict=True) if c.label != SILENCE and not row.any()]
    if silent and len(silent) == sum(clip.label != SILENCE for clip in clips):
        raise DataError(f"all {len(silent)} clips hold only digital silence, such as {silent[0]}; record them again")
    if silent:
        text = f"{len(silent)} clips hold only digital silence; record them again or remove them: {_some(silent)}"
        warnings.warn(text, DataWarning, stacklevel=3)


def _some(names: Sequence[str], most: int = 5) -> str:
    listed = ", ".join(f"'{name}'" for name in names[:most])
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")


# --- Reading and the cache -----------------------------------------------------------------------------------------


def read_clips(clips: Sequence[Clip], length: int, title: str = "reading") -> np.ndarray:
    """Decode clips in parallel threads to (clip, length) int16. Raises AudioError naming the first bad file."""
    samples = np.zeros((len(clips), length), dtype=np.int16)

    def read(i: int) -> None:
        clip = clips[i]
        samples[i] = fit_length(read_audio(clip.path, RATE_HZ, clip.start_s, clip.seconds), length)

    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        work = pool.map(read, range(len(clips)))
        for _ in track(work, title, total=len(clips), console=Console(stderr=True), transient=True):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    return samples


def cache_folder() -> Path:
    """Where decoded audio and computed features are kept: $SIGNWAVE_CACHE, or ~/.cache/signwave."""
    chosen = os.environ.get("SIGNWAVE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "signwave"


def _fingerprint(clips: Sequence[Clip], length: int) -> str:
    listing: list[object] = [_CACHE_VERSION, RATE_HZ, length]
    for clip in clips:
        try:
            stat = clip.path.stat()
        except OSError:
            raise AudioError(f"{clip.path}: no such file") from None
        listing.append([os.path.realpath(clip.path), stat.st_size, stat.st_mtime_ns, clip.start_s, clip.seconds])
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:32]


def _load_cached(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        samples = np.load(path, mmap_mode="c", allow_pickle=False)  # may be larger than memory
    except (OSError, ValueError, EOFError):
        return None  # not there, or half of a file from an older version: read the recordings again
    return samples if samples.shape == shape and samples.dtype == np.int16 else None


def _store_cached(path: Path, samples: np.ndarray) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            np.save(file, samples)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        warnings.warn(f"decoded audio is not kept for the next run: {error}", DataWarning, stacklevel=3)
