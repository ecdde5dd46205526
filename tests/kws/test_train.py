"""Training end to end on tones: it learns, resumes, exports, and the integer graph keeps what was learned."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from bnn.config import ConfigError, load
from bnn.training import Interrupted, TrainingError
from export.format import read
from kws import train as training
from kws.cli import load_preset, open_teacher
from kws.data import load_folder
from kws.embedding import SpeechEmbedding
from kws.teacher import EmbeddingTeacher, TeacherError, load_teacher
from kws.train import Data, TrainConfig, evaluate_stages, export_run, load_run, teacher_logits, train
from tests.kws.tones import TINY, write_tones

FRESH = ["variants=0", "float_epochs=2", "activation_epochs=1", "binary_epochs=1", "teacher.epochs=1"]


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tones"
    return train(load_folder(tones), out, load_preset("s", TINY))


def test_the_integer_graph_knows_the_tones(run):
    assert run.integer.accuracy >= 75 and run.file_bytes == run.model_path.stat().st_size
    assert set(run.validation) == {"float", "activations", "binary"}


def test_the_run_folder_is_complete(run):
    folder = run.model_path.parent
    for name in ("config.json", "metrics.jsonl", "curves.png", "float.safetensors", "model.safetensors", "export.json"):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "teacher" / "transformer" / "config.json").exists()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 14
    assert json.loads((folder / "config.json").read_text())["config"]["model"]["channels"] == 32


def test_export_of_a_run_gives_the_same_file_again(run, tmp_path):
    export_run(run.model_path.parent, tmp_path / "again.swm")
    assert (tmp_path / "again.swm").read_bytes() == run.model_path.read_bytes()
    assert read(run.model_path).labels == ["high", "low", "middle"]


def test_every_stage_of_a_run_can_be_evaluated(run, tones):
    waveforms, targets = load_folder(tones).waveforms("test")
    stages = evaluate_stages(run.model_path.parent, waveforms, targets)
    assert set(stages) == {"teacher", "float twin"} and stages["float twin"].accuracy >= 75


@pytest.mark.parametrize(("validations", "overrides"), [(5, []), (14, []), (5, FRESH)])
def test_an_interrupted_training_resumes_to_the_same_file(validations, overrides, run, tones, tmp_path, monkeypatch):
    """In the teacher's float student, in a binary stage, and where every epoch has new features."""
    answered, real = 0, training.answers
    config = load_preset("s", [*TINY, *overrides])
    whole = train(load_folder(tones), tmp_path / "whole" / "tones", config) if overrides else run

    def interrupt(*arguments):
        nonlocal answered
        answered += 1
        if answered == validations:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "answers", interrupt)
    with pytest.raises(Interrupted):
        train(load_folder(tones), tmp_path / "tones", config)
    again = train(load_folder(tones), tmp_path / "tones", config)
    assert again.model_path.read_bytes() == whole.model_path.read_bytes()


def test_every_term_of_the_ablations_trains_with_the_rest(tones, tmp_path):
    terms = ["feature_distill=1.0", "embedding_penalty=0.001", "false_accept_penalty=0.1", "teacher.epochs=1", "binary_epochs=4"]
    parts = ["model.shortcut=false", "model.rsign=false", "model.rprelu=false", "variants=0"]
    assert train(load_folder(tones), tmp_path / "terms", load_preset("s", [*TINY, *terms])).integer.accuracy >= 50
    result = train(load_folder(tones), tmp_path / "parts", load_preset("s", [*TINY, *parts, "distill=0"]))
    assert result.integer.accuracy >= 50 and not (tmp_path / "parts" / "teacher").exists()


def test_a_pretrained_teacher_that_listens_to_audio_teaches(tones, tmp_path, monkeypatch):
    """As --teacher NAME does, with a tiny checkpoint in a folder whose classes stand in another order."""
    labels = {0: "MIDDLE", 1: "low", 2: "high"}
    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_length=100,
        num_mel_bins=32,
        id2label=labels,
    )
    ASTForAudioClassification(config).save_pretrained(tmp_path / "ast")
    ASTFeatureExtractor(num_mel_bins=32, max_length=100).save_pretrained(tmp_path / "ast")
    teacher = load_teacher(tmp_path / "ast", ["high", "low", "middle"])
    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path / "cache"))
    quick = ["variants=2", "float_epochs=1", "activation_epochs=0", "binary_epochs=1"]
    result = train(load_folder(tones), tmp_path / "run", load_preset("s", [*TINY, *quick]), teacher=teacher)
    assert result.model_path.exists()
    answers = np.load(next((tmp_path / "cache").glob("answers-*.npy")))
    assert answers.shape == (2, 36, 3) and np.isfinite(answers).all()
    turned = ["low", "high", "middle"]  # the same sound and weights: other answers all the same
    data = Data.prepare(load_folder(tones, turned), load_preset("s", [*TINY, *quick]), None)
    assert np.array_equal(teacher_logits(load_teacher(tmp_path / "ast", turned), data), answers[..., [1, 0, 2]])


def test_the_embedding_penalty_holds_where_the_float_stage_was_that_of_another_run(run, tones, tmp_path):
    dataset, losses = load_folder(tones), []
    for penalty in (0.0, 1.0):
        brief = load_preset("s", [*TINY, "distill=0", "activation_epochs=0", "binary_epochs=1", f"embedding_penalty={penalty}"])
        folder = tmp_path / str(penalty)
        train(dataset, folder, brief, start=run.model_path.parent)
        losses.append(json.loads((folder / "metrics.jsonl").read_text())["loss"])
    assert losses[1] > 1.1 * losses[0]


def test_a_transformer_and_a_float_twin_teach_as_their_mean(run, tones, tmp_path):
    folder, dataset, config = run.model_path.parent, load_folder(tones), load_preset("s", [*TINY, *FRESH])
    both = open_teacher(f"{folder / 'teacher' / 'transformer'}, {folder}", dataset.labels)
    data = Data.prepare(dataset, load_preset("s", TINY), None)
    clips = torch.from_numpy(np.array(data.train.features[1]))
    each = torch.stack([teacher.logits(None, clips).log_softmax(1) for teacher in both.teachers])
    assert (each[0] - each[1]).abs().max() > 0.01
    assert torch.allclose(both.logits(None, clips), each.mean(0), atol=1e-5)
    kept = teacher_logits(both, data)
    assert np.allclose(kept[1], each.mean(0).detach().numpy(), atol=0.02) and kept.dtype == np.float16
    assert train(dataset, tmp_path / "run", config, teacher=both).model_path.exists()  # of features made anew in every epoch
    with pytest.raises(TeacherError, match="was trained for high, low, middle"):
        open_teacher(str(folder), ["low", "middle", "high"])
    assert open_teacher(" , ", dataset.labels) is None


def test_binary_stages_can_begin_from_the_float_stage_of_another_run(tones, tmp_path):
    dataset = load_folder(tones)
    config = load_preset("s", [*TINY, "distill=0.0"])
    first = train(dataset, tmp_path / "float", replace(config, activation_epochs=0, binary_epochs=0))
    result = train(dataset, tmp_path / "run", config, start=first.model_path.parent)
    assert set(result.validation) == {"activations", "binary"} and result.integer.accuracy >= 75
    twins = [evaluate_stages(r.model_path.parent, *dataset.waveforms("val"))["float twin"] for r in (first, result)]
    assert twins[0].accuracy == twins[1].accuracy >= first.validation["float"] - 1e-4
    with pytest.raises(ConfigError, match="cannot begin from itself"):
        train(dataset, tmp_path / "run", config, start=result.model_path.parent)
    with pytest.raises(ConfigError, match="of another shape"):
        wider = replace(config, model=replace(config.model, channels=64))
        train(dataset, tmp_path / "wider", wider, start=first.model_path.parent)


@pytest.mark.parametrize(("teacher", "twin", "better"), [(96.0, 97.0, "teacher"), (99.6, 99.9, "teacher"), (94.0, 97.0, "twin")])
def test_the_float_twin_teaches_only_where_it_is_better_beyond_chance(teacher, twin, better, monkeypatch):
    lessons = object.__new__(training.Lessons)
    lessons.data = SimpleNamespace(val_targets=np.zeros(800), accuracy_of={"teacher": teacher, "twin": twin}.get)
    given = ["teacher"]
    monkeypatch.setattr(lessons, "give", given.append)
    lessons.choose("teacher", "twin")
    assert given[-1] == better


@pytest.mark.parametrize("overrides", [["variants=2"], ["variants=0"]])
def test_a_teacher_trained_behind_an_ear_teaches_and_can_be_taken_again(overrides, tones, tmp_path):
    """From kept tokens, and where the ear listens along; the same from its folder, as --teacher RUN/teacher/transformer does."""
    dataset = load_folder(tones)
    quick = ["teacher.epochs=12", "float_epochs=2", "activation_epochs=0", "binary_epochs=2", "hint=0.5"]
    config = load_preset("s", [*TINY, *overrides, *quick])
    first = train(dataset, tmp_path / "first", config, teacher=SpeechEmbedding.from_package())
    stages = evaluate_stages(first.model_path.parent, *dataset.waveforms("test"))
    assert stages["teacher"].accuracy >= 75
    teacher = load_teacher(tmp_path / "first" / "teacher" / "transformer", dataset.labels)
    assert isinstance(teacher, EmbeddingTeacher)
    again = train(dataset, tmp_path / "again" / "first", config, teacher=teacher)
    assert again.model_path.read_bytes() == first.model_path.read_bytes()
    history = [json.loads(line) for line in (tmp_path / "first" / "metrics.jsonl").read_text().splitlines()]
    without = train(dataset, tmp_path / "without", replace(config, hint=0.0), teacher=teacher)
    plain = [json.loads(line) for line in (without.model_path.parent / "metrics.jsonl").read_text().splitlines()]
    assert history[0]["loss"] > plain[0]["loss"] + 0.2


def test_an_unfinished_run_cannot_be_exported(tmp_path):
    with pytest.raises(TrainingError, match="holds no finished training"):
        load_run(tmp_path)


@pytest.mark.parametrize("preset", ["s", "m", "l", "demo", "gsc12", "gsc35"])
def test_shipped_presets_load(preset):
    assert load_preset(preset, []).stages()[-1].name == "binary"


def test_unknown_keys_and_wrong_types_are_named(tmp_path):
    for override, message in [
        ("epochs=3", "unknown key epochs; valid are: model, teacher, seed"),
        ("model.width=3", "unknown key model.width; valid are: model.channels"),
        ("seed=yes", "seed is 'yes', a value of type int is needed"),
        ("model=3", "model is a table"),
        ("seed", "write key=value"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_preset("m", [override])
    with pytest.raises(ConfigError, match="neither one of demo, gsc12, gsc35, l, m, s"):
        load_preset("xl", [])
    (tmp_path / "bad.toml").write_text("seed = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(TrainConfig, tmp_path / "bad.toml")
