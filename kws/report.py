"""report.html in a run folder: curves, confusion matrix and layer table on one page that needs nothing else."""

import base64
import html
from pathlib import Path

import torch

from bnn.layers import Precision, set_precision
from bnn.summary import summarize
from export.cli import describe
from export.format import read, write_atomically
from kws.data import DataError, Dataset
from kws.evaluate import Evaluation, evaluate, save_json
from kws.synthesize import SYNTHESIZER
from kws.train import MODEL, load_run

_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#223}}
img{{max-width:100%}}pre{{overflow-x:auto;background:#f5f6f8;padding:1rem;font-size:13px}}</style>
<h1>{title}</h1>{body}"""


def write_report(run_dir: str | Path, dataset: Dataset, seconds: float) -> Path:
    """Evaluate a run's model file on validation and test, draw, and write report.html and results.json. Returns the page."""
    run_dir = Path(run_dir)
    model = read(run_dir / MODEL)
    results = {}
    for split in ("val", "test"):
        try:
            waveforms, targets = dataset.waveforms(split, seconds)
        except DataError:
            continue  # a data set without a test split is reported without one
        results[split] = evaluate(model, waveforms, targets)
        results[split].plot(
            run_dir / f"confusion-{split}.png", f"{split}: {results[split].accuracy:.1f} % of {results[split].n} clips, rows in %"
        )
    save_json(run_dir / "results.json", {split: e.as_dict() for split, e in results.items()})
    page = _PAGE.format(title=html.escape(f"Signwave: {model.metadata['name']}"), body=_body(run_dir, dataset, results, model))
    write_atomically(run_dir / "report.html", page.encode())
    return run_dir / "report.html"


def _body(run_dir: Path, dataset: Dataset, results: dict[str, Evaluation], model) -> str:
    net, _ = load_run(run_dir)
    set_precision(net, Precision.BINARY)
    front = model.front_end
    layers = summarize(net, torch.zeros(1, net.config.window, front.bands, dtype=torch.int8))
    facts = describe(model, (run_dir / MODEL).stat().st_size)
    parts = [f"<p><b>{html.escape(line)}</b></p>" for line in synthetic_notice(dataset)]
    parts.append(
        f"<p>{facts['file_bytes'] / 1024:.1f} KiB in the file, {facts['binary_macs_per_second'] / 1e6:.1f} million 1-bit "
        f"multiply-accumulates a second, {facts['graph_ram_bytes'] / 1024:.1f} KiB of state. "
        "All accuracy is that of the integer graph, the arithmetic that the board runs.</p>"
    )
    parts += [_picture(run_dir / "curves.png", "Training")]
    for split, result in results.items():
        parts += [
            _picture(run_dir / f"confusion-{split}.png", f"Confusion matrix, {split}"),
            f"<pre>{html.escape(str(result))}</pre>",
        ]
    parts.append(f"<h2>Layers</h2><pre>{html.escape(str(layers))}</pre>")
    return "\n".join(parts)


def synthetic_notice(dataset: Dataset) -> list[str]:
    """A warning where the manifest says that clips were spoken by a synthesizer."""
    manifest = dataset.root / "manifest.csv"
    if manifest.exists() and SYNTHESIZER in manifest.read_text(encoding="utf-8", errors="replace"):
        return [f"These figures are on synthetic speech ({SYNTHESIZER}): they say nothing yet about human voices."]
    return []


def _picture(path: Path, title: str) -> str:
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'
