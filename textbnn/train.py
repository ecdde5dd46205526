"""Labelled texts in, model file out: teacher, dictionary, student, integer graph, threshold.

    result = train(load("commands.csv"), "runs/mine", configure(max_kb=32), teacher="minilm")
    print(result.model_path, result.file_bytes, result.validation.accuracy)

The run folder holds config.json, metrics.jsonl, curves.png, the student's weights (safetensors), teacher/, and model.swm.
An interrupted training resumes from it with the same call.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn.config import ConfigError, check_ranges, load, to_dict
from bnn.distill import logits_loss
from bnn.layers import LATENT_LIMIT, Precision
from bnn.stages import Stage
from bnn.training import SETTLED, fit
from export.console import note
from export.folding import Folding
from export.format import GoldenText, Model, encode, write
from export.graph import MAX_ENTRIES
from export.pieces import Pieces
from export.text import Text, families
from textbnn.augment import invent, near_words, words_of
from textbnn.bags import Bags, Candidates
from textbnn.data import UNKNOWN, DataError, Dataset
from textbnn.evaluate import Evaluation, evaluate, results
from textbnn.lower import lower
from textbnn.select import Probe, select, thinned
from textbnn.slots import encode as encode_slots
from textbnn.student import TextNet
from textbnn.teacher import LABELS, TeacherConfig, cached_logits, load_teacher, train_teacher
from textbnn.tokenizer import TokenizerError
from textbnn.tokenizer import train as train_tokenizer

MODEL, PRESET = "model.swm", Path(__file__).parent / "presets" / "text.toml"
SIZES = {16: 16, 32: 48, 64: 64, 128: 96}  # KB -> channels: chosen on validation
NGRAMS = ("words", "word2", "skip2", "chars3", "chars4")
FAMILIES = {"ngram": NGRAMS, "sentencepiece": (*NGRAMS, "pieces", "piece2")}
ENOUGH = 15_000  # further texts to choose a dictionary by: with more it comes to suit them, and not what people write
PIECES_A_KB = 8  # the vocabulary takes an eighth of the file or less
MAX_SAMPLE = 256  # bytes of the text of a file's self-test
KB = 1024


@dataclass
class TextConfig:
    """All that a training depends on besides data and teacher. `keep`: percent of validation texts in scope to accept."""

    max_kb: int = 32
    tokenizer: str = "auto"
    seed: int = 0
    keep: float = 95.0
    channels: int = 0
    least: float = 2.0
    invented: int = 120_000
    drawn: int = 15_000
    drop: float = 0.2
    epochs: int = 50
    batch_size: int = 256
    learning_rate: float = 2e-2
    label_smoothing: float = 0.05
    temperature: float = 0.75
    teachers: int = 4
    teacher_epochs: int = 4

    def check(self) -> "TextConfig":
        """Raise ConfigError for a value that no training can use; else return self, sizes filled in."""
        check_ranges(self, _RANGES)
        if self.max_kb not in SIZES:
            raise ConfigError(f"max_kb is {self.max_kb}, choose one of {', '.join(map(str, SIZES))}")
        if self.tokenizer not in ("auto", *FAMILIES):
            raise ConfigError(f"tokenizer is {self.tokenizer!r}, choose one of auto, {', '.join(FAMILIES)}")
        if self.channels % 4:
            raise ConfigError(f"channels is {self.channels}, it must be a multiple of 4")
        return replace(self, channels=self.channels or SIZES[self.max_kb])


_MANY = (0, 10_000_000)
_RANGES = {"seed": (0, 2**31), "keep": (50, 100), "channels": (0, 512), "least": (1, 100),
           "invented": _MANY, "drawn": _MANY, "drop": (0, 0.9), "epochs": (1, 100_000), "batch_size": (2, 65536),
           "learning_rate": (1e-7, 1), "label_smoothing": (0, 0.9), "temperature": (0.1, 100),
           "teachers": (1, 100), "teacher_epochs": (1, 1000)}  # fmt: skip


def configure(max_kb: int = 32, tokenizer: str = "auto", overrides: Sequence[str] = ()) -> TextConfig:
    """A checked configuration from the size, the tokenizer and `key=value` strings. Raises ConfigError."""
    return load(TextConfig, PRESET, [f"max_kb={max_kb}", f"tokenizer={tokenizer}", *overrides]).check()


@dataclass
class Lessons:
    """What a student learns from: labelled texts, then invented and unlabelled ones, and a teacher's logits (text, label)."""

    labels: list[str]
    texts: list[str]
    own: int
    targets: np.ndarray
    logits: Tensor | None
    val_texts: list[str]
    val_targets: np.ndarray

    def answers(self, smoothing: float) -> Tensor:
        """Probabilities (text, label): the teacher's where there is one, else those of smoothed labels."""
        if self.logits is not None:
            return self.logits.float().softmax(1)
        truth = F.one_hot(torch.from_numpy(self.targets), len(self.labels)).float()
        return truth * (1 - smoothing) + smoothing / len(self.labels)


def labels_of(data: Dataset) -> list[str]:
    """The labels of a model: those in scope, and `_unknown_` last where there are texts of it to learn from."""
    return data.labels + ([UNKNOWN] if data.out_of_scope("train") else [])


def prepare(data: Dataset, run_dir: Path, config: TextConfig, teacher: str, unlabelled: Sequence[str] = ()) -> Lessons:
    """Read the texts; with a teacher, fine-tune it, invent further texts and have it answer all, unlabelled ones too."""
    texts, targets = data.in_scope("train")
    strangers = data.out_of_scope("train")
    labels = labels_of(data)
    texts, targets = texts + strangers, np.concatenate([targets, np.full(len(strangers), len(data.labels))])
    val = data.in_scope("val")
    if teacher == "none":
        if unlabelled:
            raise ConfigError("unlabelled texts need a teacher to answer them: name one")
        return Lessons(labels, texts, len(texts), targets, None, *val)
    if (Path(teacher) / LABELS).exists():  # finished in another run: its answers are kept there
        home, tutor = Path(teacher), load_teacher(teacher, labels)
    else:
        home, tuning = run_dir / "teacher", TeacherConfig(trainings=config.teachers, epochs=config.teacher_epochs)
        tutor = train_teacher(teacher, (texts, targets), val, labels, home, tuning)
    vectors = tutor.body.get_input_embeddings().weight.detach()
    invented = invent(texts, targets, config.invented, near_words(vectors, tutor.tokenizer.get_vocab(), texts), seed=0)
    parts = [texts + invented, list(unlabelled)]
    logits = torch.from_numpy(np.concatenate([cached_logits(tutor, part, home / "logits") for part in parts if part]))
    return Lessons(labels, sum(parts, []), len(texts), targets, logits, *val)


class Batches:
    """Batches of one epoch, for `bnn.training.fit`: every labelled text once, and `drawn` of the others."""

    def __init__(self, bags: Bags, lessons: Lessons, config: TextConfig) -> None:
        self.bags, self.config, self.own = bags, config, lessons.own
        self.drawn = min(config.drawn, len(bags) - lessons.own)
        self.logits = lessons.logits
        self.targets = torch.from_numpy(lessons.targets)
        self.steps = -(-(self.own + self.drawn) // config.batch_size)

    def __call__(self, epoch: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        order = torch.randperm(self.own, generator=generator)
        if self.drawn:
            further = self.own + torch.randperm(len(self.bags) - self.own, generator=generator)[: self.drawn]
            order = torch.cat([order, further])[torch.randperm(self.own + self.drawn, generator=generator)]
        for part in order.split(self.config.batch_size):
            indices, offsets = thinned(*self.bags.batch(part.numpy()), self.config.drop, generator)
            wanted = {"targets": self.targets[part]} if self.logits is None else {"teacher": self.logits[part].float()}
            yield {"indices": indices, "offsets": offsets, **wanted}


def student_loss(config: TextConfig):
    """The teacher's logits where a batch has them (they know the labels: it has learned them), else the labels."""

    def loss(net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        logits = net(batch["indices"], batch["offsets"])
        if "teacher" in batch:
            return logits_loss(logits, batch["teacher"], config.temperature)
        return F.cross_entropy(logits, batch["targets"], label_smoothing=config.label_smoothing)

    return loss


@dataclass
class TrainResult:
    """Where the file is, how large, and how good its integer graph is on validation texts."""

    model_path: Path
    file_bytes: int
    validation: Evaluation


def train(
    data: Dataset, run_dir: str | Path, config: TextConfig, *, teacher: str = "none", unlabelled: Sequence[str] = ()
) -> TrainResult:
    """Train and export. `teacher`: a Hugging Face name or folder, `minilm`, a finished run's teacher/, or `none`.
    `unlabelled`: further texts for it to answer.

    Raises ConfigError, TeacherError, DataError.
    """
    run_dir, config = Path(run_dir), config.check()
    encode_slots(data.lists)  # what is wrong with them is said before anything is trained
    run_dir.mkdir(parents=True, exist_ok=True)
    lessons = prepare(data, run_dir, config, teacher, unlabelled)
    blank, candidates, bags, probe = chosen_dictionary(data, lessons, config, run_dir.name)
    torch.manual_seed(config.seed)
    net = TextNet(len(probe.rows), config.channels, len(lessons.labels))
    net.begin_as(probe.weight, probe.bias)
    batches, val_bags = Batches(bags, lessons, config), candidates.bags(lessons.val_texts)

    def validate(net: nn.Module) -> float:
        return 100 * float((decided(net, val_bags) == lessons.val_targets).mean())

    stages = [Stage("binary", Precision.BINARY, config.epochs, config.learning_rate, clip=LATENT_LIMIT)]
    settings = {**to_dict(config), "labels": lessons.labels, "teacher": teacher, "texts": digest(lessons, candidates)}
    loss = student_loss(config)
    fit(net, stages, batches, validate, run_dir, loss=loss, seed=config.seed, settled=SETTLED, config=settings)
    model = blank.model(net, candidates.keys)
    model.thresholds = [threshold(model, lessons, config.keep)] * len(model.labels)
    size = write(model, run_dir / MODEL)
    return TrainResult(run_dir / MODEL, size, evaluate(model, *data.in_scope("val"), data.out_of_scope("val")))


def digest(lessons: Lessons, candidates: Candidates) -> str:
    """Names what a student learns from, and the dictionary that its rows belong to."""
    h = hashlib.sha256(json.dumps([lessons.texts, lessons.val_texts]).encode())
    logits = () if lessons.logits is None else (lessons.logits.numpy(),)
    for array in (lessons.targets, lessons.val_targets, candidates.keys, *logits):
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()[:16]


@torch.no_grad()
def decided(net: nn.Module, bags: Bags, batch: int = 1024) -> np.ndarray:
    """Best labels (text,) of a network of bags."""
    net.eval()
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    parts = np.split(np.arange(len(bags)), range(batch, len(bags), batch))
    return np.concatenate([net(*(t.to(device) for t in bags.batch(part))).argmax(1).cpu().numpy() for part in parts])


@dataclass
class Exporter:
    """What a file holds besides its network and the keys of its dictionary; it knows how many entries there is room for."""

    metadata: dict[str, str]
    labels: list[str]
    families: int
    folding: Folding
    pieces: Pieces | None
    slots: bytes
    sample: str

    @classmethod
    def of(cls, data: Dataset, lessons: Lessons, config: TextConfig, tokenizer: str, name: str) -> "Exporter":
        """The sample, for the file's self-test: the sorted words of the longest labelled text that fits it."""
        own = lessons.texts[: lessons.own]
        words = {" ".join(sorted(words_of(text))) for text in own}
        metadata = {"name": name, "task": "text", "tokenizer": tokenizer}
        folding, pieces = Folding.of(own), None
        if tokenizer == "sentencepiece":
            pieces = train_tokenizer(own, folding, PIECES_A_KB * config.max_kb).pieces
        cut = min(words, key=lambda text: (len(text), text)).encode()[:MAX_SAMPLE].decode("utf-8", "ignore")
        short = (text for text in words if len(text.encode()) <= MAX_SAMPLE)
        sample = max(short, key=lambda text: (len(text), text), default=cut)
        return cls(metadata, lessons.labels, families(*FAMILIES[tokenizer]), folding, pieces, encode_slots(data.lists), sample)

    def model(self, net: TextNet, keys: np.ndarray) -> Model:
        """The file's contents, accepting everything."""
        ops, text = lower(net.eval()), Text(self.families, self.folding, keys.tolist(), self.pieces)
        golden = GoldenText.of(text, ops, self.sample)
        return Model(self.metadata, self.labels, [0] * len(self.labels), None, ops, golden, text, self.slots)

    def size(self, config: TextConfig, entries: int) -> int:
        """Bytes of a file with so many entries of the dictionary."""
        net = TextNet(entries, config.channels, len(self.labels))
        return len(encode(self.model(net, np.sort(np.arange(entries) * 10_409_571 % (1 << 24)))))

    def room(self, config: TextConfig) -> int:
        """How many entries a file of `config.max_kb` has room for. Raises ConfigError where it is not even a few."""
        few, limit = 64, config.max_kb * KB
        size = self.size(config, few)
        each = (self.size(config, 2 * few) - size) / few
        entries = min(few + int((limit - size) / each), MAX_ENTRIES)
        if entries < few:
            raise ConfigError(f"{len(self.labels)} labels, slots and class rows leave no room for features in {limit:,} bytes: "
                              "choose a larger max_kb, or fewer channels")  # fmt: skip
        while self.size(config, entries) > limit:  # sections are padded to four bytes
            entries -= 1
        return entries


def chosen_dictionary(
    data: Dataset, lessons: Lessons, config: TextConfig, name: str
) -> tuple[Exporter, Candidates, Bags, Probe]:
    """The dictionary of the tokenizer asked for, or with `auto` of the one whose linear classifier validates better."""
    kinds = list(FAMILIES) if config.tokenizer == "auto" else [config.tokenizer]
    found = []
    for kind in kinds:
        try:
            blank = Exporter.of(data, lessons, config, kind, name)
        except TokenizerError as error:
            if len(kinds) == 1:
                raise DataError(f"{data.root}: {error}; choose --tokenizer ngram, or a larger --max-kb") from None
            note(f"{kind}: left out, {error}")
            continue
        least = round(config.least * len(lessons.texts) / lessons.own)
        candidates = Candidates.of(lessons.texts, blank.families, blank.folding, blank.pieces, least)
        if not len(candidates.keys):
            raise DataError(f"{data.root}: no word or run of letters stands in {least} texts; give more texts a label")
        bags = candidates.bags(lessons.texts)
        some = min(len(bags), lessons.own + ENOUGH)
        answers = lessons.answers(config.label_smoothing)[:some]
        probe = select(bags.first(some), len(candidates.keys), answers, blank.room(config), config.seed)
        known = candidates.only(probe.rows)
        accuracy = 100 * float((decided(probe, known.bags(lessons.val_texts)) == lessons.val_targets).mean())
        note(f"{kind}: {len(probe.rows):,} of {len(candidates.keys):,} features; a linear classifier of them validates at "
             f"{accuracy:.1f} %")  # fmt: skip
        found.append((accuracy, blank, known, bags.only(probe.rows), probe))
    return max(found, key=lambda each: each[0])[1:]


def threshold(model: Model, lessons: Lessons, keep: float) -> int:
    """The surety that `keep` percent of the validation texts in scope reach."""
    found = np.sort(results(model, lessons.val_texts).scope)
    return max(int(found[int(len(found) * (1 - keep / 100))]), -(1 << 31))
