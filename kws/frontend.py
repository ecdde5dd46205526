"""The integer log-mel front end of FORMAT.md, section 4: its shipped parameters, and features for training.

    front_end = log_mel_front_end()
    features = extract(waveforms, front_end)      # (clip, frame, band) int8, the board's own figures

Training uses the exact output of the C code that runs on the board.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from export import native
from export.format import FrontEnd

RATE_HZ, HOP, BANDS, FFT = 16000, 320, 40, 512
LOW_HZ, HIGH_HZ = 60.0, 7600.0
PRE_EMPHASIS = 31744 / 32768  # FORMAT.md, section 4
MEL_HZ = 700  # up to about here mel grows with the frequency, above with its logarithm (O'Shaughnessy, 1987)


def band_hz() -> np.ndarray:
    """Where bands begin, have their greatest weight and end, (BANDS + 2,): a band's neighbours' centres are its ends."""
    return MEL_HZ * np.expm1(np.linspace(*np.log1p(np.array([LOW_HZ, HIGH_HZ]) / MEL_HZ), BANDS + 2))


def emphasis() -> np.ndarray:
    """By how much the front end makes the power at each band's centre greater, (BANDS,): x[n] - PRE_EMPHASIS x[n - 1]."""
    angle = 2 * np.pi * band_hz()[1:-1] / RATE_HZ
    return 1 + PRE_EMPHASIS**2 - 2 * PRE_EMPHASIS * np.cos(angle)


def log_mel_front_end() -> FrontEnd:
    """16 kHz, 40 bands from 60 to 7,600 Hz, equally wide in mel, 50 frames a second."""
    return FrontEnd(np.round(band_hz() / (RATE_HZ / FFT) * 16).astype(int).tolist(), HOP, RATE_HZ)


def extract(waveforms: np.ndarray, front_end: FrontEnd) -> np.ndarray:
    """Features (clip, frame, band) int8 of waveforms (clip, sample) int16, each from the initial state."""
    core = native.FrontEnd(front_end.encode())
    parts = np.array_split(waveforms, min(len(waveforms), 4 * (os.cpu_count() or 1)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the C code runs without the interpreter's lock
        return np.concatenate(list(pool.map(core.log_mel_batch, parts)))
