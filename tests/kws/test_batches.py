"""Batches of kept features: what an epoch holds, in which order."""

import numpy as np
import torch

from kws.batches import Batches
from kws.cli import load_preset


def test_batches_are_every_clip_once_and_the_same_for_the_same_seed():
    config = load_preset("s", ["batch_size=4"])
    batches = Batches(np.zeros((2, 10, 50, 40), np.int8), np.arange(10), config)
    first, second = (list(batches(0, torch.Generator().manual_seed(3))) for _ in range(2))
    assert len(first) == batches.steps == 3
    assert sorted(torch.cat([b["targets"] for b in first]).tolist()) == list(range(10))
    assert all(torch.equal(a["features"], b["features"]) for a, b in zip(first, second, strict=True))


def test_an_epoch_draws_as_much_further_material_as_there_are_clips():
    batches = Batches(np.zeros((2, 30, 50, 40), np.int8), np.arange(30), load_preset("s", ["batch_size=4"]), extra=20)
    generator = torch.Generator().manual_seed(3)
    epochs = [torch.cat([b["targets"] for b in batches(i, generator)]).tolist() for i in range(2)]
    for targets in epochs:
        assert len(targets) == 20 and set(range(10)) < set(targets) and len(set(targets)) == 20
    assert set(epochs[0]) != set(epochs[1]) and batches.steps == 5
    few = Batches(np.zeros((2, 12, 50, 40), np.int8), np.arange(12), load_preset("s", ["batch_size=4"]), extra=2)
    assert sorted(torch.cat([b["targets"] for b in few(0, generator)]).tolist()) == list(range(12))


def test_clips_are_warped_where_the_recipe_says_so():
    features = np.random.default_rng(0).integers(-100, 100, (1, 10, 50, 40)).astype(np.int8)
    plain = ["batch_size=10", "time_masks=0", "band_masks=0"]
    as_made, warped = (
        next(iter(Batches(features, np.arange(10), load_preset("s", [*plain, *more]))(0, torch.Generator().manual_seed(3))))
        for more in (["time_warp=0", "band_warp=0"], ["time_warp=2", "band_warp=0.1"])
    )
    assert torch.equal(as_made["features"], torch.from_numpy(features)[0, as_made["targets"]])
    assert torch.equal(warped["targets"], as_made["targets"]) and warped["features"].dtype == torch.int8
    assert (warped["features"] != as_made["features"]).any(dim=(1, 2)).all()


def test_clips_get_other_noise_where_there_is_some():
    features = np.random.default_rng(0).integers(-100, 0, (1, 10, 50, 40)).astype(np.int8)
    batches = Batches(features, np.arange(10), load_preset("s", ["batch_size=10", "time_masks=0", "band_masks=0", "noise_mix=1"]))
    as_made = next(batches(0, torch.Generator().manual_seed(3)))["features"]
    batches.noise = torch.zeros(300, 40, dtype=torch.int8)
    noisy = next(batches(0, torch.Generator().manual_seed(3)))["features"]
    assert noisy.dtype == torch.int8 and (noisy >= as_made).all() and (noisy > as_made).any(dim=(1, 2)).all()


def test_batches_say_which_clips_were_synthesized_where_it_is_known():
    batches = Batches(np.zeros((2, 10, 50, 40), np.int8), np.arange(10), load_preset("s", ["batch_size=4"]))
    assert all("domain" not in batch for batch in batches(0, torch.Generator()))
    batches.domains = torch.arange(10) - 1
    assert all(torch.equal(batch["domain"], batch["targets"] - 1) for batch in batches(0, torch.Generator()))
