"""Variation of training clips: time, loudness, rooms and noise on waveforms; masks and warps on features.

    noises = noise_bank("noise")
    varied = augment(samples, np.random.default_rng([seed, epoch, i]), noises)      # (sample,) int16
"""

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from kws.audio import RATE_HZ, AudioError, read_audio
from kws.data import SILENCE, DataError, background_spans, load_clips
from kws.frontend import MEL_HZ, band_hz, emphasis

KNOT_FRAMES = 8  # a syllable, about
MIX_DB = (-5.0, 20.0)
OCTAVE = 8  # in features: a doubling of power


@dataclass(frozen=True)
class AugmentConfig:
    """How far training clips are varied. Probabilities are from 0 to 1."""

    shift_ms: float = 100.0  # clips move by up to this much to either side; more cuts words off
    speed: float = 0.15  # played up to this share faster or slower, pitch with it (Ko et al., 2015)
    gain_db: float = 12.0  # louder or quieter by up to this much: distance to the microphone
    reverb_probability: float = 0.3  # share of clips placed into a made-up room
    reverb_min_ms: float = 50.0  # shortest reverberation time (decay by 60 dB)
    reverb_max_ms: float = 300.0  # longest; a furnished living room has 300 to 500 ms
    noise_probability: float = 0.5  # share of clips mixed with a noise recording (coloured noise where there is none)
    snr_min_db: float = 0.0  # loudest noise, against the clip's own power
    snr_max_db: float = 25.0  # quietest noise
    floor_probability: float = 0.9  # share of digitally silent clips that get a faint microphone hiss
    floor_min_db: float = -85.0  # level of that hiss against full scale
    floor_max_db: float = -50.0


@dataclass(frozen=True)
class MicrophoneConfig(AugmentConfig):
    """The same, and microphones and codecs between the voice and the network: what separates synthesized from recorded speech."""

    colour_probability: float = 0.7  # share of clips heard through a made-up microphone
    tilt_db: float = 4.0  # its response falls or rises by up to this much an octave
    ripple_db: float = 4.0  # standard deviation of its response about that, at some eight places
    low_cut_hz: float = 350.0  # it hears nothing below a corner of up to this ...
    high_cut_hz: float = 3200.0  # ... and nothing above one from this on
    clip_probability: float = 0.15  # share of those clips that saturate softly, and of those that passed a telephone's codec


def augment(
    samples: np.ndarray,
    rng: np.random.Generator,
    noises: Sequence[np.ndarray] = (),
    config: AugmentConfig | None = None,
) -> np.ndarray:
    """One varied copy of a 16 kHz clip, (sample,) int16 to (sample,) int16; the same `rng` state gives the same copy.

    Order as in the world: speech, room, noise of the place, microphone gain, saturation of the converter.
    """
    config = config or AugmentConfig()
    gated = _is_gated(samples)  # before interpolation smears the zeros
    signal = samples.astype(np.float32)
    signal -= signal.mean()
    signal = _shift_and_speed(signal, rng, config)
    if rng.random() < config.reverb_probability:
        signal = _reverberate(signal, rng, config)
    if rng.random() < config.noise_probability:
        signal = _mix_noise(signal, rng, noises, config)
    if gated and rng.random() < config.floor_probability:
        level_db = rng.uniform(config.floor_min_db, config.floor_max_db)
        signal = signal + coloured_noise(len(signal), rng) * np.float32(32768.0 * 10 ** (level_db / 20))
    if isinstance(config, MicrophoneConfig) and rng.random() < config.colour_probability:
        signal = _colour(signal, rng, config)
    signal = signal * np.float32(10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20))
    return np.clip(np.rint(signal), -32768, 32767).astype(np.int16)


def _is_gated(samples: np.ndarray) -> bool:
    """Whether a tenth of the clip is exactly zero, as noise gates and padding leave it."""
    return int(np.count_nonzero(samples)) < 0.9 * len(samples)


def _shift_and_speed(signal: np.ndarray, rng: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """Both at once: sample the clip at other points, about its centre. Outside the clip there is silence."""
    n = len(signal)
    rate = 1.0 + rng.uniform(-config.speed, config.speed)
    shift = rng.uniform(-config.shift_ms, config.shift_ms) * RATE_HZ / 1000
    points = (np.arange(n) - n / 2 - shift) * rate + n / 2
    return np.interp(points, np.arange(n), signal, left=0.0, right=0.0).astype(np.float32)


def _reverberate(signal: np.ndarray, rng: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """Convolve with a room response made of exponentially decaying noise behind the direct sound (Moorer, 1979)."""
    t60 = rng.uniform(config.reverb_min_ms, config.reverb_max_ms) * RATE_HZ / 1000  # samples
    n = max(2, int(0.7 * t60))  # beyond -42 dB nothing is heard
    decay = np.exp(np.arange(n, dtype=np.float32) * np.float32(-3 * math.log(10) / t60))
    room = rng.standard_normal(n, dtype=np.float32) * decay
    room *= np.float32(10 ** (-rng.uniform(0, 12) / 20)) / np.linalg.norm(room)  # direct to reverberant ratio
    room[0] = 1.0
    size = _fast_length(len(signal) + n)
    return np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(room, size), size)[: len(signal)].astype(np.float32)


def _colour(signal: np.ndarray, rng: np.random.Generator, config: MicrophoneConfig) -> np.ndarray:
    """Through a microphone with a response of its own, sometimes saturated, sometimes in 8 bits by the mu-law (ITU G.711)."""
    size = _fast_length(len(signal))
    octave = np.log2(np.maximum(np.arange(size // 2 + 1) * (RATE_HZ / size), 30.0) / 1000)  # about 1 kHz
    knots = np.linspace(-4, 3, 8)
    response_db = rng.uniform(-config.tilt_db, config.tilt_db) * octave.clip(-3, 3)
    response_db += np.interp(octave, knots, rng.normal(0, config.ripple_db, len(knots)))
    low, high = rng.uniform(30, config.low_cut_hz), rng.uniform(config.high_cut_hz, RATE_HZ / 2)
    response_db -= 12 * np.maximum(0, np.log2(low / 1000) - octave) + 24 * np.maximum(0, octave - np.log2(high / 1000))
    before = float(np.abs(signal).max()) or 1.0
    out = np.fft.irfft(np.fft.rfft(signal, size) * 10 ** (response_db / 20), size)[: len(signal)].astype(np.float32)
    out *= np.float32(before / (float(np.abs(out).max()) or 1.0))
    if rng.random() < config.clip_probability:
        drive = np.float32(rng.uniform(1, 4) / before)
        out = np.tanh(out * drive) / drive
    if rng.random() < config.clip_probability:
        full = np.float32(max(before, 1000.0))
        law = np.sign(out) * np.log1p(255 * np.minimum(1, np.abs(out) / full)) / np.log(256)
        law = np.rint(law * 127) / 127
        out = (np.sign(law) * np.expm1(np.abs(law) * np.log(256)) / 255 * full).astype(np.float32)
    return out


def _mix_noise(
    signal: np.ndarray, rng: np.random.Generator, noises: Sequence[np.ndarray], config: AugmentConfig
) -> np.ndarray:
    n = len(signal)
    noise = _excerpt(noises[int(rng.integers(len(noises)))], n, rng) if len(noises) else coloured_noise(n, rng)
    noise_rms = math.sqrt(float(np.dot(noise, noise)) / n)
    if noise_rms == 0.0:  # a silent stretch of the recording
        noise, noise_rms = coloured_noise(n, rng), 1.0
    # A word fills about a third of its clip: measure where it is loud, not over its silences.
    frames = signal[: n - n % 160].reshape(-1, 160) if n >= 160 else signal[None]
    powers = np.sort(np.einsum("fs,fs->f", frames, frames) / frames.shape[1])
    speech_rms = math.sqrt(float(powers[-max(1, len(powers) // 3) :].mean()))
    snr_db = rng.uniform(config.snr_min_db, config.snr_max_db)
    speech_rms = speech_rms or 32768.0 * 10 ** (config.floor_max_db / 20)  # silence stays faint
    return signal + noise * np.float32(speech_rms / noise_rms * 10 ** (-snr_db / 20))


def _excerpt(recording: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    if len(recording) < n:
        recording = np.tile(recording, -(-n // len(recording)))
    start = rng.integers(len(recording) - n + 1)
    noise = recording[start : start + n].astype(np.float32)
    return noise - noise.mean()


def coloured_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit power whose spectrum falls by 0 (white) to 6 dB (brown) an octave, drawn. (n,) float32."""
    size = _fast_length(n)
    bins = size // 2 + 1
    spectrum = rng.standard_normal((bins, 2), dtype=np.float32).view(np.complex64)[:, 0]
    slope = rng.uniform(0.0, 1.0)
    first = max(1, round(50 * size / RATE_HZ))  # flat below 50 Hz, or all power would lie there
    spectrum *= np.maximum(np.arange(bins, dtype=np.float32), first) ** np.float32(-slope)
    spectrum[0] = 0.0
    noise = np.fft.irfft(spectrum, size)[:n].astype(np.float32)
    return noise / np.float32(math.sqrt(float(np.dot(noise, noise)) / n) or 1.0)


def _fast_length(n: int) -> int:
    """The smallest length from n on with no prime factor above 5, for the FFT."""
    odd = [3**i * 5**j for i in range(4) for j in range(4)]
    return min(k << max(0, (-(-n // k) - 1).bit_length()) for k in odd)


def hearing(condition: str, split: str = "test") -> Callable[[np.ndarray, int], np.ndarray] | None:
    """What makes listening harder, for robustness figures: (samples (sample,) int16, a number of its own) to the same.

    "snr10:FOLDER": recordings of a folder's split as noise, 10 dB below the speech; "reverb": a made-up room that reverberates
    for 0.3 to 0.6 s; "gain-20": 20 dB quieter; "": nothing. Raises DataError for any other, or where there is no noise.
    """
    if not condition:
        return None
    match = re.fullmatch(r"snr(-?\d{1,2}):(.+)|(reverb)|gain(-?\d{1,2})", condition)
    if not match:
        raise DataError(f"condition '{condition}' is not known; write snr10:NOISE_FOLDER, reverb or gain-20")
    noises = noise_bank(match[2], split) if match[2] else []
    snr_db = float(match[1] or 0)
    config = AugmentConfig(reverb_min_ms=300, reverb_max_ms=600, snr_min_db=snr_db, snr_max_db=snr_db)

    def harder(samples: np.ndarray, number: int) -> np.ndarray:
        rng, signal = np.random.default_rng([11, number]), samples.astype(np.float32)
        if match[1]:
            signal = _mix_noise(signal, rng, noises, config)
        elif match[3]:
            signal = _reverberate(signal, rng, config)
        else:
            signal = signal * np.float32(10 ** (float(match[4]) / 20))
        return np.clip(np.rint(signal), -32768, 32767).astype(np.int16)

    return harder


def noise_bank(dataset_dir: str | os.PathLike[str], split: str = "train") -> list[np.ndarray]:
    """Noise recordings of one split, each (sample,) int16 at 16 kHz.

    Takes the `_silence_` clips of a folder that has such, a Speech Commands folder's `_background_noise_`
    (cut in time by split), or else every clip: then the folder holds noise alone. Raises DataError.
    """
    spans = [span for span in background_spans(dataset_dir) if span[1] == split and span[3] > span[2]]
    if spans:
        return [read_audio(path, RATE_HZ, a, b - a) for path, _, a, b in spans]
    clips = load_clips(dataset_dir)
    noise = [clip for clip in clips if clip.label == SILENCE] or clips
    chosen = [clip for clip in noise if clip.split == split]
    if not chosen:
        raise DataError(f"{dataset_dir}: no noise recordings in split '{split}'; add some or do without the folder")
    recordings = [read_audio(clip.path, RATE_HZ, clip.start_s, clip.seconds) for clip in chosen]
    if not any(recording.any() for recording in recordings):
        raise AudioError(f"{dataset_dir}: all {len(recordings)} noise recordings of '{split}' are digital silence")
    return recordings


def spec_augment(
    features: torch.Tensor,
    generator: torch.Generator,
    time_masks: int = 2,
    time_width: int = 10,
    frequency_masks: int = 2,
    frequency_width: int = 7,
    fill: float = -128,
) -> torch.Tensor:
    """Blank stretches of frames and of bands (Park et al., 2019). (batch, frame, band), same type out, input kept.

    Each mask is 0 to `time_width` frames or 0 to `frequency_width` bands wide, drawn for each clip alone;
    a width of 20 % of the frames is as far as short words bear.
    """
    batch, frames, bands = features.shape
    time = _stripes(batch, frames, time_masks, time_width, generator)
    frequency = _stripes(batch, bands, frequency_masks, frequency_width, generator)
    mask = time[:, :, None] | frequency[:, None, :]
    return features.masked_fill(mask.to(features.device), fill)


def _stripes(batch: int, size: int, count: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """(batch, size) bool: the union of `count` stripes."""
    draw = torch.rand(2, batch, count, 1, generator=generator, device=generator.device)
    widths = (draw[0] * (min(width, size) + 1)).floor()
    starts = (draw[1] * (size - widths + 1)).floor()
    at = torch.arange(size, device=generator.device)
    return ((at >= starts) & (at < starts + widths)).any(dim=1)


def warp(features: torch.Tensor, generator: torch.Generator, time: float, frequency: float) -> torch.Tensor:
    """The same words in another rhythm and from another throat. (batch, frame, band) of the front end, same type out, input kept.

    Rhythm: every KNOT_FRAMES a point of each clip is moved by some frames, normal with a standard deviation of `time`, and what
    lies between moves along (after Park et al., 2019). Throat: frequencies are scaled by up to `frequency` to either side, as the
    lengths of vocal tracts differ (Jaitly and Hinton, 2013). Beyond an edge stands what stands at the edge.
    """
    batch, frames, bands = features.shape
    draw = {"generator": generator, "device": generator.device}
    moved = time * torch.randn(batch, 1, frames // KNOT_FRAMES + 2, **draw)
    moved = F.interpolate(moved, size=frames, mode="linear", align_corners=True)[:, 0]
    at = torch.linspace(-1, 1, frames, device=moved.device) + moved * (2 / max(1, frames - 1))
    scale = 1 + frequency * (2 * torch.rand(batch, 1, **draw) - 1)
    centres = torch.tensor(band_hz()[1:-1], dtype=scale.dtype, device=scale.device)
    low, high = torch.log1p(centres[[0, -1]] / MEL_HZ)
    band = 2 * (torch.log1p(scale * centres / MEL_HZ) - low) / (high - low) - 1
    places = torch.stack([band[:, None].expand(-1, frames, -1), at[:, :, None].expand(-1, -1, bands)], 3).to(features.device)
    warped = F.grid_sample(features[:, None].float(), places, padding_mode="border", align_corners=True)[:, 0]
    return (warped if features.is_floating_point() else warped.round()).to(features.dtype)


def mix(features: torch.Tensor, generator: torch.Generator, noise: torch.Tensor, probability: float) -> torch.Tensor:
    """A share of the clips in other noise: (batch, frame, band) of the front end, same type out, input kept.

    noise: (frame, band) of recordings, of which each clip gets an excerpt. Powers add up, as if sound and noise had no phase
    in common (Moreno, Raj and Stern, 1996). MIX_DB are bounds of what the clip's loudest third is above the noise.
    """
    batch, frames, bands = features.shape
    draw = {"generator": generator, "device": generator.device}
    begin = torch.randint(max(1, len(noise) - frames + 1), (batch, 1), **draw)
    snr_db = MIX_DB[0] + (MIX_DB[1] - MIX_DB[0]) * torch.rand(batch, 1, **draw)
    share = (torch.rand(batch, 1, **draw) < probability) * 10 ** (-snr_db / 10)  # of the clip's power; none where not chosen
    begin, share = begin.to(features.device), share.to(features.device)
    at = (begin + torch.arange(frames, device=features.device)) % len(noise)
    clip, other = (torch.exp2(x.float() / OCTAVE) for x in (features, noise.to(features.device)[at]))
    as_heard = 1 / torch.from_numpy(emphasis()).to(clip)
    loudest = (clip @ as_heard).topk(max(1, frames // 3), 1)[0].mean(1, keepdim=True)
    gain = share * loudest / (other @ as_heard).mean(1, keepdim=True)
    mixed = (torch.log2(clip + gain[:, :, None] * other) * OCTAVE).clamp(-128, 127)
    return (mixed if features.is_floating_point() else mixed.round()).to(features.dtype)
