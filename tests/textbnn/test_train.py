"""From labelled texts to a model file that decides them."""

import dataclasses

import numpy as np
import pytest

from bnn.config import ConfigError
from bnn.training import TrainingError
from export.format import read
from tests.textbnn.encoder import commands, encoder
from textbnn.data import UNKNOWN, DataError, Dataset, Example
from textbnn.evaluate import classify, results
from textbnn.train import Exporter, Lessons, configure, prepare, threshold, train

QUICK = ["epochs=8", "channels=32", "invented=60", "drawn=40", "batch_size=16", "teachers=2", "teacher_epochs=2"]


@pytest.fixture(scope="module")
def untaught(tmp_path_factory):
    run = tmp_path_factory.mktemp("untaught")
    return train(commands(), run, configure(16, "ngram", QUICK)), run


def test_a_trained_file_decides_its_commands_and_keeps_to_its_size(untaught):
    result, _ = untaught
    model = read(result.model_path)
    assert result.validation.accuracy > 80
    assert result.file_bytes == result.model_path.stat().st_size <= 16 * 1024
    assert model.labels == [*commands().labels, UNKNOWN]
    assert classify(model, "turn on the light").best == "light_on"


def test_the_same_seed_gives_the_same_file_and_another_one_does_not(untaught, tmp_path):
    first = untaught[0].model_path.read_bytes()
    run = tmp_path / untaught[1].name  # the run's name stands in the file
    assert train(commands(), run, configure(16, "ngram", QUICK)).model_path.read_bytes() == first
    other = tmp_path / "other" / untaught[1].name
    assert train(commands(), other, configure(16, "ngram", [*QUICK, "seed=1"])).model_path.read_bytes() != first


def test_with_a_teacher_the_student_learns_from_its_answers(tmp_path):
    result = train(commands(), tmp_path / "run", configure(16, "ngram", QUICK), teacher=str(encoder(tmp_path / "encoder")))
    assert (tmp_path / "run" / "teacher" / "model.safetensors").exists()
    assert result.file_bytes <= 16 * 1024 and result.validation.n == 18
    finished = str(tmp_path / "run" / "teacher")
    again = train(commands(), tmp_path / "again" / "run", configure(16, "ngram", QUICK), teacher=finished)
    assert again.model_path.read_bytes() == result.model_path.read_bytes()


def test_unlabelled_texts_are_for_a_teacher_to_answer(tmp_path):
    with pytest.raises(ConfigError, match="need a teacher"):
        train(commands(), tmp_path / "run", configure(16, "ngram", QUICK), unlabelled=["turn it on"])
    call = (str(encoder(tmp_path / "encoder")), ["turn the music on", "what a light"])
    lessons = prepare(commands(), tmp_path / "run", configure(16, "ngram", QUICK), *call)
    assert lessons.texts[-2:] == call[1] and len(lessons.logits) == len(lessons.texts)


@pytest.mark.parametrize("kb, tokenizer", [(16, "ngram"), (32, "ngram"), (16, "sentencepiece")])
def test_an_exported_file_fills_its_budget_and_never_more(kb, tokenizer):
    data = dataclasses.replace(commands(), lists={"room": {"kitchen": "kitchen"}})
    texts, targets = data.in_scope("train")
    lessons = Lessons(data.labels, texts, len(texts), targets, None, *data.in_scope("val"))
    config = configure(kb, tokenizer)
    blank = Exporter.of(data, lessons, config, tokenizer, "x" * 50)
    room = blank.room(config)
    assert blank.size(config, room) <= kb * 1024 < blank.size(config, room + 8)


def test_the_threshold_keeps_the_share_of_validation_texts_that_was_asked_for(untaught):
    model = read(untaught[0].model_path)
    texts, targets = commands().in_scope("val")
    lessons = Lessons(commands().labels, texts, len(texts), targets, None, texts, targets)
    for keep in (60, 80, 100):
        model.thresholds = [threshold(model, lessons, keep)] * len(model.labels)
        assert np.mean(results(model, texts).accepted) >= keep / 100 - 1e-9


@pytest.mark.parametrize("key, said", [("epochs=0", "epochs"), ("nonsense=1", "unknown key"), ("max_kb=20", "max_kb"),
                                       ("tokenizer=bytes", "tokenizer")])  # fmt: skip
def test_a_setting_that_cannot_be_used_is_named(key, said):
    with pytest.raises(ConfigError, match=said):
        configure(16, "ngram", [key])


def test_a_table_that_changed_is_not_trained_into_the_old_run(untaught, tmp_path):
    run = tmp_path / untaught[1].name
    before = train(commands(), run, configure(16, "ngram", QUICK)).model_path.read_bytes()
    data = commands()
    grown = dataclasses.replace(data, examples=[*data.examples, Example("play some loud jazz", "light_on", "", "train")])
    with pytest.raises(TrainingError, match="other settings .config.texts"):
        train(grown, run, configure(16, "ngram", QUICK))
    assert (run / "model.swm").read_bytes() == before


def test_more_letters_than_pieces_leave_ngrams_alone(tmp_path):
    """As in Chinese: a vocabulary needs each letter, and has no room for so many."""
    rng = np.random.default_rng(0)
    pairs = [(s, w) for s in ("train", "val") for w in ("x", "y") for _ in range(120)]
    base = {"x": 0x4E00, "y": 0x4F40}
    texts = ["".join(chr(base[w] + int(c)) for c in rng.integers(0, 160, 6)) for _, w in pairs]
    data = Dataset(tmp_path, ["x", "y"], [Example(t, w, "", s) for t, (s, w) in zip(texts, pairs, strict=True)])
    assert read(train(data, tmp_path / "auto", configure(16, "auto", QUICK)).model_path).metadata["tokenizer"] == "ngram"
    with pytest.raises(DataError, match="choose --tokenizer ngram"):
        train(data, tmp_path / "pieces", configure(16, "sentencepiece", QUICK))


def test_texts_longer_than_a_self_test_are_cut_for_it(tmp_path):
    words = (("включи", "on"), ("выключи", "off"))
    long = [Example(f"{'да ' * 90}{word}", label, "", split) for split in ("train", "val") for word, label in words * 4]
    model = read(train(Dataset(tmp_path, ["on", "off"], long), tmp_path / "run", configure(16, "ngram", QUICK)).model_path)
    assert 1 <= len(model.golden.text.encode()) <= 256


def test_slots_that_cannot_be_kept_are_said_before_a_teacher_is_loaded(tmp_path):
    data = dataclasses.replace(commands(), lists={"number": {"one": "one"}})
    with pytest.raises(DataError, match="slot list 'number'"):
        train(data, tmp_path / "run", configure(16, "ngram", QUICK), teacher="no/such/teacher")


def test_labels_that_leave_no_room_are_refused_before_training(tmp_path):
    data = commands()
    many = dataclasses.replace(data, labels=data.labels + [f"{i:0200d}" for i in range(80)])
    with pytest.raises(ConfigError, match="room"):
        train(many, tmp_path, configure(16, "ngram", QUICK))


def test_texts_that_share_no_feature_are_refused(tmp_path):
    some = [Example(text, label, "", split) for split in ("train", "val") for text, label in (("?", "x"), ("!", "y"))]
    with pytest.raises(DataError, match="no word"):
        train(Dataset(tmp_path, ["x", "y"], some), tmp_path / "run", configure(16, "ngram", QUICK))


@pytest.mark.parametrize("tokenizer", ["sentencepiece", "auto"])
def test_pieces_are_one_more_family_of_features_that_the_file_carries(tokenizer, tmp_path):
    result = train(commands(), tmp_path / "run", configure(16, tokenizer, QUICK))
    model = read(result.model_path)
    assert result.file_bytes <= 16 * 1024 and result.validation.accuracy > 80
    assert (model.reading().pieces is not None) == (model.metadata["tokenizer"] == "sentencepiece")
    assert tokenizer == "auto" or model.reading().pieces is not None
