"""A data set of tones, small and quick to learn: each label is a pitch, each speaker a loudness."""

from pathlib import Path

import numpy as np
import soundfile

LABELS = {"low": 300.0, "middle": 1000.0, "high": 3000.0}


def write_tones(root: Path, speakers: int = 20, seed: int = 0) -> Path:
    """Write label/SPEAKER_0.wav for every label and speaker, and a manifest that splits by speaker 60/20/20."""
    rng = np.random.default_rng(seed)
    t, rows = np.arange(16000) / 16000, ["path,label,speaker,split"]
    for s in range(speakers):
        split = "train" if s < 0.6 * speakers else "val" if s < 0.8 * speakers else "test"
        for label, pitch in LABELS.items():
            tone = rng.uniform(1000, 8000) * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * t + rng.uniform(0, 6))
            samples = (tone + rng.normal(size=16000) * 200).astype(np.int16)
            path = root / label / f"s{s}_0.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, 16000)
            rows.append(f"{label}/{path.name},{label},s{s},{split}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root


TINY = [
    "seconds=1.0",
    "variants=3",
    "batch_size=12",
    "float_epochs=4",
    "activation_epochs=2",
    "binary_epochs=8",
    "label_smoothing=0.0",
    "learning_rate=0.01",
    "model.channels=32",
    "model.blocks=2",
    "teacher.size=tiny",
    "teacher.epochs=2",
]
