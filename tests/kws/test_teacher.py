"""Teachers: label mapping, local checkpoints, our own small Transformer."""

import numpy as np
import pytest
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
)

from kws.teacher import TeacherError, build_embedding_teacher, build_teacher, load_teacher, map_labels
from tests.kws.ears import small_ear

LABELS = ["down", "up", "_silence_", "_unknown_"]
TEACHER_CLASSES = ["Up", "cat", "down", "dog"]


def names(classes):
    return {"id2label": dict(enumerate(classes)), "label2id": {label: i for i, label in enumerate(classes)}}


@pytest.fixture(scope="module")
def waveforms():
    return torch.from_numpy(np.random.default_rng(0).integers(-9000, 9000, (3, 16000)).astype(np.int16))


@pytest.fixture(scope="module")
def ast_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("ast")
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_length=100,
        num_mel_bins=32, **names(TEACHER_CLASSES),
    )  # fmt: skip
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=32, max_length=100).save_pretrained(folder)
    return folder


def wav2vec2_config(classes):
    return Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_kernel=(10, 8), conv_stride=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, classifier_proj_size=8, **names(classes),
    )  # fmt: skip


def test_a_local_checkpoint_answers_in_our_order(ast_folder, waveforms):
    teacher = load_teacher(ast_folder, ["dog", "down", "cat", "up"])
    ours = teacher.logits(waveforms, None)
    model = ASTForAudioClassification.from_pretrained(ast_folder).eval()
    extractor = ASTFeatureExtractor.from_pretrained(ast_folder)
    inputs = extractor([w.numpy() / 32768 for w in waveforms], sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        theirs = model(**inputs).logits.log_softmax(1)
    assert teacher.needs_waveforms and not teacher.training
    torch.testing.assert_close(ours, theirs[:, [3, 2, 1, 0]], atol=1e-4, rtol=1e-4)


def test_other_words_fold_into_unknown_and_silence_takes_the_doubt(ast_folder, waveforms):
    exact = load_teacher(ast_folder, ["up", "cat", "down", "dog"]).logits(waveforms, None).exp()
    folded = load_teacher(ast_folder, LABELS).logits(waveforms, None).exp()
    doubt = -(exact * exact.log()).sum(1) / np.log(4)
    torch.testing.assert_close(folded[:, 2], doubt, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(folded[:, 3], (exact[:, 1] + exact[:, 3]) * (1 - doubt), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(folded.sum(1), torch.ones(3), atol=1e-5, rtol=1e-4)


def test_wav2vec2_checkpoints_load_the_same_way(tmp_path, waveforms):
    torch.manual_seed(0)
    classes = ["_silence_", "yes", "_unknown_", "no", "maybe"]
    Wav2Vec2ForSequenceClassification(wav2vec2_config(classes)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    teacher = load_teacher(str(tmp_path), ["no", "yes", "_silence_", "_unknown_"])
    answer = teacher.logits(waveforms, None)
    assert answer.shape == (3, 4) and torch.isfinite(answer).all()
    torch.testing.assert_close(answer.exp().sum(1), torch.ones(3), atol=1e-4, rtol=1e-4)


def test_a_model_without_a_trained_classifier_is_refused(tmp_path):
    Wav2Vec2Model(wav2vec2_config(["a", "b"])).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(TeacherError, match="lacks trained weights"):
        load_teacher(tmp_path, ["a", "b"])


def test_labels_without_a_class_are_listed_on_both_sides(ast_folder):
    with pytest.raises(TeacherError) as caught:
        load_teacher(ast_folder, ["up", "jump"])
    assert "no class for jump" in str(caught.value)
    assert "Up, cat, down, dog" in str(caught.value) and "up, jump" in str(caught.value)


def test_a_teacher_silence_class_never_counts_as_unknown():
    assert map_labels({0: "_silence_", 1: "a", 2: "b"}, ["a", "_unknown_"]) == [[1], [2]]
    assert map_labels({0: "_SILENCE_", 1: "a"}, ["a", "_silence_"]) == [[1], [0]]


def test_without_a_network_the_message_asks_for_a_folder(monkeypatch):
    def refuse(*_, **__):
        raise OSError("We couldn't connect")

    monkeypatch.setattr("kws.teacher.AutoFeatureExtractor.from_pretrained", refuse)
    with pytest.raises(TeacherError, match="give its folder"):
        load_teacher("someone/some-model", LABELS)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(TeacherError, match="config.json"):
        load_teacher(tmp_path, LABELS)
    (tmp_path / "config.json").write_text("not json")
    with pytest.raises(TeacherError, match="JSON"):
        load_teacher(tmp_path, LABELS)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TeacherError, match="cannot be loaded"):
        load_teacher(tmp_path, LABELS)


def test_our_teacher_learns_is_saved_and_comes_back(tmp_path):
    torch.manual_seed(0)
    teacher = build_teacher(LABELS, size="tiny")
    features = torch.randint(-128, 128, (8, 50, 40), dtype=torch.int8)
    targets = torch.arange(8) % 4
    optimizer = torch.optim.AdamW(teacher.parameters(), 2e-3)
    first = None
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(teacher(features), targets)
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first
    teacher.eval().save(tmp_path)
    again = load_teacher(tmp_path, LABELS)
    assert not again.needs_waveforms
    with pytest.raises(TeacherError, match="reads features"):
        again.logits(features, None)
    torch.testing.assert_close(again.logits(None, features), teacher.logits(None, features))
    with pytest.raises(TeacherError, match="train it again"):
        load_teacher(tmp_path, LABELS[::-1])


@pytest.mark.parametrize(("bands", "frames"), [(40, 50), (40, 80), (8, 8), (64, 256)])
def test_our_teacher_takes_any_window(bands, frames):
    features = torch.zeros(2, frames, bands, dtype=torch.int8)
    assert build_teacher(LABELS, bands, frames, "tiny").eval().logits(None, features).shape == (2, 4)


def test_impossible_sizes_are_refused():
    with pytest.raises(TeacherError, match="tiny, small, medium"):
        build_teacher(LABELS, size="huge")
    with pytest.raises(TeacherError, match="at least 8 frames"):
        build_teacher(LABELS, frames=4)


def test_clips_of_another_length_are_refused():
    with pytest.raises(TeacherError, match="clips of 50 steps, these have 60: set seconds"):
        build_teacher(["a", "b"], size="tiny").logits(None, torch.zeros(2, 60, 40, dtype=torch.int8))
    teacher = build_embedding_teacher(["a", "b"], small_ear(), 16000, "tiny")
    with pytest.raises(TeacherError, match="these have"):
        teacher.logits(torch.zeros(2, 32000, dtype=torch.int16), None)
