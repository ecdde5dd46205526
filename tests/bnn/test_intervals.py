import numpy as np
import pytest

from bnn.intervals import rate_interval, wilson_interval


def test_interval_is_wilsons():
    assert wilson_interval(9, 10) == pytest.approx((59.58, 98.21), abs=0.01)  # worked example of the formula
    low, high = wilson_interval(0, 20)
    assert low == pytest.approx(0, abs=1e-9) and high == pytest.approx(16.1, abs=0.1)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        wilson_interval(0, 0)


def test_an_interval_covers_the_truth_about_95_times_in_100():
    inside = 0
    for hits in np.random.default_rng(1).binomial(300, 0.9, 400):
        low, high = wilson_interval(int(hits), 300)
        inside += low <= 90 <= high
    assert 0.91 <= inside / 400 <= 0.99


def test_interval_of_a_rate_is_garwoods():
    assert rate_interval(5, 1) == pytest.approx((1.6235, 11.6683), abs=1e-4)  # chi-square quantiles, halved
    assert rate_interval(40, 4) == pytest.approx((28.5766 / 4, 54.4686 / 4), abs=1e-4)
    assert rate_interval(0, 0.87) == pytest.approx((0, 3.4434), abs=1e-4)  # the rule of three: -ln 0.05 = 2.996
    for events, hours in ((-1, 1.0), (0, 0.0), (1, float("nan"))):
        with pytest.raises(ValueError, match="interval"):
            rate_interval(events, hours)


def test_an_interval_of_a_rate_covers_the_truth_at_least_95_times_in_100():
    inside = 0
    for events in np.random.default_rng(2).poisson(6.0, 400):
        low, high = rate_interval(int(events), 2.0)
        inside += low <= 3.0 <= high
    assert inside / 400 >= 0.94
