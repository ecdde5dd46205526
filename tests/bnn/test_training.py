import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from bnn.layers import Precision
from bnn.processes import Processes
from bnn.stages import Stage
from bnn.training import Interrupted, TrainingError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))
import tiny  # noqa: E402


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


BINARY = Precision.BINARY


@pytest.mark.parametrize(
    ("precision", "estimator"), [*((p, "ste") for p in Precision), (BINARY, "quadratic"), (BINARY, "annealed")]
)
def test_a_temporal_xor_is_learned_in_every_precision(precision, estimator, tmp_path):
    annealing = (1.0, 20.0) if estimator == "annealed" else None
    stage = Stage("only", precision, 12, 1e-2, estimator_temperature=annealing)
    _, result = tiny.train(tmp_path, model=tiny.TinyNet(estimator=estimator), stages=[stage], batches=tiny.Batches(20))
    assert result.final > 95


@pytest.mark.parametrize("epoch", [0, 1, 2, 5])
def test_an_interrupted_run_resumes_to_the_same_bits(epoch, tmp_path):
    whole, expected = tiny.train(tmp_path / "whole")
    with pytest.raises(Interrupted, match=f"after {epoch} epochs"):
        tiny.train(tmp_path / "parts", batches=tiny.StopAfter(epoch, 4))
    resumed, result = tiny.train(tmp_path / "parts")
    assert same(whole, resumed)
    assert result.best == expected.best and result.final == expected.final
    rows = [[json.loads(line) for line in open(tmp_path / name / "metrics.jsonl")] for name in ("whole", "parts")]
    for row in rows[0] + rows[1]:
        del row["seconds"], row["examples_per_second"], row["waiting"]
    assert rows[0] == rows[1] and len(rows[0]) == 6


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    whole, _ = tiny.train(tmp_path / "whole")
    script = "import os, signal, tiny; from pathlib import Path\n" + (
        "class Killing(tiny.Batches):\n"
        "    def __call__(self, epoch, generator):\n"
        "        if epoch == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield from super().__call__(epoch, generator)\n"
        f"tiny.train(Path({str(tmp_path / 'parts')!r}), batches=Killing())\n"
    )
    assert run_python("-c", script).returncode == -9
    resumed, result = tiny.train(tmp_path / "parts")
    assert len(result.history) == 6 and same(whole, resumed)


def test_a_finished_run_returns_at_once(tmp_path):
    first, expected = tiny.train(tmp_path)

    def never(epoch, generator):
        raise AssertionError("trained again")

    second, result = tiny.train(tmp_path, batches=never)
    assert same(first, second) and result.final == expected.final


def test_interruption_prints_one_line_that_says_how_to_go_on(tmp_path, capfd):
    with pytest.raises(Interrupted):
        tiny.train(tmp_path, batches=tiny.StopAfter(1, 0))
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "resumes" in err


def test_the_run_folder_holds_config_metrics_weights_and_curves(tmp_path):
    model, result = tiny.train(tmp_path, config={"channels": 8})
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["config"] == {"channels": 8} and config["seed"] == 3
    assert [stage["precision"] for stage in config["stages"]] == ["32w32a", "32w1a", "1w1a"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in open(tmp_path / "metrics.jsonl")]
    assert set(rows[0]) == {"stage", "epoch", "loss", "val", "lr", "seconds", "examples_per_second", "waiting"}
    weights = load_file(result.weights)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    for name, precision in (("float", "32w32a"), ("activations", "32w1a"), ("binary", "1w1a")):
        with safe_open(tmp_path / f"{name}.safetensors", "pt") as file:
            assert file.metadata()["precision"] == precision
    assert not list(tmp_path.glob("*.part"))
    torch.load(tmp_path / "checkpoint.pt", weights_only=True)


def test_each_stage_keeps_its_own_best_epoch_and_hands_it_on(tmp_path):
    """The figures fall within every stage and from stage to stage: the first epoch of each must be chosen."""
    figures = iter([90, 80, 70, 60, 50, 40, 55])  # the last: with batch norm estimated again
    seen = []

    def falling(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return next(figures)

    model, result = tiny.train(tmp_path, validate=falling)
    assert result.best == {"float": 90, "activations": 70, "binary": 50} and result.final == 55
    for stage, epoch in (("float", 0), ("activations", 2)):
        weights = load_file(tmp_path / f"{stage}.safetensors")
        assert all(torch.equal(weights[name], tensor) for name, tensor in seen[epoch].items())
    assert all(torch.equal(p, seen[4][name]) for name, p in model.named_parameters())


class Figures:
    """A validation that gives these figures one by one; `seen` keeps the weights that each was given for."""

    def __init__(self, *figures):
        self.figures, self.seen = iter(figures), []

    def __call__(self, model):
        self.seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return next(self.figures)


def test_batch_norm_estimates_that_do_not_help_are_dropped(tmp_path):
    figures = Figures(50, 60, 40)
    model, result = tiny.train(tmp_path, stages=tiny.stages()[2:], validate=figures)
    assert result.final == 60
    assert all(torch.equal(tensor, figures.seen[1][name]) for name, tensor in model.state_dict().items())


def test_of_epochs_that_validate_alike_the_last_is_kept(tmp_path):
    figures = Figures(50, 60, 60, 55, 60, 55, 0)
    model, _ = tiny.train(tmp_path, stages=[replace(tiny.stages()[0], epochs=6)], validate=figures)
    assert all(torch.equal(tensor, figures.seen[4][name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("settled, best", [(0, 99), (0.6, 80), (1, 75)])
def test_epochs_before_a_stage_has_settled_do_not_compete(settled, best, tmp_path):
    figures = iter([50, 99, 70, 80, 75, 0])
    stages = [replace(tiny.stages()[0], epochs=5)]
    _, result = tiny.train(tmp_path, stages=stages, validate=lambda model: next(figures), settled=settled)
    assert result.best == {"float": best}


def test_stages_are_announced_and_latent_weights_stay_clipped(tmp_path):
    names = []
    stages = [Stage("binary", Precision.BINARY, 1, learning_rate=1.0, clip=0.5)]
    model, _ = tiny.train(tmp_path, stages=stages, on_stage=lambda stage: names.append(stage.name))
    assert names == ["binary"]
    assert max(layer.weight.abs().max() for layer in model.conv) == 0.5


def test_a_loss_that_is_a_module_learns_and_resumes(tmp_path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, model, batch):
            return nn.functional.cross_entropy(model(batch[0]) * self.scale, batch[1])

    whole, parts, again = Scaled(), Scaled(), Scaled()
    tiny.train(tmp_path / "whole", loss=whole)
    with pytest.raises(Interrupted):
        tiny.train(tmp_path / "parts", loss=parts, batches=tiny.StopAfter(3, 1))
    tiny.train(tmp_path / "parts", loss=again)
    assert not torch.equal(whole.scale, torch.ones(2)) and torch.equal(whole.scale, again.scale)


def test_mixed_precision_learns_and_keeps_weights_in_single_precision(tmp_path):
    model, result = tiny.train(tmp_path, amp="bf16")
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32, torch.int64}


def test_resuming_with_other_settings_is_refused_and_says_which(tmp_path):
    with pytest.raises(Interrupted):
        tiny.train(tmp_path, batches=tiny.StopAfter(1, 0), config={"channels": 8})
    with pytest.raises(TrainingError, match=r"config.channels: 8 -> 16.*another folder"):
        tiny.train(tmp_path, config={"channels": 16})
    _, result = tiny.train(tmp_path, config={"channels": 16}, resume=False)
    assert len(result.history) == 6


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="checkpoint.pt is damaged.*delete it"):
        tiny.train(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": lambda model, batch: tiny.loss(model, batch) * float("nan")}, "loss is nan; lower learning_rate"),
        ({"validate": lambda model: float("nan")}, "validate.* nan"),
        ({"batches": lambda epoch, generator: []}, "no batch"),
        ({"amp": "fp8"}, "'fp8'.*bf16"),
    ],
)
def test_trainings_that_cannot_go_on_say_why(changes, message, tmp_path):
    with pytest.raises(TrainingError, match=message):
        tiny.train(tmp_path, **changes)


def test_nothing_is_half_written_when_the_disk_is_full(tmp_path, monkeypatch):
    from bnn import training

    def full(self, content):
        with open(self, "wb") as file:
            file.write(bytes(content)[:10])
        raise OSError(28, "No space left on device")

    training._write(tmp_path / "file", b"old")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TrainingError, match="No space left"):
        training._write(tmp_path / "file", b"new content")
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=240)


def test_two_processes_train_as_one_and_resume_exactly(tmp_path):
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(Path(tiny.__file__))]
    done = run_python(*command, str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 2 and lines[0] == lines[1]  # both processes end with the same weights and figures
    found = json.loads(lines[0])
    assert found["sum"] == found["resumed_sum"] and found["final"] == found["resumed_final"]
    assert len((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()) == 3  # one of them wrote
    with pytest.raises(TrainingError, match="2 processes.*start as many"):
        tiny.train(tmp_path / "whole", stages=tiny.stages(1))


def test_processes_take_turns_and_equally_many_batches():
    one, two = (Processes("cpu") for _ in range(2))
    one.world = two.world = 2
    one.many = two.many = True
    two.rank = 1
    seven = lambda epoch, generator: range(7)  # noqa: E731
    assert list(one.share(seven, 0, None)) == [0, 2, 4] and list(two.share(seven, 0, None)) == [1, 3, 5]


def test_the_core_imports_no_other_room():
    for path in (ROOT / "bnn").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
            assert not {name.split(".")[0] for name in names} & {"kws", "textbnn", "export", "device", "signwave_cli"}, path
