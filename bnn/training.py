"""The training loop: stages, checkpoints, exact resume, a run folder.

    result = fit(model, DEFAULT_STAGES, batches, validate, Path("runs/first"), loss=my_loss)

`batches(epoch, generator)` yields the batches of one epoch (tensors, or tuples, lists, dicts of them); `batches.steps`, if there,
says how many. `loss(model, batch)` is the scalar to lower, `validate(model)` the figure to raise (percent). Started with
`torchrun` it trains data-parallel: every process runs the same `batches` and takes its share, or, where making a batch costs,
asks `batches.part(epoch, generator, rank, world)` for its share alone.
"""

import hashlib
import io
import itertools
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from bnn.binarize import set_temperature
from bnn.layers import Precision, binary_layers, clip_latent, set_precision
from bnn.muon import Muon
from bnn.processes import Processes, multiplies_bfloat16
from bnn.progress import Display, Pace, curves_png
from bnn.recording import Recorded, to
from bnn.stages import Stage, check_stages, reestimate_batch_norm

CHECKPOINT, METRICS, FINAL = "checkpoint.pt", "metrics.jsonl", "model.safetensors"
# The best of all epochs on one half of validation was worse on the other than the last: docs/ablations.md, typed commands.
SETTLED = 0.8
AMP = ("off", "bf16", "auto")
REESTIMATE_STEPS = 200  # batches for the last estimate of batch-norm statistics, at most


class TrainingError(Exception):
    """Training cannot begin or go on; the message says why and what to do."""


class Interrupted(Exception):
    """Stopped by Ctrl-C; the run folder holds all that is needed to go on."""


@dataclass
class FitResult:
    """What a finished training left behind. `best`: stage name -> best validation; `final`: that of the model as returned."""

    run_dir: Path
    best: dict[str, float]
    final: float
    history: list[dict[str, Any]] = field(repr=False)

    @property
    def weights(self) -> Path:
        return self.run_dir / FINAL


@dataclass
class _State:
    """Where the training stands, apart from the model and its optimizer. All of it goes into the checkpoint."""

    stage: int = 0
    epoch: int = 0  # epochs of this stage that are done
    total: int = 0  # epochs of all stages that are done
    best: dict[str, Any] | None = None  # value, model, loss of the best epoch of this stage
    results: dict[str, float] = field(default_factory=dict)  # best validation of finished stages
    history: list[dict[str, Any]] = field(default_factory=list)
    final: float | None = None  # set when all is done


def fit(
    model: nn.Module,
    stages: Sequence[Stage],
    batches: Callable[[int, torch.Generator], Iterable[Any]],
    validate: Callable[[nn.Module], float],
    run_dir: str | Path,
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    seed: int = 0,
    settled: float = 0.0,
    resume: bool = True,
    device: str = "auto",
    amp: str = "off",
    config: dict[str, Any] | None = None,
    progress: bool = True,
    on_stage: Callable[[Stage], None] | None = None,
) -> FitResult:
    """Train `model` through `stages`; it returns with the weights of the best epoch of the last one.

    Each stage starts from the best weights of the one before it and chooses among its own epochs only, of equal ones the last.
    `settled`: share of a stage after which its epochs compete; earlier ones, at high learning rates, are good by chance.
    `amp`: "off", "bf16" or, to have bfloat16 where a CPU gains by it, "auto". `config` is kept in the run folder beside the
    arguments. `on_stage` is called as a stage begins. A `loss` that is a module learns too. Raises TrainingError where training
    cannot go on, Interrupted on Ctrl-C: the same call then resumes exactly.
    """
    check_stages(stages)
    processes = Processes(device)
    processes.connect()
    trainer = _Trainer(model, batches, loss, validate, processes, amp, seed, Path(run_dir), on_stage)
    settings = {"stages": [_plain(stage) for stage in stages], "seed": seed, "config": _plain(config or {})}
    state = trainer.open_run(settings, resume)
    with Display(progress and processes.main, sum(stage.epochs for stage in stages)) as display:
        try:
            if state.final is None:
                _train_stages(trainer, stages, state, settled, display)
        except KeyboardInterrupt:
            message = f"interrupted after {state.total} epochs; the same command resumes from {trainer.run_dir / CHECKPOINT}"
            display.say(message, always=processes.main)
            raise Interrupted(message) from None
    set_precision(model, stages[-1].precision)
    set_temperature(model, math.inf)
    model.eval()
    return FitResult(trainer.run_dir, state.results, state.final, state.history)


def _train_stages(
    trainer: "_Trainer", stages: Sequence[Stage], state: _State, settled: float, display: Display
) -> None:
    """The loop itself: every stage, every epoch; `state` says where to begin and is kept up to date."""
    for number, stage in list(enumerate(stages))[state.stage :]:
        state.stage = number
        trainer.begin_stage(stage)
        while state.epoch < stage.epochs:
            started = time.perf_counter()
            mean_loss = trainer.train_epoch(stage, state, display)
            pace = trainer.pace.row()
            value = trainer.validate()
            state.epoch, state.total = state.epoch + 1, state.total + 1
            if state.best is None or state.epoch <= settled * stage.epochs or value >= state.best["value"]:
                state.best = {"value": value, **trainer.weights()}
            row = {"stage": stage.name, "epoch": state.epoch, "loss": mean_loss, "val": value}
            row |= {"lr": trainer.learning_rate, "seconds": round(time.perf_counter() - started, 3), **pace}
            trainer.log(row, state)
            trainer.save_checkpoint(state)
            display.epoch_done(stage, row, state.best["value"], state.total)
        display.stage_done(stage, trainer.pace)
        trainer.load_weights(state.best)  # the stage ends where it was best
        state.results[stage.name] = state.best["value"]
        if stage is stages[-1]:
            state.final = trainer.settle_batch_norm(state)
        trainer.save_weights(f"{stage.name}.safetensors", stage, state.best["value"] if state.final is None else state.final)
        trainer.draw(state)
        trainer.processes.wait()  # all of them read what one has written, as the next stage begins
        state.epoch, state.best = 0, None
    trainer.save_weights(FINAL, stages[-1], state.final)
    trainer.save_checkpoint(state)


class _Trainer:
    """Model, optimizer and run folder: the parts that `fit` moves."""

    def __init__(
        self,
        model: nn.Module,
        batches: Callable[[int, torch.Generator], Iterable[Any]],
        loss: Callable[[nn.Module, Any], Tensor],
        validate: Callable[[nn.Module], float],
        processes: Processes,
        amp: str,
        seed: int,
        run_dir: Path,
        on_stage: Callable[[Stage], None] | None,
    ) -> None:
        self.model, self.batches, self.loss, self.validator = model, batches, loss, validate
        self.processes, self.seed, self.run_dir, self.on_stage = processes, seed, run_dir, on_stage
        self.device = processes.device
        self.loss_module = loss if isinstance(loss, nn.Module) else nn.Module()
        if amp not in AMP:
            raise TrainingError(f"amp is {amp!r}: use one of {', '.join(AMP)}")
        self.bfloat16 = amp == "bf16" or (amp == "auto" and multiplies_bfloat16(self.device))
        self.optimizer: torch.optim.Optimizer | None = None
        self.pending_optimizer: dict[str, Any] | None = None  # from a checkpoint, for the stage it was made in
        self.settings = ""  # what the run was begun with, as JSON
        self.learning_rate = 0.0
        self.pace = Pace()
        model.to(self.device)
        self.loss_module.to(self.device)

    # --- training

    def parameters(self) -> list[nn.Parameter]:
        return [p for m in (self.model, self.loss_module) for p in m.parameters() if p.requires_grad]

    def begin_stage(self, stage: Stage) -> None:
        self.pace = Pace()
        set_precision(self.model, stage.precision)
        if self.on_stage is not None:
            self.on_stage(stage)
        self.processes.broadcast(self.model, self.loss_module)
        matrices = [layer.weight for layer in binary_layers(self.model)] if stage.muon else []
        others = [p for p in self.parameters() if all(p is not matrix for matrix in matrices)]
        self.optimizer = Muon(matrices, others, stage.learning_rate, stage.weight_decay)
        if self.pending_optimizer is not None:
            self.optimizer.load_state_dict(self.pending_optimizer)
            self.pending_optimizer = None
        for group in self.optimizer.param_groups:  # a recorded step reads its rate from the GPU
            group["capturable"] = self.records
            group["lr"] = torch.tensor(stage.learning_rate, device=self.device) if self.records else stage.learning_rate
        self.step = None

    @property
    def records(self) -> bool:
        """Whether steps are recorded: on a GPU of its own."""
        return self.device.type == "cuda" and not self.processes.many

    def step_of(self, stage: Stage) -> Callable[[Any], Tensor]:
        """A step of this stage: a batch, where the model is, to the loss before it."""
        parameters = self.parameters()

        def take(batch: Any) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                value = self.loss(self.model, batch)
            self.optimizer.zero_grad()
            value.backward()
            self.processes.average_gradients(parameters)
            self.optimizer.step()
            if stage.clip is not None:
                clip_latent(self.model, stage.clip)
            return value.detach()

        return take

    def anneal(self, stage: Stage, epoch: int) -> None:
        """Set the temperature of this epoch, and make the step anew: a recorded one would keep that of an earlier epoch."""
        temperature = stage.temperature_at(epoch)
        if self.step is None or temperature != self.temperature:
            self.temperature, take = temperature, self.step_of(stage)
            set_temperature(self.model, temperature)
            self.step = Recorded(take, self.device) if self.records else lambda batch: take(to(batch, self.device))

    def set_learning_rate(self) -> None:
        for group in self.optimizer.param_groups:
            if self.records:
                group["lr"].fill_(self.learning_rate)
            else:
                group["lr"] = self.learning_rate

    def train_epoch(self, stage: Stage, state: _State, display: Display) -> float:
        """One pass over the batches of this epoch; the mean loss."""
        self.anneal(stage, state.epoch)
        self.model.train()
        sum_of_losses, step = torch.zeros((), device=self.device), 0
        steps = self.steps
        for step, batch in enumerate(self.pace.over(self.share(state.total)), 1):
            # Without a known number of steps the rate stays at its mid-epoch value.
            done = min(1.0, (step - 0.5) / steps) if steps else 0.5
            self.learning_rate = stage.learning_rate_at((state.epoch + done) / stage.epochs)
            self.set_learning_rate()
            sum_of_losses += self.step(batch)
            display.step(stage, state.epoch + 1, step, steps)
        if step == 0:
            raise TrainingError(f"batches({state.total}) gave no batch for each process: is there less data than one batch?")
        mean = self.processes.mean(sum_of_losses / step)
        if not math.isfinite(mean):
            raise TrainingError(
                f"stage {stage.name!r}, epoch {state.epoch + 1}: the loss is {mean}; lower learning_rate "
                f"({stage.learning_rate:g}), or look for NaN in the data"
            )
        return mean

    @property
    def steps(self) -> int | None:
        announced = getattr(self.batches, "steps", None)
        return announced // self.processes.world if announced else None

    def share(self, epoch: int) -> Iterator[Any]:
        """This process's batches of an epoch; the order depends on seed and epoch alone."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return self.processes.share(self.batches, epoch, generator)

    def validate(self) -> float:
        """The figure of the first process for its weights and batch-norm statistics, known to all."""
        value = 0.0
        if self.processes.main:
            self.model.eval()
            with torch.no_grad():
                value = float(self.validator(self.model))
        value = self.processes.from_main(value)
        if math.isnan(value):
            raise TrainingError("validate(model) returned nan: it must be a figure that grows with quality")
        return value

    def settle_batch_norm(self, state: _State) -> float:
        """Estimate batch-norm statistics again, on the best weights; keep the better of both by validation."""
        before = self.weights()
        if self.processes.main:
            some = (to(batch, self.device) for batch in itertools.islice(self.share(state.total), REESTIMATE_STEPS))
            reestimate_batch_norm(self.model, some, self.loss)
        value = self.validate()
        if value < state.best["value"]:
            self.load_weights(before)
            value = state.best["value"]
        self.processes.broadcast(self.model)
        return value

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """A copy of all that is learned, on the CPU."""
        return {
            name: {key: tensor.detach().to("cpu", copy=True) for key, tensor in module.state_dict().items()}
            for name, module in (("model", self.model), ("loss", self.loss_module))
        }

    def load_weights(self, weights: dict[str, Any]) -> None:
        self.model.load_state_dict(weights["model"])
        self.loss_module.load_state_dict(weights["loss"])

    # --- the run folder

    def open_run(self, settings: dict[str, Any], resume: bool) -> _State:
        """Begin a run, or go on with the one in the folder."""
        seed_everything(self.seed + 7919 * self.processes.rank)
        self.settings = json.dumps(settings, indent=2, sort_keys=True)
        path = self.run_dir / CHECKPOINT
        state = self.load_checkpoint(path) if resume and path.exists() else _State()
        if self.processes.main:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            if state.total == 0:
                path.unlink(missing_ok=True)
            _write(self.run_dir / "config.json", (self.settings + "\n").encode())
            self.write_metrics(state)
        self.processes.wait()
        return state

    def load_checkpoint(self, path: Path) -> _State:
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            state = _State(**saved["state"])
        except Exception as error:
            raise TrainingError(f"{path} is damaged or from another version: delete it to begin this run again") from error
        if saved["settings"] != self.settings:
            changed = _differences(json.loads(saved["settings"]), json.loads(self.settings))
            raise TrainingError(f"{self.run_dir} holds a run with other settings ({changed}): use them, or another folder")
        if len(saved["random"]) != self.processes.world:
            raise TrainingError(
                f"{self.run_dir} was trained by {len(saved['random'])} processes and this is a run of {self.processes.world}: "
                "start as many"
            )
        self.load_weights(saved)
        self.pending_optimizer = saved["optimizer"]
        _set_random_state(saved["random"][self.processes.rank])
        return state

    def save_checkpoint(self, state: _State) -> None:
        random_states = self.processes.gather(_random_state())
        if not self.processes.main:
            return
        checkpoint = {"settings": self.settings, "state": dict(vars(state)), "random": random_states, **self.weights()}
        checkpoint["optimizer"] = self.optimizer.state_dict()
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        _write(self.run_dir / CHECKPOINT, buffer.getbuffer())

    def save_weights(self, name: str, stage: Stage, value: float) -> None:
        if self.processes.main:
            tensors = {key: tensor.contiguous() for key, tensor in self.weights()["model"].items()}
            notes = {"stage": stage.name, "precision": stage.precision.value, "validation": f"{value:.4f}"}
            _write(self.run_dir / name, safetensors.torch.save(tensors, notes))

    def log(self, row: dict[str, Any], state: _State) -> None:
        state.history.append(row)
        if self.processes.main:
            self.write_metrics(state)

    def write_metrics(self, state: _State) -> None:
        _write(self.run_dir / METRICS, "".join(json.dumps(row) + "\n" for row in state.history).encode())

    def draw(self, state: _State) -> None:
        if self.processes.main:
            _write(self.run_dir / "curves.png", curves_png(state.history))


def digest_of(module: nn.Module, salt: str = "") -> str:
    """Names a network by its weights."""
    h = hashlib.sha256(salt.encode())
    for name, tensor in module.state_dict().items():
        tensor = tensor.cpu()
        h.update(name.encode() + (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy().tobytes())
    return h.hexdigest()[:16]


def seed_everything(seed: int) -> None:
    """Seed the random generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _random_state() -> dict[str, Any]:
    """The state of all generators, in types that torch.load takes with weights_only=True."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    version, words, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
        "python": [version, torch.tensor(words), spare],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    version, words, spare = state["python"]
    random.setstate((version, tuple(words.tolist()), spare))


def _write(path: Path, content: bytes | memoryview) -> None:
    """Write the whole file or nothing."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(f"cannot write {path}: {error.strerror}; make room there and run again to resume") from error


def _plain(value: Any) -> Any:
    """The same in types that JSON has."""
    if isinstance(value, Stage):
        return _plain(asdict(value))
    if isinstance(value, Precision):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, bool | int | float | str | type(None)) else str(value)


def _differences(old: Any, new: Any, where: str = "") -> str:
    """What differs between two JSON values, as "a.b: 1 -> 2, ..."."""
    if isinstance(old, list) and isinstance(new, list):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        parts = (_differences(old.get(k), new.get(k), f"{where}.{k}".lstrip(".")) for k in {**old, **new})
        return ", ".join(part for part in parts if part)
    return "" if old == new else f"{where}: {old!r} -> {new!r}"
