"""Curves as inline SVG that takes its colours from the page: light, dark and on paper alike.

Panels are 420 units wide, so that their letters can be read on a phone and side by side on a desk.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from kws.page import Html, tag

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 22, 36
_DASHES = (None, "7 3", "2 3", "9 3 2 3")  # beside colours, for those who cannot tell these apart


@dataclass(frozen=True)
class Axis:
    """From a value to a place, and which values are named."""

    at: Callable[[float], float]
    ticks: list[tuple[float, str]]


def training_curves(history: list[dict], key: str, title: str, teacher: float | None = None) -> Html:
    """One column of metrics.jsonl over the epochs, a shade a stage; `teacher` is a line across.

    The lowest 5 % of validation, which are the first epochs, are left out: else they would press the others flat.
    """
    values = [float(row[key]) for row in history]
    finite = [v for v in values if math.isfinite(v)] or [0.0]  # rows there are always, figures not
    low = float(np.percentile(finite, 5)) if key == "val" else min(finite)
    x = linear(1, max(2, len(values)), LEFT, WIDTH - RIGHT, tight=True)
    y = linear(low, max([*finite, low if teacher is None else teacher]), HEIGHT - BOTTOM, TOP)
    parts, begin = [], 0
    for i, (stage, rows) in enumerate(groupby(row["stage"] for row in history)):
        end = begin + len(list(rows))
        a, b = x.at(max(1, begin + 0.5)), x.at(min(len(values), end + 0.5))
        if i % 2:
            parts.append(tag("rect", x=_n(a), y=TOP, width=_n(b - a), height=HEIGHT - BOTTOM - TOP, class_="band"))
        parts.append(tag("text", stage, x=_n((a + b) / 2), y=HEIGHT - 4, text_anchor="middle"))
        begin = end
    parts += frame(x, y, "", f"{title}, by epoch")
    if teacher is not None and teacher >= y.ticks[0][0]:
        parts.append(tag("path", d=f"M{LEFT} {_n(y.at(teacher))}H{WIDTH - RIGHT}", class_="ghost"))
        parts.append(tag("text", f"teacher, {teacher:.1f}", x=LEFT + 4, y=_n(y.at(teacher) - 5)))
    line = [(x.at(i + 1), y.at(v)) for i, v in enumerate(values) if v >= low]
    parts.append(tag("path", d=path(line), class_="curve", style="stroke:var(--s0)"))
    return svg(parts, f"{title} over {len(values)} epochs: {values[0]:.3g} after the first, {values[-1]:.3g} after the last")


@dataclass(frozen=True)
class Detection:
    """How one word was found in recordings: its DET curve (false accepts an hour, misses in percent), and the point on it that
    the threshold gives, with intervals. `n`: how often the word was spoken."""

    word: str
    n: int
    curve: list[tuple[float, float]]
    point: tuple[float, float]
    rate_interval: tuple[float, float]
    miss_interval: tuple[float, float]
    threshold: int | None = None


def det(words: Sequence[Detection], hours: float) -> Html:
    """Detection error tradeoff (Martin et al., 1997): misses against false accepts an hour, the latter in powers of ten.

    None at all, which such a scale has no place for, stands at its left end.
    """
    rates = [rate for word in words for rate, _ in [*word.curve, word.point] if rate > 0] or [1.0]
    low = math.floor(math.log10(min(rates)))
    high = min(max(math.ceil(math.log10(max(rates))), low + 1), low + 4)
    x = logarithmic(low, high, LEFT + 40, WIDTH - RIGHT)
    roof, bottom = 10.0**high, HEIGHT + 40
    curves = [best_of(word.curve, roof) for word in words]
    tall = [miss for curve in curves for _, miss in curve] + [word.miss_interval[1] for word in words]
    y = linear(0, max([5.0, *tall]), bottom - BOTTOM, TOP)

    def place(rate: float) -> float:
        return LEFT + 10 if rate < 10.0**low else x.at(min(rate, roof))

    parts = frame(Axis(place, [(0.0, "none"), *x.ticks]), y, f"false accepts an hour (of {hours:.2g} hours)", "missed, %", bottom)
    for i, (word, curve) in enumerate(zip(words, curves, strict=True)):
        line = [(place(rate), y.at(miss)) for rate, miss in curve]
        stroke = f"stroke:var(--s{i % 4})"
        (cx, cy), (left, right) = (place(word.point[0]), y.at(word.point[1])), map(place, word.rate_interval)
        top, low_end = y.at(word.miss_interval[1]), y.at(word.miss_interval[0])
        cross = f"M{_n(left)} {_n(cy)}H{_n(right)}M{_n(cx)} {_n(top)}V{_n(low_end)}"
        parts += [
            tag("path", d=path(line, steps=True), class_="curve", style=stroke, stroke_dasharray=_DASHES[i % 4]),
            tag("path", d=cross, class_="cross", style=stroke),
            tag("circle", cx=_n(cx), cy=_n(cy), r=4.5, style=f"fill:var(--s{i % 4});stroke:var(--paper);stroke-width:1.5"),
        ]
    said = [f"{w.word}, {w.point[1]:.1f} % missed at {w.point[0]:.2g} false accepts an hour" for w in words]
    return svg(parts, "Misses against false accepts: " + "; ".join(said), bottom)


def key(i: int) -> Html:
    """The line of the i-th word, for a legend."""
    line = tag("path", d="M0 5H26", class_="curve", style=f"stroke:var(--s{i % 4})", stroke_dasharray=_DASHES[i % 4])
    return tag("svg", line, viewBox="0 0 26 10", aria_hidden="true")


def best_of(curve: Sequence[tuple[float, float]], roof: float) -> list[tuple[float, float]]:
    """The fewest misses that each rate up to `roof` allows: several thresholds may have one rate, none at all above all."""
    best: dict[float, float] = {}
    for rate, miss in sorted(curve):
        if rate <= roof:
            best[rate] = min(miss, *best.values()) if best else miss
    return list(best.items())


def waveform(samples: np.ndarray, bars: int = 96) -> Html:
    """The envelope of (sample,) int16, its loudest place as high as the picture."""
    parts = np.array_split(np.abs(samples.astype(np.int32)), min(bars, max(1, len(samples))))
    peaks = np.array([part.max(initial=0) for part in parts])
    tall = np.maximum(0.6, 15 * peaks / max(1, peaks.max()))
    d = "".join(f"M{3 * i + 1.5} {_n(16 - h)}V{_n(16 + h)}" for i, h in enumerate(tall))
    line = tag("path", d=d, stroke="currentColor", stroke_width=2, stroke_linecap="round")
    return tag("svg", line, viewBox=f"0 0 {3 * len(peaks)} 32", preserveAspectRatio="none", aria_hidden="true")


def mark() -> Html:
    """A sine and its sign."""
    points = [(2 + 50 * i / 40, 12 - 8 * math.sin(4 * math.pi * i / 40)) for i in range(41)]
    sine = tag("path", d=path(points), fill="none", stroke="currentColor", stroke_width=1.4, opacity=0.45)
    sign = "M2 12V4H14.5V20H27V4H39.5V20H52V12"
    square = tag("path", d=sign, fill="none", stroke="currentColor", stroke_width=2.2, stroke_linejoin="round")
    return tag("svg", sine, square, viewBox="0 0 54 24", aria_hidden="true")


# --- Parts of a panel


def linear(low: float, high: float, start: float, end: float, wanted: int = 5, tight: bool = False) -> Axis:
    """An axis that begins and ends at round values round `low` and `high`, or `tight` at those themselves."""
    span = (high - low) or max(abs(high), 1.0)
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    a, b = (low, high) if tight else (first * step, last * step)
    digits = max(0, -math.floor(math.log10(step)))
    ticks = [(i * step, f"{i * step:.{digits}f}") for i in range(first, last + 1) if not tight or low <= i * step <= high]
    return Axis(lambda v: start + (v - a) / (b - a) * (end - start), ticks)


def logarithmic(low: int, high: int, start: float, end: float) -> Axis:
    """An axis of powers of ten, from 10^low to 10^high."""
    ticks = [(10.0**i, f"{10.0**i:g}") for i in range(low, high + 1)]
    return Axis(lambda v: start + (math.log10(v) - low) / (high - low) * (end - start), ticks)


def frame(x: Axis, y: Axis, x_name: str, y_name: str, height: float = HEIGHT) -> list[Html]:
    """Lines across at the named values, and their names."""
    parts = []
    for value, name in y.ticks:
        at = _n(y.at(value))
        parts.append(tag("path", d=f"M{LEFT} {at}H{WIDTH - RIGHT}", class_="grid"))
        parts.append(tag("text", name, x=LEFT - 7, y=_n(y.at(value) + 3.5), text_anchor="end"))
    for value, name in x.ticks:
        parts.append(tag("text", name, x=_n(x.at(value)), y=height - BOTTOM + 15, text_anchor="middle"))
    parts.append(tag("text", x_name, x=WIDTH - RIGHT, y=height - 4, text_anchor="end"))
    parts.append(tag("text", y_name, x=0, y=11, class_="strong"))
    return parts


def path(points: Sequence[tuple[float, float]], steps: bool = False) -> str:
    """Points as an SVG path; `steps`: each value holds until the next one."""
    if not points:
        return "M0 0"
    d = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    d += [f"H{_n(px)}V{_n(py)}" if steps else f"L{_n(px)} {_n(py)}" for px, py in points[1:]]
    return "".join(d)


def svg(parts: list[Html], label: str, height: float = HEIGHT) -> Html:
    """A picture that says in words what it shows."""
    return tag("svg", parts, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=label)


def _n(value: float) -> str:
    """A coordinate, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")
