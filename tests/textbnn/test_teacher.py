"""Text teachers: fine-tuning, what is kept of it, and answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.textbnn.encoder import commands, encoder
from textbnn.teacher import Batches, TeacherConfig, TeacherError, cached_logits, load_body, load_teacher, train_teacher

CONFIG = TeacherConfig(epochs=6, batch_size=8, learning_rate=3e-3, head_rate=3e-2)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    folder = encoder(tmp_path_factory.mktemp("encoder"))
    data, run = commands(), tmp_path_factory.mktemp("teacher")
    call = (folder, data.in_scope("train"), data.in_scope("val"), data.labels, run, CONFIG)
    return train_teacher(*call), call, run


def test_a_fine_tuned_encoder_knows_its_commands(taught):
    teacher, call, _ = taught
    texts, targets = call[2]
    assert (teacher.logits(texts).argmax(1) == targets).mean() > 0.8
    assert teacher.embeddings(texts).shape == (len(texts), 32)


def test_answers_do_not_depend_on_the_company_that_a_text_is_in(taught):
    teacher, call, _ = taught
    texts = call[2][0]
    together, alone = teacher.logits(texts), np.concatenate([teacher.logits([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_finished_teacher_is_loaded_and_not_trained_again(taught):
    teacher, call, run = taught
    stamp = (run / "model.safetensors").stat().st_mtime_ns
    again, read = train_teacher(*call), load_teacher(run, call[3])
    assert (run / "model.safetensors").stat().st_mtime_ns == stamp
    texts = call[2][0]
    np.testing.assert_allclose(again.logits(texts), teacher.logits(texts), atol=1e-5)
    np.testing.assert_allclose(read.logits(texts), teacher.logits(texts), atol=1e-5)
    with pytest.raises(TeacherError, match="it knows 4 labels"):
        load_teacher(run, ["a", "b"])


def test_several_trainings_make_one_teacher_of_the_mean_of_their_weights(taught, tmp_path):
    call = (*taught[1][:4], tmp_path, replace(CONFIG, trainings=2, epochs=2))
    teacher = train_teacher(*call)
    first, second = (load_file(tmp_path / f"seed{seed}" / "model.safetensors") for seed in (0, 1))
    mean = load_file(tmp_path / "model.safetensors")
    assert any((first[key] != second[key]).any() for key in first)
    for key in first:
        torch.testing.assert_close(mean[key], (first[key] + second[key]) / 2)
    texts, stamp = call[2][0], (tmp_path / "seed1" / "model.safetensors").stat().st_mtime_ns
    for same in (load_teacher(tmp_path, call[3]), train_teacher(*call)):
        np.testing.assert_allclose(same.logits(texts), teacher.logits(texts), atol=1e-5)
    assert (tmp_path / "seed1" / "model.safetensors").stat().st_mtime_ns == stamp


def test_cached_answers_are_those_of_the_teacher_and_survive_damage(taught, tmp_path, monkeypatch):
    teacher, call, _ = taught
    monkeypatch.setattr("textbnn.teacher.KEPT", 5)
    texts = call[1][0][:12]
    first = cached_logits(teacher, texts, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    np.testing.assert_allclose(first, teacher.logits(texts), atol=2e-2, rtol=2e-3)
    sorted(tmp_path.iterdir())[0].write_bytes(b"no array")
    asked = []
    monkeypatch.setattr(teacher, "logits", lambda some, real=teacher.logits: (asked.append(len(some)), real(some))[1])
    np.testing.assert_array_equal(cached_logits(teacher, texts, tmp_path), first)
    assert len(asked) == 1  # of three pieces, the damaged one alone
    with torch.no_grad():
        next(teacher.parameters()).mul_(1.5)
    assert np.abs(cached_logits(teacher, texts, tmp_path) - first).max() > 0.01  # other weights, other answers
    with torch.no_grad():
        next(teacher.parameters()).div_(1.5)


def test_every_text_is_in_one_batch_of_an_epoch_and_lengths_go_together(taught):
    teacher, call, _ = taught
    texts, targets = call[1]
    batches = list(Batches(teacher, texts, targets, 8)(0, torch.Generator().manual_seed(0)))
    assert sum(len(batch["targets"]) for batch in batches) == len(texts)
    padding = sum(int((batch["attention_mask"] == 0).sum()) for batch in batches)
    assert padding < 0.15 * sum(batch["attention_mask"].numel() for batch in batches)


@pytest.mark.parametrize("name, said", [("./nowhere", "no such folder"), ("a/b/c", "no such folder")])
def test_a_teacher_that_is_not_there_is_named(name, said):
    with pytest.raises(TeacherError, match=said):
        load_body(name)


def test_folders_that_hold_no_teacher_are_refused(tmp_path):
    with pytest.raises(TeacherError, match="no finished teacher"):
        load_teacher(tmp_path, ["a"])
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(TeacherError, match="cannot be loaded"):
        load_body(tmp_path)


def test_without_the_package_minilm_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TeacherError, match="pip install"):
        load_body("minilm")
