"""The front end against its definition in floating point; the graph's operations are tested in test_graph.py."""

import numpy as np
import pytest

from export.format import FrontEnd
from export.reference import SINE, WINDOW, golden_input, log_mel, mel_shares, power_spectrum
from tests.export.strategies import tiny_model

FRONT_END = FrontEnd(np.linspace(32, 3900, 42).astype(int).tolist())


def test_tables_are_within_two_units_of_their_functions():
    n = np.arange(512)
    assert abs(SINE - 2**14 * np.sin(np.pi * n / 256)).max() < 1.1
    assert abs(WINDOW - 2**15 * np.sin(np.pi * n / 512) ** 2).max() < 6


@pytest.mark.parametrize("level", [3, 100, 3000, 12000])
def test_spectrum_follows_the_real_one_over_the_whole_dynamic_range(level):
    x = np.round(np.random.default_rng(0).normal(size=(20, 513)) * level).clip(-32768, 32767).astype(np.int64)
    power, exponent = power_spectrum(x)
    y = (32 * x[:, 1:] - 31 * x[:, :-1]) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512))
    real = np.abs(np.fft.rfft(y, axis=1)) ** 2
    loud = real[:, 1:256] > real.max(1, keepdims=True) * 1e-4
    octaves = np.log2(np.maximum(power[:, 1:256], 0.5)) + exponent[:, None] + 12 - np.log2(real[:, 1:256])
    assert abs(octaves[loud]).max() < 1 and octaves[loud].std() < 0.05


def test_a_louder_tone_moves_its_band_by_eight_steps_an_octave_of_power():
    t = np.arange(16000) / 16000
    quiet, loud = (log_mel((a * np.sin(2 * np.pi * 1000 * t)).astype(np.int16), FRONT_END)[10] for a in (1000, 2000))
    band = quiet.argmax()
    assert band == loud.argmax() and abs(int(loud[band]) - int(quiet[band]) - 16) <= 1


def test_silence_is_the_floor_and_full_scale_does_not_wrap():
    assert (log_mel(np.zeros(3200, np.int16), FRONT_END) == -128).all()
    square = np.where(np.arange(3200) // 8 % 2, 32767, -32768).astype(np.int16)
    assert log_mel(square, FRONT_END)[5].max() > 60


def test_shares_of_neighbouring_bands_add_up():
    segment, share = mel_shares(FRONT_END)
    assert share.min() >= 0 and share.max() <= 15
    assert segment.max() == FRONT_END.bands and (segment[:2] == -1).all()


def test_a_frame_depends_on_its_past_alone():
    x = np.random.default_rng(1).integers(-9000, 9000, 4800).astype(np.int16)
    assert (log_mel(x, FRONT_END)[:7] == log_mel(x[: 7 * 320], FRONT_END)).all()


def test_other_types_than_int16_are_refused():
    with pytest.raises(ValueError, match="int16"):
        log_mel(np.zeros(640), FRONT_END)


def test_golden_noise_is_xorshift32():
    s, out = 0x5EED, []
    for _ in range(4):
        s ^= s << 13 & 0xFFFFFFFF
        s ^= s >> 17
        s ^= s << 5 & 0xFFFFFFFF
        out.append((s >> 24) - 128)
    assert golden_input(tiny_model().ops[0], 0x5EED, 1)[0].tolist() == out
