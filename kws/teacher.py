"""Transformer teachers: a small one trained here on our features or behind a pretrained ear, or a pretrained one.

    teacher = build_teacher(labels)                                            # (batch, frame, band) -> logits
    teacher = build_embedding_teacher(labels, SpeechEmbedding.from_package())  # trained here, on what that ear hears
    teacher = load_teacher("MIT/ast-finetuned-speech-commands-v2", labels)     # a hub name, or a folder
    answers = teacher.logits(waveforms, features)                              # (batch, label), in our order
"""

import json
import math
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import ASTConfig, ASTForAudioClassification, AutoFeatureExtractor, AutoModelForAudioClassification
from transformers.utils.logging import disable_progress_bar

from kws.audio import RATE_HZ
from kws.data import SILENCE, UNKNOWN
from kws.embedding import PAD, TOKEN_BANDS, TOKEN_HOP, TOKEN_SPAN, SpeechEmbedding, tokens_of

# Our log-mel bytes over augmented speech: they reach the Transformer with about zero mean and unit deviation.
FEATURE_MEAN, FEATURE_DEVIATION = 0.0, 57.0
TOKEN_DEVIATION = 16.0
_OWN_KEY = "signwave_features"  # in config.json: this teacher reads our features, not audio
EMBEDDING = "embedding.safetensors"  # the ear of a teacher that has one
SPEECH_EMBEDDING = "speech-embedding"  # the name of that ear, where a teacher is named
SIZES = {"tiny": (96, 2, 3), "small": (128, 4, 4), "medium": (192, 5, 6)}  # (hidden size, layers, heads)


class TeacherError(ValueError):
    """A teacher that cannot be used; the message says why and what to do."""


class Teacher(nn.Module):
    """Answers clips with logits in the order of `labels`. `needs_waveforms`: whether it listens to audio."""

    labels: list[str]
    needs_waveforms: bool

    @abstractmethod
    def logits(self, waveforms: Tensor | None, features: Tensor | None) -> Tensor:
        """Waveforms (batch, sample) int16 at 16 kHz, or our features (batch, frame, band) int8, to (batch, label).

        Each teacher reads one of the two; the other may be None. No gradients are kept.
        """


class StemmedTransformer(ASTForAudioClassification):
    """An Audio Spectrogram Transformer (Gong et al., 2021) for a few thousand clips.

    Its tokens span all bands and two frames (Berg et al., 2021) and come from three temporal convolutions instead of
    one linear patch projection (Xiao et al., 2021): from patches it hardly starts to learn with so little data.
    """

    def __init__(self, config: ASTConfig) -> None:
        super().__init__(config)
        embeddings = self.audio_spectrogram_transformer.embeddings
        hidden, bands = config.hidden_size, config.num_mel_bins
        if bands == TOKEN_BANDS:  # tokens already
            embeddings.patch_embeddings.projection = nn.Sequential(nn.Conv2d(1, hidden, (bands, 1)), nn.BatchNorm2d(hidden))
            return
        embeddings.patch_embeddings.projection = nn.Sequential(  # (batch, 1, band, frame) to (batch, hidden, 1, token)
            nn.Conv2d(1, hidden, (bands, 5), padding=(0, 2)),
            nn.BatchNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, (1, 5), padding=(0, 2)),
            nn.BatchNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, (1, 4), stride=(1, 2), padding=(0, 1)),
            nn.BatchNorm2d(hidden),
        )


class FeatureTeacher(Teacher):
    """Our small Transformer on integer log-mel features."""

    needs_waveforms = False

    def __init__(self, model: StemmedTransformer) -> None:
        super().__init__()
        self.model = model
        self.labels = [model.config.id2label[i] for i in range(model.config.num_labels)]

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frame, band), bytes or their floating mixtures, to logits (batch, label)."""
        _check_length(self.model, features)
        scaled = (features.float() - FEATURE_MEAN) / FEATURE_DEVIATION
        return self.model(input_values=scaled).logits

    @torch.no_grad()
    def logits(self, waveforms: Tensor | None, features: Tensor | None) -> Tensor:
        """See Teacher."""
        if features is None:
            raise TeacherError("this teacher reads features (batch, frame, band), not audio")
        return self(features.to(self.model.device))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors; load_teacher reads them again."""
        disable_progress_bar()  # of transformers, about a single small file
        self.model.save_pretrained(folder)


class EmbeddingTeacher(Teacher):
    """A small Transformer behind a pretrained ear, which stays as it is (kws.embedding)."""

    needs_waveforms = True

    def __init__(self, model: StemmedTransformer, ear: SpeechEmbedding) -> None:
        super().__init__()
        self.model, self.ear = model, ear
        self.labels = [model.config.id2label[i] for i in range(model.config.num_labels)]

    def forward(self, tokens: Tensor) -> Tensor:
        """What the ear heard (batch, token, 96) to logits (batch, label)."""
        _check_length(self.model, tokens)
        return self.model(input_values=tokens.float() / TOKEN_DEVIATION).logits

    @torch.no_grad()
    def logits(self, waveforms: Tensor | None, features: Tensor | None) -> Tensor:
        """See Teacher."""
        if waveforms is None:
            raise TeacherError("this teacher listens to waveforms (batch, sample), not to features")
        return self(tokens_of(self.ear, waveforms))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json, model.safetensors and embedding.safetensors; load_teacher reads them again."""
        disable_progress_bar()
        self.model.save_pretrained(folder)
        save_file({name: tensor.contiguous() for name, tensor in self.ear.state_dict().items()}, Path(folder) / EMBEDDING)


def _check_length(model: StemmedTransformer, clips: Tensor) -> None:
    known, given = model.config.max_length, clips.shape[1]
    if given != known:
        learned = f"this teacher learned from clips of {known} steps, these have {given}"
        raise TeacherError(f"{learned}: set seconds as it was then, or train a teacher anew")


class Ensemble(Teacher):
    """Several teachers as one: the mean of their log-probabilities (Hinton et al., 2015)."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        super().__init__()
        self.teachers, self.labels = nn.ModuleList(teachers), teachers[0].labels
        self.needs_waveforms = any(teacher.needs_waveforms for teacher in teachers)

    @torch.no_grad()
    def logits(self, waveforms: Tensor | None, features: Tensor | None) -> Tensor:
        """See Teacher."""
        return self.mean(teacher.logits(waveforms, features) for teacher in self.teachers)

    @staticmethod
    def mean(answers: Iterable[Tensor]) -> Tensor:
        """Logits (..., label) of each teacher to the mean of their log-probabilities, in the same shape."""
        return torch.stack([each.float().log_softmax(-1) for each in answers]).mean(0)


class WaveformTeacher(Teacher):
    """Any `*ForAudioClassification` model with its own feature extractor, its classes folded into our labels.

    A label's logit is the logarithm of the summed probability of its classes. Where the model has no class for
    `_silence_`, that label gets the certainty that is left: the entropy of the answer, as a share of the greatest
    possible, since a model of words alone is unsure about what is none.
    """

    needs_waveforms = True

    def __init__(self, model: nn.Module, extractor: Any, labels: Sequence[str], groups: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.model, self.labels = model, list(labels)
        self._extractor = extractor
        fold = torch.zeros(model.config.num_labels, len(labels))
        for label, group in enumerate(groups):
            fold[list(group), label] = 1.0
        self._left_over = [i for i, group in enumerate(groups) if not group]
        self.register_buffer("_fold", fold, persistent=False)

    @torch.no_grad()
    def logits(self, waveforms: Tensor | None, features: Tensor | None) -> Tensor:
        """See Teacher."""
        if waveforms is None:
            raise TeacherError("this teacher listens to waveforms (batch, sample), not to features")
        clips = [clip.numpy() for clip in waveforms.cpu().float() / 32768]
        inputs = self._extractor(clips, sampling_rate=RATE_HZ, return_tensors="pt").to(self.model.device)
        log_share = self.model(**inputs).logits.float().log_softmax(1)
        share = log_share.exp()
        folded = share @ self._fold
        if self._left_over:
            doubt = -(share * log_share).sum(1, keepdim=True) / math.log(share.shape[1])
            folded = folded * (1 - doubt)
            folded[:, self._left_over] = doubt
        return folded.clamp_min(1e-9).log()


def build_teacher(labels: Sequence[str], bands: int = 40, frames: int = 50, size: str = "small") -> FeatureTeacher:
    """An untrained Transformer for features (batch, frame, band). size: tiny, small or medium.

    Raises TeacherError.
    """
    if size not in SIZES:
        raise TeacherError(f"teacher size '{size}' does not exist; choose one of {', '.join(SIZES)}")
    if bands < 4 or frames < 8:
        raise TeacherError(f"a teacher needs at least 8 frames and 4 bands, not {frames} and {bands}")
    # With these strides one token stands for all bands of two frames.
    return FeatureTeacher(_transformer(labels, bands, frames, size, patch_size=2, time_stride=2))


def build_embedding_teacher(
    labels: Sequence[str], ear: SpeechEmbedding, samples: int = RATE_HZ, size: str = "small"
) -> EmbeddingTeacher:
    """An untrained Transformer behind an ear, for clips of that many samples. Raises TeacherError."""
    tokens = (samples + 2 * PAD - TOKEN_SPAN) // TOKEN_HOP + 1
    if size not in SIZES or tokens < 1:
        raise TeacherError(f"teacher size '{size}' for {samples} samples: choose one of {', '.join(SIZES)} and longer clips")
    return EmbeddingTeacher(_transformer(labels, TOKEN_BANDS, tokens, size, patch_size=1, time_stride=1), ear)


def _transformer(labels: Sequence[str], bands: int, frames: int, size: str, **strides: int) -> StemmedTransformer:
    hidden, layers, heads = SIZES[size]
    config = ASTConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
        frequency_stride=bands,
        max_length=frames,
        num_mel_bins=bands,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **strides,
        **{_OWN_KEY: True},
    )
    model = StemmedTransformer(config)
    # transformers begins with all positions alike; told apart from the start, small data suffices to learn where is when.
    nn.init.normal_(model.audio_spectrogram_transformer.embeddings.position_embeddings, std=0.2)
    return model


def load_teacher(name_or_dir: str | os.PathLike[str], labels: Sequence[str]) -> Teacher:
    """A pretrained teacher from a folder or by its hub name, its classes mapped to our labels; in eval mode.

    Classes and labels match by name, whatever the case; classes that match none go to `_unknown_`.
    Raises TeacherError: no such model, no network, not a classifier, or labels without a class.
    """
    disable_progress_bar()
    name = os.fspath(name_or_dir)
    folder = Path(name)
    local = folder.is_dir()
    if not local and (name.count("/") > 1 or name.startswith((".", "/", "~"))):
        raise TeacherError(f"{name}: no such folder; a hub name looks like MIT/ast-finetuned-speech-commands-v2")
    if local and not (folder / "config.json").exists():
        raise TeacherError(f"{name}: holds no config.json; give the folder that save_pretrained wrote")
    if local and _is_own(folder / "config.json"):
        return _load_own(folder, labels)
    extractor = _fetch(AutoFeatureExtractor.from_pretrained, name, local)
    model, report = _fetch(AutoModelForAudioClassification.from_pretrained, name, local, output_loading_info=True)
    _check_complete(name, report)
    if getattr(extractor, "sampling_rate", RATE_HZ) != RATE_HZ:
        raise TeacherError(f"{name}: listens at {extractor.sampling_rate} Hz; choose a teacher for {RATE_HZ} Hz")
    return WaveformTeacher(model, extractor, labels, map_labels(model.config.id2label, labels, name)).eval()


def map_labels(id2label: Mapping[int, str], labels: Sequence[str], name: str = "teacher") -> list[list[int]]:
    """For each of our labels the teacher's classes that mean it; none for a `_silence_` that the teacher lacks.

    >>> map_labels({0: "Up", 1: "cat", 2: "down", 3: "dog"}, ["down", "up", "_silence_", "_unknown_"])
    [[2], [0], [], [1, 3]]
    """
    wanted = {label.casefold(): i for i, label in enumerate(labels)}
    groups: list[list[int]] = [[] for _ in labels]
    for index, teacher_label in sorted((int(i), text) for i, text in id2label.items()):
        target = wanted.get(teacher_label.casefold())
        if target is None and teacher_label.casefold() != SILENCE:
            target = wanted.get(UNKNOWN)
        if target is not None:
            groups[target].append(index)
    missing = [label for label, group in zip(labels, groups, strict=True) if not group and label != SILENCE]
    if missing:
        raise TeacherError(
            f"{name}: has no class for {', '.join(missing)}; it knows {', '.join(map(str, id2label.values()))}; "
            f"our labels are {', '.join(labels)}: choose another teacher or train one here"
        )
    return groups


def _fetch(load: Any, name: str, local: bool, **options: Any) -> Any:
    try:
        return load(name, local_files_only=local, **options)
    except Exception as error:  # transformers, its hub client and safetensors each have errors of their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if local:
            raise TeacherError(f"{name}: cannot be loaded as an audio classifier ({reason})") from None
        raise TeacherError(
            f"teacher '{name}' is neither a folder nor could it be downloaded ({reason}); check the name and the "
            "network, or download the model elsewhere and give its folder"
        ) from None


def _check_complete(name: str, report: Mapping[str, Any]) -> None:
    missing = sorted(report.get("missing_keys", ()))
    if missing:
        raise TeacherError(f"{name}: lacks trained weights such as {missing[0]}; choose one trained for classification")


def _is_own(config: Path) -> bool:
    try:
        return json.loads(config.read_text(encoding="utf-8")).get(_OWN_KEY) is True
    except (OSError, ValueError, AttributeError) as error:
        raise TeacherError(f"{config}: cannot be read as JSON ({error})") from None


def _load_own(folder: Path, labels: Sequence[str]) -> FeatureTeacher | EmbeddingTeacher:
    model, report = _fetch(StemmedTransformer.from_pretrained, os.fspath(folder), True, output_loading_info=True)
    _check_complete(os.fspath(folder), report)
    if (folder / EMBEDDING).exists():
        try:
            ear = SpeechEmbedding(load_file(folder / EMBEDDING))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise TeacherError(f"{folder / EMBEDDING}: cannot be read ({error}): train this teacher again") from None
        teacher = EmbeddingTeacher(model, ear).eval()
    else:
        teacher = FeatureTeacher(model).eval()
    check_labels(folder, teacher.labels, labels)
    return teacher


def check_labels(source: str | os.PathLike[str], known: Sequence[str], labels: Sequence[str]) -> None:
    """Raise TeacherError unless a teacher trained here knows our labels in our order."""
    if list(known) != list(labels):
        raise TeacherError(f"{source}: was trained for {', '.join(known)}; our labels are {', '.join(labels)}: train it again")
