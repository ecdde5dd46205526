"""What a binary network is and how it learns. Knows nothing of audio or text.

    from bnn import BinaryConv1d, Precision, set_precision, fit, DEFAULT_STAGES

One noun a module: binarize, layers, fused (their blocks on a CPU), summary, distill, stages, training, processes and progress.
"""

from bnn.binarize import ESTIMATORS, RSign, SignAnnealed, set_temperature, sign_annealed, sign_quadratic, sign_ste
from bnn.distill import Distiller, FeatureMatcher, features_loss, logits_loss
from bnn.layers import (
    BinaryConv1d,
    BinaryConv1dStream,
    BinaryEmbeddingBag,
    BinaryLayer,
    BinaryLinear,
    Precision,
    RPReLU,
    UnclippedWeights,
    binary_layers,
    clip_latent,
    set_precision,
)
from bnn.stages import DEFAULT_STAGES, Stage, reestimate_batch_norm
from bnn.summary import Summary, summarize
from bnn.training import FitResult, Interrupted, TrainingError, fit, seed_everything

__all__ = [
    "DEFAULT_STAGES",
    "ESTIMATORS",
    "BinaryConv1d",
    "BinaryConv1dStream",
    "BinaryEmbeddingBag",
    "BinaryLayer",
    "BinaryLinear",
    "Distiller",
    "FeatureMatcher",
    "FitResult",
    "Interrupted",
    "Precision",
    "RPReLU",
    "RSign",
    "SignAnnealed",
    "Stage",
    "Summary",
    "TrainingError",
    "UnclippedWeights",
    "binary_layers",
    "clip_latent",
    "features_loss",
    "fit",
    "logits_loss",
    "reestimate_batch_norm",
    "seed_everything",
    "set_precision",
    "set_temperature",
    "sign_annealed",
    "sign_quadratic",
    "sign_ste",
    "summarize",
]
