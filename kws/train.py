"""Recordings in, model file out: teacher, student through its stages, integer graph, report.

    train("recordings", "runs/mine", load(TrainConfig, "presets/m.toml"))

The run folder holds config.json, metrics.jsonl, curves.png, the weights of every stage (safetensors), teacher/, and
model.swm with its report. An interrupted training resumes from it with the same call.
"""

import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bnn.binarize import ESTIMATORS
from bnn.config import ConfigError, build, check_ranges, to_dict
from bnn.intervals import wilson_interval
from bnn.layers import Precision
from bnn.processes import best_device, multiplies_bfloat16
from bnn.stages import Stage
from bnn.training import SETTLED, FitResult, TrainingError, digest_of, fit
from export.console import note
from export.format import Model, write, write_atomically
from export.graph import MAX_CHANNELS, MAX_DILATION, MAX_OPS, MAX_TAPS, MAX_WINDOW, FormatError, encode_graph
from kws.audio import RATE_HZ
from kws.augment import AugmentConfig, coloured_noise, noise_bank
from kws.batches import Batches, FreshBatches, HeardBatches
from kws.data import TASKS, Dataset, cache_folder
from kws.embedding import SpeechEmbedding, token_frames, tokens_of
from kws.evaluate import Evaluation, evaluate, save_json
from kws.features import FeatureSet, FreshFeatures, unfinished
from kws.frontend import BANDS, extract, log_mel_front_end
from kws.losses import StudentLoss
from kws.models import MOST_SECONDS, KwsConfig, KwsNet, lower, metadata_of
from kws.teacher import (
    SIZES,
    EmbeddingTeacher,
    Ensemble,
    Teacher,
    build_embedding_teacher,
    build_teacher,
    check_labels,
    load_teacher,
)

MODEL, EXPORT, CALIBRATION = "model.swm", "export.json", "calibration.npy"
TEACHER, TRANSFORMER = "teacher", "transformer"  # folders: what trained a teacher, and in it the teacher itself


@dataclass
class TeacherConfig:
    """The small Transformer that is trained here where none is given."""

    size: str = "small"
    epochs: int = 60
    learning_rate: float = 1e-3
    weight_decay: float = 0.05


@dataclass
class TrainConfig:
    """All that a training depends on besides data and teacher; presets/*.toml explain every key."""

    model: KwsConfig
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    seed: int = 0
    seconds: float = 1.0
    variants: int = 30
    batch_size: int = 64
    float_epochs: int = 60
    activation_epochs: int = 40
    binary_epochs: int = 90
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    muon: bool = False
    label_smoothing: float = 0.05
    temperature: float = 3.0
    distill: float = 0.5
    hint: float = 0.0
    feature_distill: float = 0.0
    embedding_penalty: float = 0.0
    false_accept_penalty: float = 0.0
    domain_adversary: float = 0.0
    time_masks: int = 2
    time_width: int = 8
    band_masks: int = 2
    band_width: int = 5
    time_warp: float = 0.0
    band_warp: float = 0.0
    noise_mix: float = 0.0
    speech_commands: str = ""

    def check(self) -> "TrainConfig":
        """Raise ConfigError for a value that no training can use; else return self."""
        check_ranges(self, _RANGES)
        check_ranges(self.model, _MODEL_RANGES, "model.")
        check_ranges(self.teacher, _TEACHER_RANGES, "teacher.")
        if self.model.estimator not in ESTIMATORS or self.teacher.size not in SIZES:
            known = f"model.estimator: {', '.join(ESTIMATORS)}; teacher.size: {', '.join(SIZES)}"
            raise ConfigError(f"{self.model.estimator!r} or {self.teacher.size!r} is not known; valid are {known}")
        if self.speech_commands not in ("", *TASKS):
            raise ConfigError(f"speech_commands is {self.speech_commands!r}, valid are: {', '.join(TASKS)}, or nothing")
        if not self.model.dilations or not all(1 <= d <= MAX_DILATION for d in self.model.dilations):
            raise ConfigError(f"model.dilations is {list(self.model.dilations)}, a list of 1 to {MAX_DILATION} is needed")
        if not self.float_epochs + self.activation_epochs + self.binary_epochs:
            raise ConfigError("float_epochs, activation_epochs and binary_epochs are all 0: nothing would be learned")
        return self

    def stages(self) -> list[Stage]:
        """Real numbers, then binary activations, then all binary; a stage of no epochs is left out."""
        binary_rate = self.learning_rate * 2 / 3
        temperature = (1.0, 30.0) if self.model.estimator == "annealed" else None
        stages = [
            ("float", Precision.FLOAT, self.float_epochs, self.learning_rate, self.weight_decay, None),
            ("activations", Precision.BINARY_ACTIVATIONS, self.activation_epochs, binary_rate, self.weight_decay, temperature),
            ("binary", Precision.BINARY, self.binary_epochs, binary_rate, 0.0, temperature),
        ]
        return [
            Stage(name, precision, epochs, rate, decay, estimator_temperature=annealing, muon=self.muon and name == "float")
            for name, precision, epochs, rate, decay, annealing in stages
            if epochs
        ]


_EPOCHS = (0, 100_000)
_RANGES = {"seed": (0, 2**31), "seconds": (0.2, MOST_SECONDS), "variants": (0, 1000), "batch_size": (2, 65536),
           "float_epochs": _EPOCHS, "activation_epochs": _EPOCHS, "binary_epochs": _EPOCHS,
           "learning_rate": (1e-7, 1), "weight_decay": (0, 1),
           "label_smoothing": (0, 0.9), "temperature": (0.1, 100), "distill": (0, 1), "hint": (0, 1000),
           "feature_distill": (0, 1000), "embedding_penalty": (0, 1000), "false_accept_penalty": (0, 1000),
           "domain_adversary": (0, 1000),
           "time_masks": (0, 20), "time_width": (0, 500), "band_masks": (0, 20), "band_width": (0, 40),
           "time_warp": (0, 50), "band_warp": (0, 0.5), "noise_mix": (0, 1)}  # fmt: skip
_MODEL_RANGES = {"channels": (4, MAX_CHANNELS), "blocks": (1, MAX_OPS - 3), "taps": (1, MAX_TAPS), "stem_taps": (1, MAX_TAPS),
                 "window": (1, MAX_WINDOW), "dropout": (0, 0.9)}  # fmt: skip
_TEACHER_RANGES = {"epochs": (1, 100_000), "learning_rate": (1e-7, 1), "weight_decay": (0, 1)}


@dataclass
class Data:
    """What a training reads: augmented training features, the last `extra` of further material, and plain validation ones."""

    labels: list[str]
    train: FeatureSet | FreshFeatures
    targets: np.ndarray
    extra: int
    val_features: Tensor
    val_waveforms: np.ndarray
    val_targets: Tensor
    noises: list[np.ndarray]  # recordings of noise, each (sample,) int16
    domains: np.ndarray | None = None  # (clip,) int8 of training clips: 1 synthesized, 0 recorded, -1 either, or not to be asked

    @classmethod
    def prepare(cls, dataset: Dataset, config: TrainConfig, noise_dir: str | Path | None) -> "Data":
        """Read, augment and transform. Raises DataError or AudioError naming what is wrong."""
        waveforms, targets = dataset.waveforms("train", config.seconds)
        val_waveforms, val_targets = dataset.waveforms("val", config.seconds)
        noises = noise_bank(noise_dir) if noise_dir else []
        train = augmented(waveforms, noises, AugmentConfig(), config)
        val = torch.from_numpy(extract(val_waveforms, log_mel_front_end()))
        extra = sum(clip.extra for clip in dataset.clips("train"))
        return cls(dataset.labels, train, targets, extra, val, val_waveforms, torch.from_numpy(val_targets), noises)

    def batches(self, config: TrainConfig, audio: bool = False) -> Batches | FreshBatches:
        """Batches of the training features; `audio`: with waveforms for a teacher that listens, where features are made anew."""
        if isinstance(self.train, FreshFeatures):
            batches = FreshBatches(self.train, self.targets, config, self.extra, audio)
        else:
            batches = Batches(self.train.features, self.targets, config, extra=self.extra)
        if config.noise_mix:
            batches.noise = noise_features(self.noises)
        return batches

    def heard(self, config: TrainConfig, ear: SpeechEmbedding) -> Batches | HeardBatches:
        """Batches of what an ear hears in the training clips."""
        as_heard = replace(config, time_masks=0, band_masks=0, time_warp=0.0, band_warp=0.0, noise_mix=0.0)
        if isinstance(self.train, FreshFeatures):
            return HeardBatches(self.batches(as_heard, audio=True), ear)
        return Batches(self.train.tokens(ear), self.targets, as_heard, extra=self.extra)

    def accuracy(self, net: nn.Module) -> float:
        """Percent of validation clips that a network of features decides right."""
        return 100 * float((answers(net, self.val_features) == self.val_targets).float().mean())

    def accuracy_of(self, teacher: Teacher) -> float:
        """Percent of validation clips that a teacher decides right."""
        decided = decisions(teacher, torch.from_numpy(self.val_waveforms), self.val_features)
        return 100 * float((decided == self.val_targets).float().mean())


def augmented(
    waveforms: np.ndarray, noises: list[np.ndarray], augment: AugmentConfig, config: TrainConfig
) -> FeatureSet | FreshFeatures:
    """Training features of waveforms (clip, sample) int16: kept in so many variants, or made anew in every epoch."""
    inputs = (waveforms, log_mel_front_end(), noises, augment)
    # What is kept serves all seeds, which draw from it in an order of their own.
    return FeatureSet.build(*inputs, config.variants, 0) if config.variants else FreshFeatures(*inputs, config.seed)


def noise_features(noises: Sequence[np.ndarray]) -> Tensor:
    """What the front end gives (frame, band) of noise recordings, one after the other; of coloured noise where there are none."""
    rng = np.random.default_rng(0)
    made = noises or [(1000 * coloured_noise(2 * RATE_HZ, rng)).astype(np.int16) for _ in range(50)]
    return torch.from_numpy(extract(np.concatenate(made)[None], log_mel_front_end())[0])


@torch.no_grad()
def decisions(teacher: Teacher, waveforms: Tensor, features: Tensor) -> Tensor:
    """Labels (clip,) that a teacher decides for waveforms (clip, sample) int16 and their features (clip, frame, band)."""
    parts = zip(waveforms.split(256), features.split(256), strict=True)
    return torch.cat([teacher.logits(audio, part).argmax(1).cpu() for audio, part in parts])


@torch.no_grad()
def answers(net: nn.Module, features: Tensor, batch: int = 256) -> Tensor:
    """Decided labels (clip,) of a network over features (clip, frame, band)."""
    device = next(net.parameters()).device
    net.eval()
    return torch.cat([net(part.to(device)).argmax(1).cpu() for part in features.split(batch)])


def train_teacher(data: Data, run_dir: Path, config: TrainConfig, ear: SpeechEmbedding | None = None) -> Teacher:
    """Train the small Transformer on the student's own features, or on what `ear` hears.

    It is kept in `run_dir`/transformer, ready for --teacher.
    """
    t = config.teacher
    torch.manual_seed(config.seed)
    stages = [Stage("teacher", Precision.FLOAT, t.epochs, t.learning_rate, t.weight_decay)]
    if ear is None:
        teacher = build_teacher(data.labels, data.val_features.shape[2], data.val_features.shape[1], t.size)
        batches, validate = data.batches(config), data.accuracy
    else:
        ear.to(best_device())
        teacher = build_embedding_teacher(data.labels, ear, data.val_waveforms.shape[1], t.size)
        batches, heard = data.heard(config, ear), replace(data, val_features=tokens_of(ear, torch.from_numpy(data.val_waveforms)))
        validate = heard.accuracy
    loss, settings = StudentLoss(config, False), settings_of(config, data)
    fit(
        teacher, stages, batches, validate, run_dir, loss=loss, seed=config.seed, settled=SETTLED, amp="auto", config=settings
    )
    teacher.save(run_dir / TRANSFORMER)
    return teacher.eval()


@torch.no_grad()
def teacher_logits(teacher: Teacher, data: Data) -> np.ndarray:
    """The teacher's answers (variant, clip, label) float16 to every training variant; computed once and kept like the features.

    The file's name holds a digest of the teacher, the features and the labels: answers of others are never taken for these.
    """
    if isinstance(teacher, Ensemble):
        answers = (torch.from_numpy(np.array(teacher_logits(each, data))) for each in teacher.teachers)
        return teacher.mean(answers).half().numpy()
    shape = (*data.train.features.shape[:2], len(data.labels))
    path = cache_folder() / f"answers-{digest_of(teacher, data.train.digest + json.dumps(data.labels))}.npy"
    with unfinished(path, shape, np.float16) as (todo, finish):
        tokens = data.train.tokens(teacher.ear) if todo and isinstance(teacher, EmbeddingTeacher) else None
        target = np.load(path, mmap_mode="r+")
        for v in track(todo, "teacher answers", console=Console(stderr=True)):
            for part, logits in _answers_to_variant(teacher, data.train, tokens, v):
                target[v, part] = logits.half().cpu().numpy()
            target.flush()
            finish(v)
    return np.load(path, mmap_mode="r")


def _answers_to_variant(
    teacher: Teacher, train: FeatureSet, tokens: np.ndarray | None, v: int, size: int = 256
) -> Iterator[tuple[slice, Tensor]]:
    if teacher.needs_waveforms and tokens is None:
        yield from ((part, teacher.logits(torch.from_numpy(audio), None)) for part, audio in train.waveforms(v))
        return
    for i in range(0, train.features.shape[1], size):
        part = slice(i, i + size)
        if tokens is not None:
            yield part, teacher(torch.from_numpy(np.array(tokens[v, part])).to(teacher.model.device))
        else:
            features, device = torch.from_numpy(np.array(train.features[v, part])), best_device()
            with torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bfloat16(device)):
                logits = teacher.logits(None, features)
            yield part, logits.float()


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomically(path, buffer.getbuffer())


class FloatTwin(Teacher):
    """A float stage as a teacher: the student's own of its binary ones, or that of another run."""

    needs_waveforms = False

    def __init__(self, net: nn.Module, labels: Sequence[str]):
        super().__init__()
        self.net, self.labels = net.eval(), list(labels)

    @classmethod
    def of(cls, run_dir: str | Path, labels: Sequence[str]) -> "FloatTwin":
        """The float twin of a finished run that learned these labels. Raises TrainingError or TeacherError."""
        net, recipe = load_run(run_dir, "float")
        check_labels(run_dir, recipe["labels"], labels)
        return cls(net, labels)

    def logits(self, waveforms: Tensor | None, features: Tensor) -> Tensor:
        return self.net(features.to(self.net.head.weight.device))


class Lessons:
    """Who teaches a training: answers kept for features that are kept, else a teacher that listens along.

    The binary stages learn from the float twin where it is better on validation than the teacher, beyond chance, and so has more
    to say (self-distillation; Furlanello et al., 2018).
    """

    def __init__(self, teacher: Teacher | None, data: Data, loss: StudentLoss, run_dir: Path, config: TrainConfig):
        self.teacher, self.data, self.loss, self.run_dir, self.config = teacher, data, loss, run_dir, config
        if teacher is not None:
            teacher.to(best_device())
        self.batches = data.batches(config, teacher is not None and teacher.needs_waveforms)
        self.listening = isinstance(teacher, EmbeddingTeacher) and config.hint > 0
        if self.listening:
            samples = data.val_waveforms.shape[1]
            loss.hear_with(teacher.ear, token_frames(samples, samples // data.val_features.shape[1]))
            if isinstance(self.batches, Batches):
                self.batches.tokens = data.train.tokens(teacher.ear)
        if data.domains is not None and config.domain_adversary:
            self.batches.domains = torch.from_numpy(data.domains)
            loss.hide_domains()
        if teacher is not None:
            self.give(teacher)

    def give(self, teacher: Teacher) -> None:
        """Let this one teach from now on."""
        if isinstance(self.batches, FreshBatches):
            self.loss.listen_to(teacher)
            self.batches.audio = teacher.needs_waveforms or self.listening
        else:
            self.batches.logits = teacher_logits(teacher, self.data)

    def begin(self, stage: Stage) -> None:
        """Prepare for a stage that begins."""
        self.loss.binary_stage = stage.precision is not Precision.FLOAT
        weights = self.run_dir / "float.safetensors"
        if not self.loss.binary_stage or not weights.exists():
            return
        with torch.random.fork_rng(devices=[]):  # a resumed training comes here once more, and must draw no other numbers
            twin = KwsNet(self.config.model, len(self.data.labels))
        twin.load_state_dict(load_file(weights))
        if self.config.feature_distill:
            self.loss.follow(twin)
        if self.teacher is not None:
            self.choose(self.teacher, FloatTwin(twin, self.data.labels).to(best_device()))
            self.teacher = None  # once, whichever binary stage comes first

    def choose(self, teacher: Teacher, twin: FloatTwin) -> None:
        """Let the twin teach the binary stages where it is better beyond chance: where both are near 100 %, they are as good."""
        percent, n = [self.data.accuracy_of(each) for each in (teacher, twin)], len(self.data.val_targets)
        better = percent[0] < wilson_interval(round(percent[1] * n / 100), n)[0]
        who = "the twin" if better else "the teacher"
        note(f"validation: teacher {percent[0]:.1f} %, float twin {percent[1]:.1f} %: {who} teaches the binary stages")
        if better:
            self.give(twin)


@dataclass
class TrainResult:
    """Where everything is, and how good: validation percent of every stage, and of the integer graph."""

    model_path: Path
    file_bytes: int
    validation: dict[str, float]
    integer: Evaluation


def train(
    dataset: Dataset,
    run_dir: str | Path,
    config: TrainConfig,
    *,
    noise_dir: str | Path | None = None,
    teacher: Teacher | SpeechEmbedding | None = None,
    taught: bool = True,
    name: str = "",
    start: str | os.PathLike[str] | None = None,
) -> TrainResult:
    """Train a student and export it.

    `teacher`: a loaded one; else one is trained in the run folder, behind an ear where one is given, unless not `taught`.
    `start`: a finished run whose weights take the place of the float stage.
    """
    run_dir = Path(run_dir)
    if start:
        config = replace(config, float_epochs=0)
    config.check()
    check_exportable(config, len(dataset.labels))
    initial = begin_from(start, config, dataset.labels, run_dir) if start else None
    data = Data.prepare(dataset, config, noise_dir)
    tutor = hired(teacher, data, run_dir, config) if taught and config.distill > 0 else None
    fitted, model = fit_student(data, run_dir, config, tutor, initial, name)
    size = write(model, run_dir / MODEL)
    integer = evaluate(model, data.val_waveforms, data.val_targets.numpy())
    return TrainResult(run_dir / MODEL, size, fitted.best, integer)


def hired(teacher: Teacher | SpeechEmbedding | None, data: Data, run_dir: Path, config: TrainConfig) -> Teacher:
    """This teacher; else one that is trained in the run folder, behind the ear where one is given."""
    return teacher if isinstance(teacher, Teacher) else train_teacher(data, run_dir / TEACHER, config, teacher)


def settings_of(config: TrainConfig, data: Data) -> dict:
    """What a resumed training must find unchanged."""
    return {**to_dict(config), "labels": data.labels, "features": data.train.digest, "extra": data.extra}


def fit_student(
    data: Data,
    run_dir: Path,
    config: TrainConfig,
    teacher: Teacher | None,
    initial: dict[str, Tensor] | None = None,
    name: str = "",
) -> tuple[FitResult, Model]:
    """Train a student through its stages, from `initial` weights where there are some, and make a model of it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    settings = settings_of(config, data) | ({"taught_by": digest_of(teacher)} if teacher else {})
    loss = StudentLoss(config, teacher is not None, data.labels)
    lessons = Lessons(teacher, data, loss, run_dir, config)
    torch.manual_seed(config.seed)
    net = KwsNet(config.model, len(data.labels))
    if initial is not None:
        net.load_state_dict(initial)
        settings["begun_from"] = digest_of(net)
    fitted = fit(
        net,
        config.stages(),
        lessons.batches,
        data.accuracy,
        run_dir,
        loss=loss,
        seed=config.seed,
        settled=SETTLED,
        amp="auto",
        config=settings,
        on_stage=lessons.begin,
    )
    calibration, recipe = data.train.sample(512), {"name": name or run_dir.name, "labels": data.labels, "seconds": config.seconds}
    write_array(run_dir / CALIBRATION, calibration)
    save_json(run_dir / EXPORT, recipe)
    return fitted, model_of(net.cpu(), recipe, torch.from_numpy(np.array(calibration)))


def begin_from(
    start: str | os.PathLike[str], config: TrainConfig, labels: Sequence[str], run_dir: Path
) -> dict[str, Tensor]:
    """Weights of a finished run to begin with: all of its body, and of its head what belongs to labels that both have.

    Where the labels are the same, the other run's float twin goes to `run_dir`: teacher of the binary stages, and yardstick.
    Raises TrainingError, or ConfigError where its network has another shape.
    """
    start = Path(start)
    if start.resolve() == run_dir.resolve():
        raise ConfigError(f"{run_dir} cannot begin from itself: give another folder to write to")
    learned, recipe = load_run(start)
    torch.manual_seed(config.seed)
    net = KwsNet(config.model, len(labels))
    state, known = net.state_dict(), learned.state_dict()
    for name, tensor in known.items():
        if name.startswith("head."):
            for i, label in enumerate(labels):
                if label in recipe["labels"]:
                    state[name][i] = tensor[recipe["labels"].index(label)]
        elif name in state and state[name].shape == tensor.shape:
            state[name] = tensor
        else:
            raise ConfigError(f"{start} holds a network of another shape ({name}): begin from one of the same preset")
    if learned.config.blocks != config.model.blocks:
        raise ConfigError(f"{start} has {learned.config.blocks} blocks, this one {config.model.blocks}: use the same preset")
    twin = start / "float.safetensors"
    if twin.exists() and recipe["labels"] == list(labels):
        run_dir.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(twin, run_dir / twin.name)
    return state


def load_run(run_dir: str | Path, stage: str = "model") -> tuple[KwsNet, dict]:
    """The network of a finished run with the weights of a stage, and its export recipe. Raises TrainingError if unfinished."""
    run_dir = Path(run_dir)
    weights = run_dir / f"{stage}.safetensors"
    if not (run_dir / EXPORT).exists() or not weights.exists():
        raise TrainingError(f"{run_dir} holds no finished training ({EXPORT} or {weights.name} is missing): run kws train first")
    try:
        recipe = json.loads((run_dir / EXPORT).read_text())
        config = json.loads((run_dir / "config.json").read_text())["config"]
        net = KwsNet(build(KwsConfig, config["model"]), len(recipe["labels"]))
        net.load_state_dict(load_file(weights))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"{run_dir} is damaged ({type(error).__name__}: {error}): train again") from None
    return net.eval(), recipe


def check_exportable(config: TrainConfig, labels: int) -> None:
    """Raise ConfigError where the file format could not hold the network: before hours of training, not after."""
    try:
        encode_graph(lower(KwsNet(config.model, labels), torch.zeros(1, 2, BANDS, dtype=torch.int8)))
    except FormatError as error:
        raise ConfigError(f"the model file cannot hold this network: {error}") from None


def evaluate_stages(run_dir: str | Path, waveforms: np.ndarray, targets: np.ndarray) -> dict[str, Evaluation]:
    """The Transformer teacher trained in a run and its float twin, in PyTorch, on waveforms (clip, sample) int16."""
    run_dir, out = Path(run_dir), {}
    features = torch.from_numpy(extract(waveforms, log_mel_front_end()))
    _, recipe = load_run(run_dir)
    networks: dict[str, Teacher] = {}
    if (run_dir / TEACHER / TRANSFORMER).exists():
        networks["teacher"] = load_teacher(run_dir / TEACHER / TRANSFORMER, recipe["labels"])
    if (run_dir / "float.safetensors").exists():
        networks["float twin"] = FloatTwin.of(run_dir, recipe["labels"])
    for name, net in networks.items():
        decided = decisions(net, torch.from_numpy(waveforms), features)
        out[name] = Evaluation.of(recipe["labels"], targets, decided.numpy())
    return out


def model_of(net: KwsNet, recipe: dict, calibration: Tensor) -> Model:
    """A network as a model; its thresholds are those of the recipe, or accept everything where none were chosen."""
    ops, labels = lower(net, calibration), recipe["labels"]
    metadata = metadata_of(net, ops, recipe["name"], recipe["seconds"]) | recipe.get("metadata", {})
    return Model(metadata, labels, recipe.get("thresholds", [0] * len(labels)), log_mel_front_end(), ops)


def export_run(run_dir: str | Path, path: str | Path) -> tuple[Model, int]:
    """Write the 1-bit network of a finished run as a model file; returns it and its size."""
    net, recipe = load_run(run_dir)
    try:
        calibration = torch.from_numpy(np.load(Path(run_dir) / CALIBRATION))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{Path(run_dir) / CALIBRATION} cannot be read ({error}): train again") from None
    model = model_of(net, recipe, calibration)
    return model, write(model, path)
