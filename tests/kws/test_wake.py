"""From a phrase to a file: what is spoken, how clips are composed, mining, thresholds."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
import torch

from bnn.config import ConfigError
from bnn.training import TrainingError
from export.format import read, write
from export.graph import FormatError
from kws.augment import hearing
from kws.cli import load_preset
from kws.data import SILENCE, UNKNOWN, Clip, DataError, load_clips, load_folder, plain
from kws.detection import Detection, firing_margin, hear
from kws.espeak import SynthesisError
from kws.phrase import NEAR, PARTS, Piece, _plan, check_phrases, near_phrases, parts_of, speak_phrases
from kws.stream import events_of
from kws.synthesizers import Espeak
from kws.teacher import load_teacher
from kws.train import export_run, load_run
from kws.wake import Sources, _worse, begin_from, mine, train_wake_words, validation_clips
from kws.wake_cli import eval_stream
from kws.wakedata import MINED, WakeData, ambient_clips, compose, recorded_pieces, speech_extent, with_ambient
from tests.kws.ears import small_ear
from tests.kws.tones import write_tones

SMALL = ["batch_size=32", "float_epochs=8", "activation_epochs=1", "binary_epochs=5", "learning_rate=0.01",
         "model.channels=32", "model.blocks=3"]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNWAVE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def piece(samples, label="go", synthetic=True, split="train"):
    return Piece(np.asarray(samples, np.int16), label, "s", split, None, synthetic)


def test_phrases_are_compared_as_people_write_them():
    assert check_phrases(["Hey  Computer", "smart_mirror"]) == ["hey computer", "smart mirror"]
    assert plain("Smart-Mirror") == "smart mirror"
    with pytest.raises(DataError, match="give each once"):
        check_phrases(["go", "Go"])
    with pytest.raises(SynthesisError, match="no letters"):
        check_phrases(["?!"])
    with pytest.raises(SynthesisError, match="no file can be named by"):
        check_phrases(["on/off"])


def test_other_speech_joins_the_training_of_commands_as_unknown(tmp_path):
    own = load_folder(write_tones(tmp_path / "tones", speakers=6))
    with pytest.raises(DataError, match="no label here"):
        with_ambient(own, [tmp_path / "radio"], 1.0)
    assert with_ambient(own, [], 1.0) == own
    rng = np.random.default_rng(0)
    speech = rng.integers(-8000, 8000, 80000)
    speech[16000:32000] //= 100  # a pause
    (tmp_path / "radio").mkdir()
    soundfile.write(tmp_path / "radio" / "talk.wav", speech.astype(np.int16), 16000)
    (tmp_path / "words" / "hello").mkdir(parents=True)
    soundfile.write(tmp_path / "words" / "hello" / "a_0.wav", speech[:12000].astype(np.int16), 16000)
    (tmp_path / "words" / "manifest.csv").write_text("path,label,speaker,split\nhello/a_0.wav,hello,a,train\n")
    data = with_ambient(replace(own, labels=[*own.labels, UNKNOWN]), [tmp_path / "radio", tmp_path / "words"], 1.0)
    added = data.all_clips[len(own.all_clips) :]
    assert all(clip.label == UNKNOWN and clip.split == "train" and clip.extra for clip in added)
    assert [(clip.path.name, clip.start_s, clip.seconds) for clip in added] == [
        ("talk.wav", 0.0, 1.0), ("talk.wav", 2.0, 1.0), ("talk.wav", 3.0, 1.0), ("a_0.wav", 0.0, None)]  # fmt: skip
    assert data.waveforms("train", 1.0)[0][-4:].any(1).all()


def test_negatives_are_near_the_phrase_and_are_not_the_phrase():
    espeak, rng = Espeak(), np.random.default_rng(0)
    for phrase, language in (("hey computer", "en"), ("hallo rechner", "de")):
        near = near_phrases(espeak, phrase, language, rng, 40)
        exact = " ".join("".join(word) for word in espeak.phonemes(phrase, language))
        assert len(set(near)) == 40 and f"[[{exact}]]" not in near
        assert all(espeak.say(text, language) for text in near[:5])
    espeak.close()
    assert parts_of("computer") == [] and parts_of("hey computer") == ["hey", "computer"]


def test_near_phrases_of_other_languages_hold_no_marks_of_another():
    near = near_phrases(Espeak(), "computer", "de", np.random.default_rng(0))
    assert len(near) > 100 and not any("(" in phrase for phrase in near)


def test_a_part_that_is_a_phrase_itself_is_no_negative():
    for labels, parts in ((["hey computer", "computer"], {"hey"}), (["hey computer"], {"hey", "computer"})):
        plan = _plan(labels, 60, 0, "en", {Espeak.name: Espeak()})
        assert {utterance.phrase for utterance in plan if utterance.label == f"{PARTS}hey computer"} == parts


def test_a_loose_file_beside_folders_hides_none_of_them(tmp_path):
    (tmp_path / "radio").mkdir()
    for path in (tmp_path / "kitchen.wav", tmp_path / "radio" / "a.wav"):
        soundfile.write(path, np.ones(16000, np.int16), 16000)
    with pytest.raises(DataError, match="kitchen.wav lies beside folders"):
        ambient_clips(tmp_path)


def test_speech_is_kept_and_no_speaker_is_in_two_splits():
    speech = speak_phrases(["hey computer"], 60, synthesizers=["espeak"], progress=False)
    assert {kind: len(p) for kind, p in speech.items()} == {
        "hey computer": 60, f"{PARTS}hey computer": 15, f"{NEAR}hey computer": 30, "_words_": 60, "_sentences_": 30
    }  # fmt: skip
    splits = [{p.speaker for pieces in speech.values() for p in pieces if p.split == s} for s in ("train", "val", "test")]
    assert sum(map(len, splits)) == len(set.union(*splits))
    times = [p.path.stat().st_mtime_ns for p in speech["hey computer"]]
    again = speak_phrases(["hey computer"], 60, synthesizers=["espeak"], progress=False)
    assert times == [p.path.stat().st_mtime_ns for p in again["hey computer"]]


def test_a_phrase_ends_before_its_clip_does_with_other_speech_around():
    rng, n = np.random.default_rng(0), 25600
    word, fillers = piece(np.full(8000, 1000)), [piece(np.full(4000, 900), "other")]
    clips = np.stack([compose(word, True, fillers, n, rng) for _ in range(200)])
    end = n - 240 * 16
    assert (clips[:, end - 8000 : end] >= 1000).all()
    before, after = (clips[:, : end - 8000].any(1), clips[:, end:].any(1))
    assert 0.2 < before.mean() < 0.5 and 0.2 < after.mean() < 0.5 and (before & after).any()


def test_synthesized_phrases_stand_among_recorded_speech_too():
    pieces = [piece(np.full(8000, 1000)) for _ in range(60)]
    pieces += 30 * [piece(np.full(4000, 900), UNKNOWN), piece(np.full(4000, -900), UNKNOWN, synthetic=False)]
    clips, targets = WakeData.of(["go"], pieces, 1.6, 0).waveforms("train")
    phrases = clips[targets == 0]
    assert 0.1 < (phrases < 0).any(1).mean() < 0.6 and (phrases[:, -1] > 0).any()


def test_people_are_few_among_negatives_where_none_says_the_phrase():
    negatives = [piece(np.full(800, 100), UNKNOWN, synthetic) for synthetic in [True] * 100 + [False] * 500]
    for said, people in ((True, 60), (False, 500)):
        phrases = [piece(np.full(800, 100), "go", said)]
        chosen = WakeData.of(["go"], [*phrases, *negatives], 0.1, 0).pieces["train"]
        assert sum(not p.synthetic and p.label == UNKNOWN for p in chosen) == people
        assert sum(p.synthetic and p.label == UNKNOWN for p in chosen) == 100


def test_only_negatives_have_a_domain_and_only_where_nobody_is_recorded_saying_the_phrase():
    sound = np.full(800, 100)
    kinds = [("go", True), (UNKNOWN, False), ("_near_go", True), (SILENCE, False), (MINED, True)]
    pieces = [piece(sound, label, synthetic) for label, synthetic in kinds]
    data = WakeData(Path("."), ["go", UNKNOWN], [], {"train": pieces}, 0.1, 0)
    assert data.domains().tolist() == [-1, 0, 1, -1, -1]
    assert replace(data, pieces={"train": [*pieces, piece(sound, synthetic=False)]}).domains() is None


def test_more_phrases_have_more_negatives():
    pieces = [piece(np.full(800, 100), label) for label in ("one", "two") for _ in range(5)]
    pieces += [piece(np.full(800, 100), UNKNOWN)] * 7000
    for labels, most in ((["one"], 4000), (["one", "two"], 6000)):
        assert WakeData.of(labels, pieces, 0.1, 0).counts()["train"][UNKNOWN] == most


def test_long_recordings_are_cut_anywhere_and_mined_ones_where_the_network_was_wrong():
    rng, ramp = np.random.default_rng(0), np.arange(30000)
    starts = {int(compose(piece(ramp, UNKNOWN, False), False, [], 1600, rng)[0]) for _ in range(20)}
    assert len(starts) > 15
    assert np.array_equal(compose(piece(ramp, MINED), False, [], 1600, rng), ramp[-1600:])
    assert np.array_equal(compose(piece(ramp[1:100], MINED), False, [], 200, rng), np.pad(ramp[1:100], (101, 0)))


def test_the_extent_of_speech_is_found_in_noise():
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 20, 32000)
    samples[9600:19200] += rng.normal(0, 3000, 9600)
    found = speech_extent(samples.astype(np.int16))
    assert abs(found.start - 9600) <= 640 and abs(found.stop - 19200) <= 640
    assert speech_extent(np.zeros(300, np.int16)) == slice(0, 300)


def test_ambient_files_without_folders_are_cut_in_time(tmp_path):
    soundfile.write(tmp_path / "radio.wav", np.zeros(160000, np.int16), 16000)
    clips = ambient_clips(tmp_path)
    assert [(c.split, c.start_s, c.seconds) for c in clips] == [("train", 0, 8), ("val", 8, 1), ("test", 9, 1)]
    with pytest.raises(DataError, match="not a folder"):
        ambient_clips(tmp_path / "none")
    (tmp_path / "x.wav").write_text("text")
    with pytest.raises(ValueError, match="x.wav"):
        ambient_clips(tmp_path)


def write_people(root, speech, label, words=()):
    """Some of the synthesized pieces as if they were recordings of people."""
    for i, p in enumerate(speech):
        path = root / label / f"p{i % 10}_{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.pad(p.samples, 4000), 16000)


def test_recordings_of_the_phrase_are_cut_to_what_is_spoken(tmp_path):
    speech = speak_phrases(["hey computer"], 60, synthesizers=["espeak"], progress=False)
    write_people(tmp_path, speech["hey computer"][:20], "Hey_Computer")
    write_people(tmp_path, speech["_words_"][:20], "others")
    pieces = recorded_pieces(tmp_path, ["hey computer"])
    own = [p for p in pieces if p.label == "hey computer"]
    assert len(own) == 20 and len(pieces) == 40 and not any(p.synthetic for p in pieces)
    assert max(len(p.samples) for p in own) < max(len(p.samples) for p in speech["hey computer"]) + 3000
    with pytest.raises(DataError, match="no recordings of jarvis; its folders are hey computer, others"):
        recorded_pieces(tmp_path, ["jarvis"])


def test_where_few_people_say_the_phrase_on_validation_synthesizers_say_it_too(tmp_path):
    speech = {"go": [piece([0], split="val"), piece([0], split="train")]}
    for people, spoken in ((2, 1), (20, 0)):
        folder = tmp_path / str(people)
        (folder / "go").mkdir(parents=True)
        for i in range(people):
            soundfile.write(folder / "go" / f"a_{i}.wav", np.ones(8000, np.int16), 16000)
        rows = [f"go/a_{i}.wav,go,a,val" for i in range(people)]
        (folder / "manifest.csv").write_text("\n".join(["path,label,speaker,split", *rows]))
        clips = validation_clips(["go"], speech, [], Sources(data_dir=folder))
        assert len(clips) == people + spoken and all(clip.label == "go" and clip.split == "val" for clip in clips)


def test_background_noise_alone_is_listened_to_on_validation(tmp_path):
    folder = tmp_path / "_background_noise_"
    folder.mkdir()
    soundfile.write(folder / "fan.wav", np.ones(160000, np.int16), 16000)
    [clip] = validation_clips(["go"], {}, [], Sources(noise_dir=tmp_path))
    assert (clip.split, clip.start_s, clip.seconds) == ("val", pytest.approx(8), pytest.approx(1)) and clip.label == SILENCE


def test_a_folder_that_is_missing_is_named_before_anything_is_spoken(tmp_path, monkeypatch):
    monkeypatch.setattr("kws.wake.speak_phrases", None)
    none = tmp_path / "none"
    for missing in (Sources(data_dir=none), Sources(negatives=[none]), Sources(noise_dir=none)):
        with pytest.raises(DataError, match="none: is not a folder"):
            train_wake_words(["hey computer"], tmp_path / "run", load_preset("wake-s", []), missing)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("wake")
    rng = np.random.default_rng(1)
    words = speak_phrases(["hey computer"], 60, synthesizers=["espeak"], progress=False)["_sentences_"]
    radio = np.concatenate([np.pad(p.samples, 2000) for p in words])
    radio = np.clip(radio + rng.normal(0, 30, len(radio)), -32768, 32767).astype(np.int16)
    (root / "radio").mkdir()
    soundfile.write(root / "radio" / "one.wav", radio, 16000)
    sources = Sources(count=60, synthesizers=["espeak"], negatives=[root / "radio"])
    config = load_preset("wake-s", [*SMALL, "float_epochs=12", "binary_epochs=8", "learning_rate=0.006"])
    return train_wake_words(["hey computer"], root / "run", config, sources), sources, config


def test_a_phrase_becomes_a_file_that_hears_it(run):
    result, _, _ = run
    model = read(result.model_path)
    assert model.labels == ["hey computer", UNKNOWN] and result.file_bytes == result.model_path.stat().st_size
    speech = speak_phrases(["hey computer"], 60, synthesizers=["espeak"], progress=False)
    told = json.loads(model.metadata["detection"])
    assert model.thresholds[0] == result.validation["words"]["hey computer"]["threshold"] and told["words"]["hey computer"]["n"]
    margins = [
        np.array([firing_margin(each, 0) for each in hear(model, [Clip(p.path, "", "", "") for p in speech[kind]])])
        for kind in ("hey computer", "_words_")
    ]
    phrases, others = ((each >= 0).mean() for each in margins)
    assert phrases > others + 0.3  # it fires at the phrase more often than at other words


def test_the_run_says_what_mining_changed_and_can_be_exported_again(run):
    result, _, _ = run
    folder = result.model_path.parent
    told = json.loads((folder / "detection.json").read_text())
    rounds = [r["round"] for r in told["mining"] if "round" in r]
    assert rounds == list(range(len(rounds))) and 1 <= len(rounds) <= 2 and told["val"] == result.validation
    assert 0 <= told["mining"][-1]["chosen"] < len(rounds)
    assert "false_accepts_per_hour" in told["mining"][0] and load_run(folder)[1]["labels"] == ["hey computer", UNKNOWN]


def test_export_keeps_the_thresholds_that_were_chosen(run, tmp_path):
    result, _, _ = run
    export_run(result.model_path.parent, tmp_path / "again.swm")
    assert (tmp_path / "again.swm").read_bytes() == result.model_path.read_bytes()


def test_a_run_interrupted_before_its_thresholds_are_chosen_writes_no_file(run, monkeypatch):
    result, sources, config = run
    before = result.model_path.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("kws.wake.hear", Mock(side_effect=KeyboardInterrupt))
        train_wake_words(["hey computer"], result.model_path.parent, config, sources)
    assert result.model_path.read_bytes() == before


def test_the_same_call_again_gives_the_same_file(run):
    result, sources, config = run
    before = result.model_path.read_bytes()
    train_wake_words(["hey computer"], result.model_path.parent, config, sources)
    assert result.model_path.read_bytes() == before


def test_a_teacher_behind_an_ear_can_teach_a_phrase(run, tmp_path):
    _, sources, _ = run
    quick = ["float_epochs=1", "activation_epochs=0", "binary_epochs=1", "teacher.epochs=1", "teacher.size=tiny"]
    config = load_preset("wake-s", [*SMALL, *quick])
    result = train_wake_words(["hey computer"], tmp_path / "taught", config, sources, teacher=small_ear())
    teacher = load_teacher(tmp_path / "taught" / "teacher" / "transformer", ["hey computer", UNKNOWN])
    first = result.model_path.read_bytes()
    train_wake_words(["hey computer"], tmp_path / "taught", config, sources, teacher=small_ear())
    assert result.model_path.read_bytes() == first
    again = train_wake_words(["hey computer"], tmp_path / "again" / "taught", config, sources, teacher=teacher)
    assert again.model_path.read_bytes() == first  # the trained teacher, taken from its folder


def test_mining_counts_unless_it_misses_more_than_chance_allows():
    def missing(count):  # of a hundred, at the threshold where the negatives stay silent
        return [Detection("yes", 100, 1.0, [0] * count + [900] * (100 - count), [], [], [500])]

    assert not _worse(missing(9), missing(5)) and _worse(missing(14), missing(5))
    assert not _worse(missing(5), missing(30)) and _worse(missing(12), missing(0))
    assert not _worse(missing(100), missing(100))  # nothing is heard, and nothing better is there
    assert not _worse([], [])  # nobody says the word in validation


def test_mining_takes_the_sound_before_what_fired(run, tmp_path):
    result, _, _ = run
    model = read(result.model_path)
    speech = speak_phrases(["hey computer"], 60, synthesizers=["espeak"], progress=False)["hey computer"]
    margins = [max((e.margin for e in events_of(model, np.pad(p.samples, 16000), thresholds=[0, 0])), default=0) for p in speech]
    best = speech[int(np.argmax(margins))]
    soundfile.write(tmp_path / "ambient.wav", np.pad(best.samples, (40000, 40000)), 16000)
    pieces, rate = mine(model, [clip for clip in ambient_clips(tmp_path)][:1])
    assert pieces and rate >= 0 and all(p.label == MINED and p.split == "train" for p in pieces)
    assert max(np.abs(pieces[0].samples.astype(int))) > 1000  # the word is in it
    data = WakeData.of(["hey computer"], speech, 1.6, 0)
    more = data.with_hard(pieces)
    waveforms, targets = more.waveforms("train")
    assert len(targets) == len(waveforms) == len(data.clips("train")) + len(pieces) and (targets[-len(pieces) :] == 1).all()


def test_a_run_can_begin_from_another_of_the_same_shape(run, tmp_path):
    result, _, config = run
    folder = result.model_path.parent
    state = begin_from(folder, config, ["jarvis", "hey computer", UNKNOWN], tmp_path / "next")
    learned = load_run(folder)[0].state_dict()
    assert torch.equal(state["blocks.1.conv.weight"], learned["blocks.1.conv.weight"])
    assert torch.equal(state["head.weight"][1:], learned["head.weight"]) and state["head.weight"].shape[0] == 3
    for change, message in (("model.channels=64", "stem"), ("model.blocks=2", "blocks")):
        with pytest.raises(ConfigError, match=message):
            begin_from(folder, load_preset("wake-s", [*SMALL, change]), [UNKNOWN], tmp_path / "next")
    with pytest.raises(TrainingError, match="no finished training"):
        begin_from(tmp_path, config, [UNKNOWN], tmp_path / "next")


def test_eval_hears_whole_recordings_and_says_what_was_missed(run, tmp_path, capsys):
    result, sources, _ = run
    speech = speak_phrases(["hey computer"], 60, synthesizers=["espeak"], progress=False)
    write_people(tmp_path, speech["hey computer"][:30], "hey_computer")
    write_people(tmp_path, speech["_words_"][:30], "others")
    eval_stream(result.model_path, tmp_path, sources.negatives, "test", None, json=True)
    value = json.loads(capsys.readouterr().out)
    word = value["words"]["hey computer"]
    negatives = [c for c in [*load_clips(tmp_path), *ambient_clips(sources.negatives[0])] if c.split == "test"]
    seconds = sum(c.seconds or soundfile.info(c.path).duration for c in negatives if plain(c.label) != "hey computer")
    assert value["negative_hours"] == pytest.approx(seconds / 3600, abs=1e-4) and word["n"] == 3
    assert word["curve"][-1] == [0, word["miss_at_zero_false_accepts"]] and len(word["interval"]) == 2
    assert word["threshold"] == read(result.model_path).thresholds[0]
    write_people(tmp_path / ".alone", speech["hey computer"][:30], "hey_computer")
    eval_stream(result.model_path, tmp_path / ".alone", [], "test", None, json=True, label_column="label")
    alone = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["words"]["hey computer"]  # no NaN
    assert alone["n"] == 3 and alone["curve"] == []
    with pytest.raises(DataError, match="'kind'"):
        eval_stream(result.model_path, tmp_path, [], "test", None, json=True, label_column="kind")
    model = read(result.model_path)
    write(replace(model, front_end=replace(model.front_end, rate_hz=8000)), tmp_path / "slow.swm")
    with pytest.raises(FormatError, match="listens at 8000 Hz"):
        eval_stream(tmp_path / "slow.swm", tmp_path, [], "test", None, json=True)
    eval_stream(result.model_path.parent, tmp_path, [], "test", hearing("gain-20"), json=False)
    assert "% missed at no false accept" in capsys.readouterr().out
    with pytest.raises(DataError, match="split 'all'"):
        eval_stream(result.model_path, tmp_path, [], "all", None, json=True)
    write_people(tmp_path / "words", speech["_words_"][:30], "others")
    with pytest.raises(DataError, match="no recordings of hey computer"):
        eval_stream(result.model_path, tmp_path / "words", [], "test", None, json=True)
