"""Audio files in, 16 kHz mono int16 out.

    samples = read_audio("yes/anna_1.wav")      # (sample,) int16
    one_second = fit_length(samples, 16000)
"""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16000
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
MAX_SECONDS = 3600
MIN_RATE_HZ, MAX_RATE_HZ = 4000, 384000
MAX_CHANNELS = 32


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and says what to do."""


def read_audio(
    path: str | os.PathLike[str], rate_hz: int = RATE_HZ, start_s: float = 0.0, seconds: float | None = None
) -> np.ndarray:
    """Read a sound file, or `seconds` of it from `start_s` on, as mono int16 at `rate_hz`.

    Any sample rate, channel count and sample format that libsndfile reads; channels are averaged.
    Returns an array of shape (sample,). Raises AudioError naming the file.
    """
    path = Path(path)
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"{path}: wanted at {rate_hz} Hz, possible are {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    try:
        with soundfile.SoundFile(path) as file:
            _check_header(path, file)
            start = min(round(start_s * file.samplerate), file.frames)
            count = -1 if seconds is None else round(seconds * file.samplerate)
            file.seek(start)
            exact = file.subtype == "PCM_16" and file.channels == 1 and file.samplerate == rate_hz
            samples = file.read(count, dtype="int16" if exact else "float32")
            found_hz = file.samplerate
    except (OSError, RuntimeError, TypeError) as error:  # soundfile's own error is a RuntimeError
        raise AudioError(_unreadable(path, error)) from None
    if len(samples) == 0:
        raise AudioError(f"{path}: holds no samples; remove the file or record it again")
    if exact:
        return samples
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; remove the file or export it again as 16-bit WAV")
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    return to_int16(resample(samples, found_hz, rate_hz))


def _check_header(path: Path, file: soundfile.SoundFile) -> None:
    # Checked before anything is allocated: a damaged header may claim terabytes.
    if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
        raise AudioError(f"{path}: sample rate {file.samplerate} Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    if file.channels > MAX_CHANNELS:
        raise AudioError(f"{path}: {file.channels} channels, at most {MAX_CHANNELS} are read")
    if file.frames > MAX_SECONDS * file.samplerate:
        seconds = file.frames / file.samplerate
        raise AudioError(f"{path}: {seconds:.0f} s long, at most {MAX_SECONDS} s are read; cut it into shorter files")


def _unreadable(path: Path, error: Exception) -> str:
    if not path.exists():
        return f"{path}: no such file"
    if path.is_dir():
        return f"{path}: is a folder, an audio file is needed"
    if path.stat().st_size == 0:
        return f"{path}: the file is empty; remove it or record it again"
    with path.open("rb") as file:
        head = file.read(256)
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"{path}: is text, not audio; remove it or convert the recording to WAV, FLAC or OGG"
    detail = str(error).rpartition(": ")[2].rstrip(".")
    return f"{path}: cannot be read as audio ({detail}); remove it or convert it to 16-bit WAV"


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Band-limited change of the sample rate (Smith and Gossett, 1984, through torchaudio). (sample,) float32."""
    if from_hz == to_hz:
        return samples
    import torch  # torch takes seconds to import, and most files need no resampling
    from torchaudio.functional import resample as torchaudio_resample

    # An odd ratio such as 44101 to 16000 would need a filter of gigabytes; the nearest small ratio is off by 1e-6.
    ratio = Fraction(to_hz, from_hz).limit_denominator(1000)
    mono = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    return torchaudio_resample(mono, ratio.denominator, ratio.numerator).numpy()


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Floating samples in [-1, 1) to int16, rounded and saturated. Any shape."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def fit_length(samples: np.ndarray, n: int) -> np.ndarray:
    """Pad with zeros or crop on both sides alike, so that (sample,) becomes (n,)."""
    excess = len(samples) - n
    if excess >= 0:
        return samples[excess // 2 : excess // 2 + n]
    left = -excess // 2
    return np.pad(samples, (left, -excess - left))
