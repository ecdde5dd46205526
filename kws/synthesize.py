"""Speech without recordings: clips spoken by synthesizers in many voices, rates and pitches, offline.

    samples = synthesize("computer", "en-us+f1")                      # (sample,) int16 at 16 kHz
    synthesize_dataset("speech", ["yes", "no", "stop"], clips_per_label=300)

What is trained on these clips alone has met no human voice: measure it on recordings of people, or say so.
"""

import csv
import hashlib
import io
import json
import os
import queue
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import track

from export.format import write_atomically
from kws.audio import RATE_HZ, resample, to_int16
from kws.augment import coloured_noise
from kws.data import SILENCE, SPLITS, UNKNOWN, check_label, sort_labels
from kws.espeak import SynthesisError
from kws.synthesizers import KINDS, Espeak, Synthesizer, found

MIN_RATE_WPM, MAX_RATE_WPM = 80, 450
MAX_PHRASE = 200
_RECIPE_VERSION = 1

# What is said around a device and is no command. Short everyday words of many sounds, one to three syllables.
UNKNOWN_WORDS = tuple(
    """
    about again animal apple autumn baby banana basket because bicycle blanket bottle bread bridge brother butter
    camera candle carpet chair cheese chicken children cinema coffee colour corner cousin doctor dinner dollar
    eleven engine evening every family father finger flower forest friend garden ginger hammer happy holiday house
    island jacket kitchen ladder lemon letter little market maybe minute monday morning mother mountain never
    number orange paper people pepper picture planet please pocket potato question rabbit river school seven
    silver simple sister summer sugar table teacher tiger today tomorrow travel under village water weather
    window winter wonder yellow yesterday zebra
    bird blue boat book cake cat cold cup day dog door eight fish five four girl glass hand hat head heart key king
    know lamp law light lip map mark milk moon name nine nose now one park pen rain red right road room salt sand
    sea shoe show sleep snow so soft song spoon star step stone sun tea three time toe top tree two wall wet
    white wind wood word year
    """.split()
)


@dataclass(frozen=True)
class Utterance:
    """How one clip is made; the same recipe gives the same samples."""

    label: str
    index: int
    split: str
    speaker: str
    seconds: float
    phrase: str = ""  # empty: noise alone
    voice: str = ""
    rate_wpm: int = 0
    pitch: int = 0
    pitch_range: int = 0
    seed: int = 0

    @property
    def path(self) -> str:
        """Relative to the data folder. Holds a digest of the recipe: no file of another recipe is ever taken for it."""
        recipe = json.dumps([_RECIPE_VERSION, asdict(self)], sort_keys=True)
        return f"{self.label}/{self.speaker}_{self.index:05d}_{hashlib.sha256(recipe.encode()).hexdigest()[:8]}.wav"


def synthesizer_of(voice: str) -> str:
    """The name of the synthesizer that has a voice.

    >>> synthesizer_of("en-us+f1"), synthesizer_of("flite:slt@106")
    ('espeak', 'flite')
    """
    name, colon, _ = voice.partition(":")
    return name if colon else Espeak.name


def synthesize(
    phrase: str,
    voice: str = "en-us",
    rate_wpm: int = 150,
    pitch: int = 50,
    pitch_range: int = 50,
    synthesizer: Synthesizer | None = None,
) -> np.ndarray:
    """Speak a phrase: (sample,) int16 at 16 kHz, without the silence at its ends.

    rate_wpm in words a minute (80 to 450), pitch and pitch_range from 0 to 100. Pass the voice's `synthesizer` for many
    phrases. Raises SynthesisError.
    """
    check_request(phrase, rate_wpm, pitch, pitch_range)
    if synthesizer is None:
        (own,) = found([synthesizer_of(voice)]).values()
        try:
            return synthesize(phrase, voice, rate_wpm, pitch, pitch_range, own)
        finally:
            own.close()
    spoken, rate_hz = synthesizer.say(phrase, voice, rate_wpm, pitch, pitch_range)
    level = np.abs(spoken)
    loud = np.flatnonzero(level > 0.01 * level.max(initial=0.0))
    if len(loud) == 0 or level.max() < 0.003:
        raise SynthesisError(f"phrase '{phrase}': voice '{voice}' says nothing; write it in letters of that language")
    return to_int16(resample(spoken[loud[0] : loud[-1] + 1], rate_hz, RATE_HZ))


def check_request(phrase: str, rate_wpm: int, pitch: int, pitch_range: int) -> None:
    if not any(character.isalnum() for character in phrase):
        raise SynthesisError(f"phrase '{phrase}' cannot be spoken: it has no letters or digits")
    if len(phrase) > MAX_PHRASE or "\0" in phrase:
        raise SynthesisError(f"phrase '{phrase[:40]}...' is longer than {MAX_PHRASE} characters, or one of them is NUL")
    if not MIN_RATE_WPM <= rate_wpm <= MAX_RATE_WPM:
        raise SynthesisError(f"rate {rate_wpm} is outside {MIN_RATE_WPM} to {MAX_RATE_WPM} words a minute")
    for name, value in (("pitch", pitch), ("pitch range", pitch_range)):
        if not 0 <= value <= 100:
            raise SynthesisError(f"{name} {value} is outside 0 to 100")


# --- Data sets ---------------------------------------------------------------------------------------------------


def synthesize_dataset(
    root: str | os.PathLike[str],
    labels: Mapping[str, Sequence[str]] | Sequence[str],
    clips_per_label: int = 300,
    seed: int = 0,
    unknown_words: Sequence[str] | None = None,
    silence: bool = True,
    progress: bool = True,
    seconds: float = 1.0,
    language: str = "en",
    synthesizers: Sequence[str] = (),
    voices: str | os.PathLike[str] | None = None,
) -> Path:
    """Write `label/*.wav` and `manifest.csv` for load_folder; returns the folder.

    labels: words, or {label: phrases that mean it}. unknown_words: spoken as `_unknown_` (None: a list of everyday
    words; empty: no such label). silence: also write `_silence_` clips of coloured noise. No speaker is in two splits.
    synthesizers: names, such as ("espeak", "flite"); none: all that are installed. voices: a folder of neural voices.
    Clips that are there already are kept, so an interrupted run goes on where it was; other files are not touched.
    Raises SynthesisError, DataError.
    """
    root = Path(root)
    speaking = found(synthesizers, voices)
    plan = _plan(labels, clips_per_label, seed, unknown_words, silence, seconds, language, speaking)
    todo = [utterance for utterance in plan if not (root / utterance.path).exists()]
    try:
        for label in {utterance.label for utterance in plan}:
            (root / label).mkdir(parents=True, exist_ok=True)
        make_all(root, todo, _render, progress, lambda: found(list(speaking), voices))
        _write_manifest(root / "manifest.csv", plan)
    except OSError as error:
        raise SynthesisError(f"{root}: cannot be written ({error}); free some space or choose another folder") from None
    return root


def _plan(
    labels: Mapping[str, Sequence[str]] | Sequence[str],
    clips_per_label: int,
    seed: int,
    unknown_words: Sequence[str] | None,
    silence: bool,
    seconds: float,
    language: str,
    synthesizers: Mapping[str, Synthesizer],
) -> list[Utterance]:
    """All recipes, each drawn from (seed, label, index) alone: more clips leave the first ones as they are."""
    if clips_per_label < len(SPLITS):
        raise SynthesisError(f"{clips_per_label} clips a label are too few: the three splits need one each")
    if not labels:
        raise SynthesisError("no commands to speak: name at least one word")
    phrases = dict(labels) if isinstance(labels, Mapping) else {word: [word] for word in labels}
    for label, spoken in phrases.items():
        check_label(label, "labels")
        if label in (".", "..") or re.search(r'[/\\:*?"<>|]', label):
            raise SynthesisError(f"label '{label}' cannot be the name of a folder; leave out /\\:*?\"<>|")
        if isinstance(spoken, str) or not spoken:
            raise SynthesisError(f"label '{label}' needs a list of phrases to speak")
    taken = {phrase.casefold() for spoken in phrases.values() for phrase in spoken}
    unknown = UNKNOWN_WORDS if unknown_words is None else unknown_words
    unknown = [word for word in unknown if word.casefold() not in taken]
    if unknown:
        phrases.setdefault(UNKNOWN, unknown)
    for spoken in phrases.values():
        for phrase in spoken:
            check_request(phrase, MIN_RATE_WPM, 0, 0)
    if silence:
        phrases[SILENCE] = [""]
    speakers = {name: each.speakers(language) for name, each in synthesizers.items()}
    by_split = [voices_by_split(of, seed) for of in speakers.values() if of]
    if not by_split:
        raise SynthesisError(f"none of {', '.join(speakers)} speaks language '{language}'; add espeak")
    return [
        draw(label, index, phrases[label], by_split, seed, seconds)
        for label in sort_labels(phrases)
        for index in range(clips_per_label)
    ]


def voices_by_split(voices_of: Mapping[str, list[str]], seed: int) -> dict[str, dict[str, list[str]]]:
    """{split: {speaker: voices}}: 80 / 10 / 10 percent of a synthesizer's speakers."""
    speakers = sorted(voices_of)
    if len(speakers) < len(SPLITS):
        raise SynthesisError(f"{len(speakers)} speakers ({', '.join(speakers)}) are too few: the three splits need one each")
    np.random.default_rng([seed, 1]).shuffle(speakers)
    share = max(1, len(speakers) // 10)
    parts = {"train": speakers[2 * share :], "val": speakers[:share], "test": speakers[share : 2 * share]}
    return {split: {name: voices_of[name] for name in sorted(names)} for split, names in parts.items()}


def draw(
    label: str, index: int, phrases: Sequence[str], by_synthesizer: Sequence[dict[str, dict]], seed: int, seconds: float
) -> Utterance:
    """`by_synthesizer`: {split: {speaker: voices}} of each; they take turns by lot."""
    split = {1: "val", 2: "test"}.get(index % 10, "train")
    digest = hashlib.sha256(json.dumps([seed, label, index]).encode()).digest()
    rng = np.random.default_rng(list(digest[:16]))
    own_seed = int(rng.integers(2**31))
    if label == SILENCE:
        return Utterance(label, index, split, "noise", seconds, seed=own_seed)
    # Not drawn from rng: what eSpeak NG speaks is the same, whatever else is installed.
    by_split = by_synthesizer[int.from_bytes(digest[16:20], "little") % len(by_synthesizer)]
    speaker = str(rng.choice(list(by_split[split])))
    return Utterance(
        label,
        index,
        split,
        speaker,
        seconds,
        phrase=phrases[int(rng.integers(len(phrases)))],
        voice=str(rng.choice(by_split[split][speaker])),
        rate_wpm=int(rng.integers(110, 231)),
        pitch=int(rng.integers(15, 86)),
        pitch_range=int(rng.integers(15, 86)),
        seed=own_seed,
    )


def make_all(
    root: Path,
    todo: Sequence[Utterance],
    render: Callable[[Utterance, Mapping[str, Synthesizer]], np.ndarray],
    progress: bool,
    open_synthesizers: Callable[[], dict[str, Synthesizer]],
) -> None:
    """Write the sound files of some recipes, several at a time, each by its own set of synthesizers."""
    workers = max(1, min(8, os.cpu_count() or 1, len(todo)))
    sets: queue.SimpleQueue[dict[str, Synthesizer]] = queue.SimpleQueue()
    for _ in range(workers):
        sets.put(open_synthesizers())

    def make(utterance: Utterance) -> None:
        synthesizers = sets.get()
        try:
            write_atomically(root / utterance.path, _wav(render(utterance, synthesizers)))
        finally:
            sets.put(synthesizers)

    pool = ThreadPoolExecutor(workers)
    try:
        work = pool.map(make, todo)
        console = Console(stderr=True)
        for _ in track(work, "speaking", total=len(todo), console=console, transient=True, disable=not progress):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
        while not sets.empty():
            for synthesizer in sets.get().values():
                synthesizer.close()


def _render(utterance: Utterance, synthesizers: Mapping[str, Synthesizer]) -> np.ndarray:
    """Speech at a random place and level over a faint hiss; (sample,) int16."""
    rng = np.random.default_rng(utterance.seed)
    n = round(utterance.seconds * RATE_HZ)
    if not utterance.phrase:
        return to_int16(coloured_noise(n, rng) * 10 ** (rng.uniform(-75, -25) / 20))
    spoken = fitting(utterance, n, synthesizers[synthesizer_of(utterance.voice)]).astype(np.float32) / 32768
    spoken *= 10 ** (rng.uniform(-18, -1) / 20) / np.abs(spoken).max()
    clip = coloured_noise(n, rng) * np.float32(10 ** (rng.uniform(-80, -50) / 20))
    start = int(rng.integers(n - len(spoken) + 1))
    clip[start : start + len(spoken)] += spoken
    return to_int16(clip)


def fitting(utterance: Utterance, n: int, synthesizer: Synthesizer) -> np.ndarray:
    """Spoken faster where it would not fit into n samples."""
    rate_wpm = utterance.rate_wpm
    while True:
        spoken = synthesize(
            utterance.phrase, utterance.voice, rate_wpm, utterance.pitch, utterance.pitch_range, synthesizer
        )
        if len(spoken) <= n:
            return spoken
        if rate_wpm == MAX_RATE_WPM:
            raise SynthesisError(
                f"phrase '{utterance.phrase}' takes {len(spoken) / RATE_HZ:.1f} s even spoken fast, clips last "
                f"{utterance.seconds} s: choose longer clips or a shorter phrase"
            )
        rate_wpm = min(MAX_RATE_WPM, int(rate_wpm * len(spoken) / n * 1.1) + 1)


def _wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _write_manifest(path: Path, plan: Sequence[Utterance]) -> None:
    text = io.StringIO()
    columns = ["path", "label", "speaker", "split", "seconds", "source", "phrase", "voice", "rate_wpm", "pitch"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "pitch_range"])
    for u in plan:
        source = KINDS[synthesizer_of(u.voice)].title if u.phrase else "coloured noise"
        row = [u.path, u.label, u.speaker, u.split, u.seconds, source, u.phrase, u.voice, u.rate_wpm, u.pitch]
        writer.writerow([*row, u.pitch_range])
    write_atomically(path, text.getvalue().encode("utf-8"))
