"""Batches of one epoch for `bnn.training.fit`: from features made once and kept, or made anew by workers in every epoch.

    batches = Batches(features, targets, config, teacher_logits, extra=n)         # features: (variant, clip, frame, band)
    batches = FreshBatches(fresh, targets, config, extra=n)                       # fresh: kws.features.FreshFeatures

The last `extra` clips are further material: an epoch draws as many of them as there are others.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from kws.augment import mix, spec_augment, warp
from kws.embedding import SpeechEmbedding, tokens_of
from kws.features import FreshFeatures

MASK = 12  # the mean of log-mel over augmented speech: what SpecAugment puts into its stripes


class _Epochs:
    """What both kinds share: which clips an epoch has, and in which order.

    `domains` (clip,): whether each was synthesized, for losses.StudentLoss.hide_domains; `noise` (frame, band) to mix in.
    """

    def __init__(self, targets: np.ndarray, config, extra: int):
        self.targets, self.config = torch.from_numpy(targets), config
        self.domains: Tensor | None = None
        self.noise: Tensor | None = None
        self.own, self.extra = len(targets) - extra, extra
        self.drawn = min(self.own, extra)
        self.steps = -(-(self.own + self.drawn) // config.batch_size)

    def order(self, generator: torch.Generator) -> Tensor:
        order = torch.randperm(self.own, generator=generator)
        if self.drawn:
            further = self.own + torch.randperm(self.extra, generator=generator)[: self.drawn]
            order = torch.cat([order, further])[torch.randperm(self.own + self.drawn, generator=generator)]
        return order

    def known(self, picked: Tensor) -> dict[str, Tensor]:
        """What is known of clips besides their sound."""
        known = {"targets": self.targets[picked]}
        return known if self.domains is None else known | {"domain": self.domains[picked]}

    def varied(self, features: Tensor, generator: torch.Generator) -> Tensor:
        c = self.config
        if c.time_warp or c.band_warp:
            features = warp(features, generator, c.time_warp, c.band_warp)
        if self.noise is not None:
            features = mix(features, generator, self.noise, c.noise_mix)
        return spec_augment(features, generator, c.time_masks, c.time_width, c.band_masks, c.band_width, MASK)


class Batches(_Epochs):
    """Every clip once an epoch, in one of its variants, with masks.

    `logits`: the teacher's answers (variant, clip, label); `tokens`: what its ear heard (variant, clip, token, 96).
    """

    def __init__(
        self, features: np.ndarray, targets: np.ndarray, config, teacher_logits: np.ndarray | None = None, extra: int = 0
    ):
        super().__init__(targets, config, extra)
        self.features, self.logits = features, teacher_logits
        self.tokens: np.ndarray | None = None

    def __call__(self, epoch: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        order = self.order(generator)
        variant = torch.randint(self.features.shape[0], (len(order),), generator=generator)
        size = self.config.batch_size
        for v, picked in zip(variant.split(size), order.split(size), strict=True):
            v, i = v.numpy(), picked.numpy()
            masked = self.varied(torch.from_numpy(self.features[v, i]), generator)
            batch = {"features": masked, **self.known(picked)}
            if self.logits is not None:
                batch["teacher"] = torch.from_numpy(self.logits[v, i]).float()
            if self.tokens is not None:
                batch["tokens"] = torch.from_numpy(self.tokens[v, i])
            yield batch


class FreshBatches(_Epochs):
    """Every clip once an epoch, varied as never before, with masks; `plain` holds the features without, for a teacher.

    `audio`: batches also hold the `waveforms` that the features came from.
    """

    def __init__(self, features: FreshFeatures, targets: np.ndarray, config, extra: int = 0, audio: bool = False):
        super().__init__(targets, config, extra)
        self.features, self.audio = features, audio

    def __call__(self, epoch: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        return self.part(epoch, generator, 0, 1)

    def part(self, epoch: int, generator: torch.Generator, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """The batches of one of `world` processes: nobody computes another's."""
        parts = self.order(generator).split(self.config.batch_size)
        seeds = torch.randint(2**62, (len(parts),), generator=generator).tolist()
        mine = range(rank, len(parts) // world * world, world)
        made = self.features.batches(epoch, [parts[i].numpy() for i in mine], self.audio)
        for i, (features, waveforms) in zip(mine, made, strict=True):
            plain = torch.from_numpy(features)
            batch = {"features": self.varied(plain, torch.Generator().manual_seed(seeds[i])), "plain": plain}
            batch |= self.known(parts[i])
            if waveforms is not None:
                batch["waveforms"] = torch.from_numpy(waveforms)
            yield batch


class HeardBatches:
    """Fresh batches through an ear: `features` are its tokens (batch, token, 96)."""

    def __init__(self, batches: FreshBatches, ear: SpeechEmbedding):
        self.batches, self.ear, self.steps = batches, ear, batches.steps

    def __call__(self, epoch: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        return self.part(epoch, generator, 0, 1)

    def part(self, epoch: int, generator: torch.Generator, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """See FreshBatches."""
        for batch in self.batches.part(epoch, generator, rank, world):
            yield {"features": tokens_of(self.ear, batch["waveforms"]), "targets": batch["targets"]}
