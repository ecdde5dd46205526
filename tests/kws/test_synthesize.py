"""Synthetic speech: deterministic, disjoint by speaker, resumable."""

import numpy as np
import pytest

import kws.synthesize
from kws.data import load_folder
from kws.espeak import Speaker
from kws.synthesize import SynthesisError, synthesize, synthesize_dataset
from kws.synthesizers import Espeak, speaker_of, voices

ESPEAK = ("espeak",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("speech")
    labels = {"on": ["on", "switch on"], "stop": ["stop"]}
    return synthesize_dataset(root, labels, 20, seed=3, progress=False, synthesizers=ESPEAK)


@pytest.fixture(scope="module")
def espeak():
    speaker = Espeak()
    yield speaker
    speaker.close()


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.*")}


def test_a_phrase_becomes_sound_the_same_every_time(espeak):
    first = synthesize("computer", "en-us+f1")
    synthesize("something else", "en+whisper", synthesizer=espeak)
    again = synthesize("computer", "en-us+f1", synthesizer=espeak)
    assert first.dtype == np.int16 and 4000 < len(first) < 20000 and np.abs(first).max() > 1000
    assert np.array_equal(first, again)


def test_rate_pitch_and_voice_are_heard(espeak):
    fast, slow = (synthesize("computer", rate_wpm=rate, synthesizer=espeak) for rate in (300, 120))
    assert len(fast) < 0.7 * len(slow)
    sounds = [synthesize("go", voice, pitch=p, synthesizer=espeak) for voice in ("en-us", "en-us+m3") for p in (20, 80)]
    assert len({sound.tobytes() for sound in sounds}) == 4


def test_there_are_many_voices_and_they_can_be_spoken(espeak):
    english = voices()
    assert len(english) > 300 and len({speaker_of(voice) for voice in english}) > 50
    assert voices("de") and not any("robo" in voice.lower() for voice in english)
    for accent in sorted({voice.partition("+")[0] for voice in english}):
        assert synthesize("yes", f"{accent}+Mr serious", synthesizer=espeak).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"phrase": "..."}, "no letters or digits"),
        ({"phrase": ""}, "no letters or digits"),
        ({"phrase": "la " * 100}, "longer than 200"),
        ({"phrase": "go", "voice": "en-us+nobody"}, "no variant 'nobody'"),
        ({"phrase": "go", "voice": "xx-yy"}, "no such voice"),
        ({"phrase": "go", "rate_wpm": 1000}, "80 to 450"),
        ({"phrase": "go", "pitch": 101}, "pitch 101"),
    ],
)
def test_what_cannot_be_spoken_is_refused(arguments, message):
    with pytest.raises(SynthesisError, match=message):
        synthesize(**arguments)


def test_an_unknown_language_lists_the_known():
    with pytest.raises(SynthesisError, match="no language 'tlh'.*de, .*en, "):
        voices("tlh")


def test_no_speaker_is_in_two_splits(folder):
    data = load_folder(folder)
    assert data.labels == ["on", "stop", "_silence_", "_unknown_"]
    assert all(count == {"train": 16, "val": 2, "test": 2}[s] for s, c in data.counts().items() for count in c.values())
    speakers = [{clip.speaker for clip in data.clips(s) if clip.label != "_silence_"} for s in ("train", "val", "test")]
    assert sum(map(len, speakers)) == len(set.union(*speakers))


def test_clips_are_one_second_and_differ(folder):
    files = {name: content for name, content in contents(folder).items() if name.endswith(".wav")}
    assert len(files) == len(set(files.values())) == 80
    assert {len(content) for content in files.values()} == {44 + 32000}
    assert not [name for name in contents(folder) if name.endswith(".tmp")]


def test_an_interrupted_run_resumes_to_the_same_files(folder, tmp_path, monkeypatch):
    arguments = {"labels": {"on": ["on", "switch on"], "stop": ["stop"]}, "clips_per_label": 20, "seed": 3}
    arguments |= {"synthesizers": ESPEAK}
    made, render = [], kws.synthesize._render

    def stop_halfway(utterance, speaker):
        if len(made) == 30:
            raise KeyboardInterrupt
        made.append(utterance)
        return render(utterance, speaker)

    monkeypatch.setattr(kws.synthesize, "_render", stop_halfway)
    with pytest.raises(KeyboardInterrupt):
        synthesize_dataset(tmp_path, **arguments, progress=False)
    assert 0 < len(list(tmp_path.rglob("*.wav"))) < 80 and not (tmp_path / "manifest.csv").exists()
    monkeypatch.setattr(kws.synthesize, "_render", lambda *args: made.append(args) or render(*args))
    synthesize_dataset(tmp_path, **arguments, progress=False)
    assert contents(tmp_path) == contents(folder)
    assert len(made) <= 80 + 8
    synthesize_dataset(tmp_path, **arguments, progress=False)  # nothing is left to do
    assert len(made) <= 80 + 8


def test_more_clips_leave_the_first_as_they_are(espeak):
    few, many = (kws.synthesize._plan(["on"], n, 0, None, True, 1.0, "en", {"espeak": espeak}) for n in (10, 30))
    assert {u.path for u in few} < {u.path for u in many}


def test_long_phrases_are_spoken_faster_or_refused(tmp_path, espeak):
    plan = kws.synthesize._plan({"long": ["turn the kitchen light on"]}, 3, 0, [], False, 1.0, "en", {"espeak": espeak})
    assert kws.synthesize._render(plan[0], {"espeak": espeak}).shape == (16000,)
    with pytest.raises(SynthesisError, match="choose longer clips"):
        long = {"long": ["one two three four five six seven eight nine ten eleven"]}
        synthesize_dataset(tmp_path, long, 3, progress=False, synthesizers=ESPEAK)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["?!"], "cannot be the name|no letters"), (["a/b"], "folder"), ([".."], "folder"), ({"on": []}, "list of phrases")],
)
def test_labels_that_cannot_be_made(tmp_path, labels, message):
    with pytest.raises(SynthesisError, match=message):
        synthesize_dataset(tmp_path, labels, 3, progress=False, synthesizers=ESPEAK)


def test_non_latin_labels_are_folders_too(tmp_path):
    synthesize_dataset(tmp_path, {"ВКЛ": ["включи"]}, 3, unknown_words=[], silence=False, progress=False, language="ru")
    assert len(list((tmp_path / "ВКЛ").glob("*.wav"))) == 3


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("export.format.os.replace", full)
    with pytest.raises(SynthesisError, match="No space left"):
        synthesize_dataset(tmp_path, ["on"], 3, progress=False, synthesizers=ESPEAK)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_crash_of_the_library_names_the_phrase_and_the_next_works(monkeypatch):
    with Speaker() as speaker:
        speaker.say("yes", "en-us")
        speaker._process.kill()
        speaker._process.wait()
        assert speaker.say("yes", "en-us")
        monkeypatch.setattr(speaker._process.stdin, "write", lambda _: speaker._process.kill())
        with pytest.raises(SynthesisError, match="broke down on phrase 'no'"):
            speaker.say("no", "en-us")
        assert speaker.say("no", "en-us")
