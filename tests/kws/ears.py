"""An ear of random weights, small and quick, of the shape of the published one."""

import torch

from kws.embedding import TOKEN_BANDS, SpeechEmbedding


def small_weights(channels: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    kernels = [(3, 3), *[(1, 3), (3, 1)] * 9, (3, 1)]
    for i, kernel in enumerate(kernels):
        shape = (TOKEN_BANDS if i == 19 else channels, channels if i else 1, *kernel)
        weights[f"convs.{i}.weight"] = torch.randn(shape, generator=generator) * (2 / (shape[1] * 3)) ** 0.5
        if i < 19:
            weights[f"convs.{i}.bias"] = torch.randn(shape[0], generator=generator) * 0.1
    return weights


def small_ear(seed: int = 0) -> SpeechEmbedding:
    return SpeechEmbedding(small_weights(seed=seed))
