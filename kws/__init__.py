"""Spoken commands and wake words: clips, synthesis, augmentation, front end, models, metrics."""
