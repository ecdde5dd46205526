"""How far chance alone may have moved a figure."""

import math
import statistics
from collections.abc import Sequence

T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # 97.5 % quantile of Student's t, for two values and more


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, 1927), in percent. Raises ValueError where n is 0."""
    if n < 1:
        raise ValueError("nothing to evaluate: an interval needs at least one")
    p = successes / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (100 * (centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return max(0.0, low), min(100.0, high)


def rate_interval(events: int, exposure: float) -> tuple[float, float]:
    """95 % interval of a rate from `events` seen in `exposure` hours (Garwood, 1936): events an hour. Where none was seen, all
    5 % are above: in one hour, fewer than 3.0. Raises ValueError where there is no exposure."""
    if events < 0 or not exposure > 0:
        raise ValueError(f"{events} events in {exposure} hours: an interval needs at least none in more than none")

    def mean_where(n: int, wanted: float) -> float:
        """The mean of a Poisson distribution that puts the share `wanted` on at most n; it falls as the mean rises."""
        low, high = 0.0, 20.0 + 2 * n + 10 * math.sqrt(n)
        for _ in range(60):
            mean = (low + high) / 2
            share = sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(n + 1))
            low, high = (mean, high) if share > wanted else (low, mean)
        return low / exposure

    return (mean_where(events - 1, 0.975), mean_where(events, 0.025)) if events else (0.0, mean_where(0, 0.05))


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of two values or more, and half of its 95 % interval by Student's t; for many values it is a little too wide."""
    half = T95[min(len(values), len(T95) + 1) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), half
