"""What one sees of a training: progress on standard error, how fast it goes, curves.

    with Display(enabled=True, epochs=60) as display: display.say("begins")
    pace = Pace()
    for batch in pace.over(batches): ...
"""

import io
import itertools
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bnn.recording import tensors_of
from bnn.stages import Stage


class Pace:
    """How fast a stage goes: examples of this process a second, and the share of its time in which it waits for them."""

    def __init__(self) -> None:
        self.examples, self.seconds, self.waited = 0, 0.0, 0.0
        self._last, self._began = (0, 0.0), 0.0  # where the present epoch began

    def over(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches, timed: one epoch, which `row` ends."""
        self._last, self._began = (self.examples, self.waited), time.perf_counter()
        mark = self._began
        for batch in batches:
            self.waited += time.perf_counter() - mark
            self.examples += len(tensors_of(batch)[0])
            yield batch
            mark = time.perf_counter()

    def row(self) -> dict[str, float]:
        """Examples a second and share of waiting in the epoch that ends now: a GPU computes on after the last batch is sent."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        self.seconds += seconds
        examples, waited = self.examples - self._last[0], self.waited - self._last[1]
        return {"examples_per_second": round(examples / seconds, 1), "waiting": round(waited / seconds, 4)}


class Display:
    """Progress on standard error: a bar within the epoch where that is a terminal, a line an epoch everywhere."""

    def __init__(self, enabled: bool, epochs: int) -> None:
        self.enabled, self.epochs, self.started, self.trained = enabled, epochs, time.perf_counter(), 0
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.live = enabled and self.console.is_terminal
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not self.live, refresh_per_second=2)
        self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def step(self, stage: Stage, epoch: int, step: int, steps: int | None) -> None:
        if self.live:
            text = f"{stage.name} {epoch}/{stage.epochs}"
            self.bar.update(self.task, description=text, completed=step, total=steps)

    def epoch_done(self, stage: Stage, row: dict[str, Any], best: float, total: int) -> None:
        self.trained += 1
        left = (time.perf_counter() - self.started) / self.trained * (self.epochs - total)
        self.say(
            f"{stage.name} {row['epoch']}/{stage.epochs}  loss {row['loss']:.4f}  val {row['val']:.2f} "
            f"(best {best:.2f})  {row['seconds']:.1f} s  at most {left / 60:.0f} min left"
        )

    def stage_done(self, stage: Stage, pace: Pace) -> None:
        if pace.seconds:  # else all of it was trained before an interruption
            share, rate = 100 * pace.waited / pace.seconds, pace.examples / pace.seconds
            self.say(f"{stage.name}: {rate:,.0f} examples a second, {share:.1f} % of the time waiting for data")

    def say(self, text: str, always: bool = False) -> None:
        if self.enabled or always:
            self.console.print(text, markup=False)


def curves_png(history: list[dict[str, Any]]) -> bytes:
    """Loss and validation over the epochs as a PNG, one shade a stage; `history` is the rows of metrics.jsonl."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    epochs = range(1, len(history) + 1)
    upper.plot(epochs, [row["loss"] for row in history], color="tab:red")
    lower.plot(epochs, [row["val"] for row in history], color="tab:blue")
    upper.set_ylabel("training loss")
    lower.set(ylabel="validation", xlabel="epoch")
    begin = 0
    for i, (name, rows) in enumerate(itertools.groupby(history, key=lambda row: row["stage"])):
        end = begin + len(list(rows))
        for axes in (upper, lower):
            axes.axvspan(begin + 0.5, end + 0.5, color="0.5", alpha=0.2 if i % 2 else 0.08, linewidth=0)
        upper.text((begin + end + 1) / 2, 1.01, name, transform=upper.get_xaxis_transform(), ha="center", fontsize=8)
        begin = end
    png = io.BytesIO()
    canvas.print_png(png)
    return png.getvalue()
