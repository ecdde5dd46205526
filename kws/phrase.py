"""What is spoken to train a wake word from nothing but its words: the phrase, what sounds like it, and everything else.

    speech = speak_phrases(["hey computer"], count=800)           # {kind: pieces}; kept in the cache folder
    speech["hey computer"][0].samples                             # (sample,) int16, without silence at its ends

Negatives are synthetic too, or a network learns "synthetic" instead of the word; and the hardest ones are made from the
phrase itself: phonemes of it exchanged (spoken by eSpeak NG, in any language), its parts, each word alone.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kws.audio import RATE_HZ, read_audio
from kws.data import UNKNOWN, DataError, cache_folder, check_label, plain
from kws.espeak import SynthesisError
from kws.synthesize import (
    MIN_RATE_WPM,
    UNKNOWN_WORDS,
    Utterance,
    check_request,
    draw,
    fitting,
    make_all,
    synthesizer_of,
    voices_by_split,
)
from kws.synthesizers import Espeak, Synthesizer, found

MAX_PHRASE_SECONDS = 1.15  # what a clip of 1.4 s holds before the silence that follows (kws.wakedata.END_MS)
SENTENCE_SECONDS = 4.0
PACE = 0.8  # people call a device more slowly than they speak to each other
NEAR, PARTS, WORDS, SENTENCES = "_near_", "_parts_", "_words_", "_sentences_"  # kinds of negatives
_VOWELS = set("aeiouAEIOUV@0369&yY")


@dataclass(frozen=True)
class Piece:
    """Sound with one label: a spoken phrase without silence at its ends, or a recording as it is."""

    samples: np.ndarray
    label: str
    speaker: str
    split: str
    path: Path
    synthetic: bool


def check_phrases(phrases: Sequence[str]) -> list[str]:
    """The labels of some wake words. Raises SynthesisError or DataError."""
    labels = [plain(phrase) for phrase in phrases]
    for phrase, label in zip(phrases, labels, strict=True):
        check_request(phrase, 150, 0, 0)
        check_label(label, "--phrase")
        if any(c in '/\\:*?"<>|' for c in label) or label in (".", ".."):
            raise SynthesisError(f"phrase '{phrase}' holds a character that no file can be named by; write letters and digits")
    if len(set(labels)) < len(labels) or not labels:
        raise DataError(f"phrases {', '.join(phrases) or 'none'}: give each once, at least one")
    return labels


def speak_phrases(
    phrases: Sequence[str],
    count: int,
    seed: int = 0,
    language: str = "en",
    synthesizers: Sequence[str] = (),
    voices: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> dict[str, list[Piece]]:
    """`count` utterances of each phrase and as many negatives made from it, and negatives of everyday speech, by kind.

    Speakers are disjoint between the splits. Files are kept, so that an interrupted run, or the next one, goes on from them.
    Raises SynthesisError.
    """
    labels = check_phrases(phrases)
    speaking = found(synthesizers, voices)
    try:
        plan = _plan(labels, count, seed, language, speaking)
    finally:
        for each in speaking.values():
            each.close()
    root = cache_folder() / "speech"
    for label in {utterance.label for utterance in plan}:
        (root / label).mkdir(parents=True, exist_ok=True)
    todo = [utterance for utterance in plan if not (root / utterance.path).exists()]
    make_all(root, todo, _spoken, progress, lambda: found(list(speaking), voices))
    out: dict[str, list[Piece]] = {}
    for u in plan:
        path = root / u.path
        out.setdefault(u.label, []).append(Piece(read_audio(path), u.label, u.speaker, u.split, path, True))
    return out


def _spoken(utterance: Utterance, synthesizers: Mapping[str, Synthesizer]) -> np.ndarray:
    synthesizer = synthesizers[synthesizer_of(utterance.voice)]
    spoken = fitting(utterance, round(utterance.seconds * RATE_HZ), synthesizer).astype(np.float32)
    rng = np.random.default_rng(utterance.seed)
    return np.rint(spoken * (32767 * 10 ** (rng.uniform(-18, -1) / 20) / np.abs(spoken).max())).astype(np.int16)


def _plan(
    labels: Sequence[str], count: int, seed: int, language: str, synthesizers: Mapping[str, Synthesizer]
) -> list[Utterance]:
    speakers = {name: each.speakers(language) for name, each in synthesizers.items()}
    by_split = {name: voices_by_split(of, seed) for name, of in speakers.items() if of}
    if not by_split:
        raise SynthesisError(f"none of {', '.join(speakers)} speaks language '{language}'; add espeak")
    everyone, rng = list(by_split.values()), np.random.default_rng([seed, 7])
    espeak = synthesizers.get(Espeak.name)
    plan: list[Utterance] = []

    def add(kind: str, texts: Sequence[str], n: int, seconds: float, voices: Sequence[dict]) -> None:
        drawn = (draw(kind, index, texts, voices, seed, seconds) for index in range(n if texts else 0))
        plan.extend(replace(u, rate_wpm=max(MIN_RATE_WPM, round(PACE * u.rate_wpm))) for u in drawn)

    for label in labels:
        spoken = [label, label, f"{label}!", f"{label}?", f"{label},"]  # as stated, called, asked, and before more
        add(label, spoken, count, MAX_PHRASE_SECONDS, everyone)
        # Kinds are drawn by their name: it holds the phrase, so that its own parts do not depend on the other phrases.
        parts = [part for part in parts_of(label) if part not in labels]
        add(f"{PARTS}{label}", parts, count // 4, MAX_PHRASE_SECONDS, everyone)
        if espeak is not None:
            near = near_phrases(espeak, label, language, rng)
            add(f"{NEAR}{label}", near, count // 2, MAX_PHRASE_SECONDS, [by_split[Espeak.name]])
    words = [word for word in UNKNOWN_WORDS if word not in " ".join(labels).split()]
    add(WORDS, words, count, MAX_PHRASE_SECONDS, everyone)
    sentences = [" ".join(rng.choice(words, rng.integers(4, 9))) for _ in range(count // 2)]
    add(SENTENCES, sentences, count // 2, SENTENCE_SECONDS, everyone)
    return plan


def parts_of(phrase: str) -> list[str]:
    """What stands in a phrase of several words and is not the phrase: each word, and all words but the first or the last.

    >>> parts_of("hey smart mirror")
    ['hey', 'smart', 'mirror', 'hey smart', 'smart mirror']
    """
    words = phrase.split()
    if len(words) < 2:
        return []
    return list(dict.fromkeys([*words, " ".join(words[:-1]), " ".join(words[1:])]))


def near_phrases(espeak: Espeak, phrase: str, language: str, rng: np.random.Generator, count: int = 150) -> list[str]:
    """Phrases that sound alike, as phonemes for eSpeak NG: a third to two thirds of the phonemes exchanged, or cut off.

    A vowel gives way to a vowel and a consonant to a consonant of the same language. Fewer changes would make negatives of
    what people say when they mean the phrase.
    """
    def spoken_by(text: str) -> list[list[str]]:
        """Without the marks of another language, such as (en): a word ends where one stands."""
        return [[s for s in word if "(" not in s and not s.startswith("_")] for word in espeak.phonemes(text, language)]

    words = spoken_by(phrase)
    sounds = [sound for word in words for sound in word]
    ends = np.cumsum([len(word) for word in words])
    known = sorted({s for word in spoken_by(", ".join(UNKNOWN_WORDS)) for s in word} | set(sounds))
    pools = [[s for s in known if _is_vowel(s) == vowel] for vowel in (False, True)]
    out: dict[str, None] = {}
    for _ in range(10 * count):
        changed = list(sounds)
        n = len(sounds)
        size = max(min(2, n), round(n * rng.uniform(0.34, 0.67)))
        start = int(rng.integers(n))  # a stretch of neighbours: one half stays as it is
        for i in range(start, start + size):
            pool = [s for s in pools[_is_vowel(sounds[i % n])] if _bare(s) != _bare(sounds[i % n])]
            changed[i % n] = str(rng.choice(pool or known))
        if rng.random() < 0.2 and n > 3:  # the beginning or the end alone
            keep = round(n * rng.uniform(0.4, 0.7))
            changed = [*sounds[:keep], *[""] * (n - keep)] if rng.random() < 0.5 else [*[""] * (n - keep), *sounds[n - keep :]]
        spoken = " ".join("".join(changed[a:b]) for a, b in zip([0, *ends], ends, strict=False)).strip()
        out[f"[[{spoken}]]"] = None
        if len(out) == count:
            break
    return list(out)


def _bare(sound: str) -> str:
    return sound.lstrip("',%=")


def _is_vowel(sound: str) -> bool:
    return _bare(sound)[:1] in _VOWELS


def negative_kind(label: str) -> str:
    """`_near_` and such of a piece's label, or nothing for a phrase."""
    return next((kind for kind in (NEAR, PARTS, WORDS, SENTENCES, UNKNOWN) if label.startswith(kind)), "")
