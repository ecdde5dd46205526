"""Features made once and features made anew are the same functions of seed, variant or epoch, and clip."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from bnn.training import TrainingError
from kws.augment import AugmentConfig
from kws.batches import FreshBatches
from kws.cli import load_preset
from kws.features import FeatureSet, FreshFeatures
from kws.frontend import log_mel_front_end


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path / "cache"))


def inputs(clips=10):
    rng = np.random.default_rng(0)
    noises = [rng.integers(-500, 500, 20000).astype(np.int16)]
    return rng.integers(-9000, 9000, (clips, 8000)).astype(np.int16), log_mel_front_end(), noises, AugmentConfig()


def test_an_epoch_made_anew_is_the_variant_of_its_number():
    kept, fresh = FeatureSet.build(*inputs(), 3, 7), FreshFeatures(*inputs(), 7)
    picks = [np.array([3, 0, 9]), np.array([1, 1]), np.arange(10)]
    for epoch in (2, 0):
        (part, heard), = kept.waveforms(epoch)
        assert part == slice(0, 10)
        for pick, (features, waveforms) in zip(picks, fresh.batches(epoch, picks, audio=True), strict=True):
            assert np.array_equal(features, kept.features[epoch, pick])
            assert np.array_equal(waveforms, heard[pick])
    assert next(fresh.batches(1, picks))[1] is None
    assert np.array_equal(fresh.sample(4), kept.sample(4)) and len(fresh.sample(50)) == 10
    assert fresh.digest not in (FreshFeatures(*inputs(), 8).digest, kept.digest)


def test_fresh_batches_follow_from_the_seed_and_are_shared_out_whole():
    batches = FreshBatches(FreshFeatures(*inputs(11), 7), np.arange(11), load_preset("s", ["batch_size=2"]), extra=2)
    of = lambda rank, world, seed=3: list(batches.part(4, torch.Generator().manual_seed(seed), rank, world))  # noqa: E731
    whole = list(batches(4, torch.Generator().manual_seed(3)))
    assert len(whole) == batches.steps == 6
    targets = torch.cat([batch["targets"] for batch in whole]).tolist()
    assert len(targets) == 11 and set(targets) == set(range(11))
    shares = [of(0, 2), of(1, 2)]
    for i, batch in enumerate(whole):
        other = shares[i % 2][i // 2]
        assert all(torch.equal(batch[key], other[key]) for key in ("features", "plain", "targets"))
    assert any((batch["features"] != batch["plain"]).any() for batch in whole)
    assert not torch.equal(torch.cat([b["targets"] for b in of(0, 1, 5)]), torch.tensor(targets))


def test_an_epoch_left_early_leaves_nothing_behind():
    fresh = FreshFeatures(*inputs(), 7)
    for _ in range(3):
        next(fresh.batches(0, [np.arange(10)] * 50))
    assert len(list(fresh.batches(0, [np.arange(2)] * 3))) == 3


def test_a_worker_that_is_killed_is_told_of():
    fresh = FreshFeatures(*inputs(), 7)
    made = fresh.batches(0, [np.arange(10)] * 200)
    next(made)
    os.kill(next(iter(fresh._pool._processes)), signal.SIGKILL)
    with pytest.raises(TrainingError, match="worker"):
        list(made)
    assert len(list(fresh.batches(0, [np.arange(2)]))) == 1  # the next epoch has new ones


def build_and_sum(_) -> tuple[int, int]:
    features = FeatureSet.build(*inputs(40), 6, 1).features
    return int(features.astype(np.int64).sum()), int((features == 0).all((1, 2, 3)).sum())


def test_two_processes_that_want_the_same_features_do_not_disturb_each_other():
    """The second begins while the first is at it; both must find all variants whole."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        first, second = pool.map(build_and_sum, range(2))
    assert first == second and first[1] == 0
