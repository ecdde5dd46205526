"""Augmentation is deterministic, stays in range and does what its configuration says."""

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kws.augment import AugmentConfig, augment, coloured_noise, hearing, mix, noise_bank, spec_augment, warp
from kws.data import DataError
from kws.frontend import band_hz, extract, log_mel_front_end

STILL = AugmentConfig(
    shift_ms=0, speed=0, gain_db=0, reverb_probability=0, noise_probability=0, floor_probability=0
)  # fmt: skip


def speech(seed=0, n=16000):
    rng = np.random.default_rng(seed)
    return (3000 * rng.standard_normal(n) * np.hanning(n)).astype(np.int16)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_same_seed_gives_the_same_clip():
    noises = [speech(i, 40000) for i in (5, 6)]
    first = [augment(speech(), rng([7, i]), noises) for i in range(20)]
    again = [augment(speech(), rng([7, i]), noises) for i in range(20)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({a.tobytes() for a in first}) == 20


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.sampled_from([1, 2, 159, 160, 8000, 16000, 25600]), kind=st.integers(0, 4))
def test_any_clip_keeps_its_shape_and_type(seed, n, kind):
    samples = [np.zeros(n), np.full(n, 32767), np.full(n, -32768), speech(seed, n), np.tile([1, -1], n)[:n]][kind]
    noises = [[], [np.zeros(10, np.int16)], [speech(1, 100)]][seed % 3]
    out = augment(samples.astype(np.int16), rng(seed), noises)
    assert out.shape == (n,) and out.dtype == np.int16


def test_with_everything_off_only_the_offset_goes():
    samples = speech()
    out = augment(samples + np.int16(500), rng(), [], STILL)
    assert np.abs(out - (samples - samples.mean())).max() <= 1


def test_shift_and_speed_stay_within_their_limits():
    click = np.zeros(16000, np.int16)
    click[8000] = 30000
    config = AugmentConfig(**{**vars(STILL), "shift_ms": 100})
    places = [int(np.argmax(augment(click, rng(i), [], config))) for i in range(100)]
    assert 6400 <= min(places) < 7000 and 9000 < max(places) <= 9600
    two = np.zeros(16000, np.int16)
    two[4000:4010] = two[12000:12010] = 30000
    config = AugmentConfig(**{**vars(STILL), "speed": 0.15})
    spans = []
    for i in range(100):
        loud = np.flatnonzero(augment(two, rng(i), [], config) > 10000)
        spans.append(loud[-1] - loud[0])
    assert 8000 / 1.16 < min(spans) < 7300 and 8900 < max(spans) < 8000 / 0.84


def test_gain_saturates_instead_of_wrapping():
    loud = (30000 * np.sign(np.sin(np.arange(16000) / 20))).astype(np.int16)
    config = AugmentConfig(**{**vars(STILL), "gain_db": 12})
    for i in range(20):
        out = augment(loud, rng(i), [], config)
        assert np.array_equal(np.sign(out[loud != 0]), np.sign(loud[loud != 0]))


def test_noise_comes_at_the_drawn_ratio():
    samples = speech()
    config = AugmentConfig(**{**vars(STILL), "noise_probability": 1.0, "snr_min_db": 10, "snr_max_db": 10})
    for noises in ([speech(3, 50000)], []):
        noise = augment(samples, rng(1), noises, config).astype(float) - (samples - samples.mean())
        frames = np.sort((samples.astype(float).reshape(-1, 160) ** 2).mean(1))[-33:]
        assert 10 * np.log10(frames.mean() / (noise**2).mean()) == pytest.approx(10, abs=1.5)


def test_digital_silence_gets_a_faint_floor():
    config = AugmentConfig(**{**vars(STILL), "floor_probability": 1.0})
    outs = [augment(np.zeros(16000, np.int16), rng(i), [], config) for i in range(20)]
    assert any(out.any() for out in outs) and max(np.abs(out).max() for out in outs) < 1000
    gated = speech()
    gated[:8000] = 0
    assert augment(gated, rng(2), [], config)[:6000].any()


def test_rooms_add_a_decaying_tail():
    burst = np.zeros(16000, np.int16)
    burst[4000:4400] = 9000 * np.sign(np.sin(np.arange(400) * np.pi / 10 + 0.1))
    config = AugmentConfig(**{**vars(STILL), "reverb_probability": 1.0})
    out = augment(burst, rng(4), [], config).astype(float)
    early, late = (out[4400:5200] ** 2).mean(), (out[5200:6000] ** 2).mean()
    assert early > late and early > 100 and np.abs(out[:3990]).max() < 10


def test_coloured_noise_has_unit_power_at_any_length():
    for n in (2, 3, 1000, 16000, 16001):
        noise = coloured_noise(n, rng(n))
        assert noise.shape == (n,) and noise.dtype == np.float32
        assert (noise**2).mean() == pytest.approx(1, rel=1e-3)


def test_the_noise_bank_takes_one_split(tmp_path):
    (tmp_path / "rain").mkdir()
    for i in range(4):
        soundfile.write(tmp_path / "rain" / f"r{i}.wav", np.full(1600, 100 + i, np.int16), 16000)
    rows = [f"rain/r{i}.wav,rain,r{i},{'train' if i < 3 else 'test'}\n" for i in range(4)]
    (tmp_path / "manifest.csv").write_text("path,label,speaker,split\n" + "".join(rows))
    assert [recording[0] for recording in noise_bank(tmp_path)] == [100, 101, 102]
    assert [recording[0] for recording in noise_bank(tmp_path, "test")] == [103]
    with pytest.raises(DataError, match="no noise recordings in split 'val'"):
        noise_bank(tmp_path, "val")


def test_the_noise_bank_of_a_speech_folder_holds_no_speech(tmp_path):
    for label, value in (("yes", 1), ("_silence_", 2)):
        (tmp_path / label).mkdir()
        for i in range(5):
            soundfile.write(tmp_path / label / f"s{i}_0.wav", np.full(100, value, np.int16), 16000)
    assert {recording[0] for recording in noise_bank(tmp_path)} == {2}
    (tmp_path / "_background_noise_").mkdir()
    soundfile.write(tmp_path / "_background_noise_" / "hum.wav", np.full(16000, 3, np.int16), 16000)
    assert [(len(recording), recording[0]) for recording in noise_bank(tmp_path)] == [(12800, 3)]


def test_spec_augment_masks_stripes_and_keeps_its_input():
    features = torch.ones(200, 50, 40, dtype=torch.int8)
    out = spec_augment(features, torch.Generator().manual_seed(0), 1, 10, 1, 7)
    assert out.dtype == torch.int8 and (features == 1).all() and set(out.unique().tolist()) == {-128, 1}
    frames = (out == -128).all(2).sum(1)
    bands = (out == -128).all(1).sum(1)
    assert frames.min() == 0 and frames.max() == 10 and bands.min() == 0 and bands.max() == 7
    again = spec_augment(features, torch.Generator().manual_seed(0), 1, 10, 1, 7)
    assert torch.equal(out, again)
    assert spec_augment(features[:, :3, :2].float(), torch.Generator().manual_seed(0)).shape == (200, 3, 2)


def test_warp_scales_frequencies_and_bends_time_of_each_clip_alone():
    tone = torch.full((300, 60, 40), -100, dtype=torch.int8)
    tone[:, 30, 20] = 100  # a click of about 1.8 kHz
    hz = band_hz()[1:-1]
    scaled = warp(tone, torch.Generator().manual_seed(0), 0.0, 0.12)
    centre = (scaled.float() + 100)[:, 30] @ torch.from_numpy(hz).float() / (scaled.float() + 100)[:, 30].sum(1)
    assert scaled.dtype == torch.int8 and (tone[:, 30, 20] == 100).all()
    assert hz[20] * 0.86 < centre.min() < hz[20] * 0.92 and hz[20] * 1.08 < centre.max() < hz[20] * 1.14
    assert ((scaled > -100).any(2).sum(1) == 1).all()  # time stands still

    bent = warp(tone, torch.Generator().manual_seed(0), 2.0, 0.0)
    frames = (bent[:, :, 20] > -100).float()
    place = (frames * torch.arange(60)).sum(1) / frames.sum(1).clamp(min=1)
    assert ((bent > -100).sum(1) > 0).sum(1).max() == 1  # in its band alone
    assert 1.0 < place[frames.sum(1) > 0].std() < 2.5 and abs(place[frames.sum(1) > 0].mean() - 30) < 0.5


@pytest.mark.parametrize("dtype", [torch.int8, torch.float32])
def test_a_warp_of_nothing_changes_nothing_and_one_seed_gives_one_warp(dtype):
    features = torch.randint(-128, 128, (20, 50, 40), generator=torch.Generator().manual_seed(1)).to(dtype)
    assert torch.allclose(warp(features, torch.Generator().manual_seed(0), 0.0, 0.0).float(), features.float(), atol=1e-2)
    first, again, other = (warp(features, torch.Generator().manual_seed(seed), 2.0, 0.1) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other) and first.dtype == dtype
    assert first.float().min() >= -128 and first.float().max() <= 127  # between what was there


def test_features_in_noise_are_about_those_of_waveforms_in_noise(monkeypatch):
    rng = np.random.default_rng(0)
    words = np.zeros((32, 16000), np.int16)
    for word in words:
        word[4000:10000] = 2000 * coloured_noise(6000, rng)
    noise = (1000 * coloured_noise(160000, rng)).astype(np.int16)
    config = AugmentConfig(shift_ms=0, speed=0, gain_db=0, reverb_probability=0, floor_probability=0,
                           noise_probability=1, snr_min_db=10, snr_max_db=10)  # fmt: skip
    in_noise = np.stack([augment(word, rng, [noise], config) for word in words])
    plain, other, expected = (torch.from_numpy(extract(x, log_mel_front_end())) for x in (words, noise[None], in_noise))
    monkeypatch.setattr("kws.augment.MIX_DB", (10.0, 10.0))
    mixed = mix(plain, torch.Generator().manual_seed(0), other[0], 1.0)
    assert mixed.dtype == torch.int8
    difference = (mixed.float() - expected.float()).mean(0)  # in eighths of an octave; frame by frame, band by band
    assert abs(difference[2:].mean()) < 2.7 and difference[2:].abs().max() < 12  # a decibel, and what chance does to cells
    some, again = (mix(plain, torch.Generator().manual_seed(1), other[0], 0.5) for _ in range(2))
    assert 5 < (some == plain).all(2).all(1).sum() < 27 and torch.equal(some, again)


def test_hearing_can_be_made_harder_the_same_way_every_time(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "fan").mkdir()
    for i in range(6):
        soundfile.write(tmp_path / "fan" / f"f{i}_0.wav", (3000 * rng.standard_normal(16000)).astype(np.int16), 16000)
    speech = (8000 * np.sin(np.arange(16000) * 0.2)).astype(np.int16)
    assert hearing("") is None
    quiet = hearing("gain-20")(speech, 0)
    assert np.abs(quiet.astype(float) - speech / 10).max() <= 0.51
    noisy = hearing(f"snr10:{tmp_path}", "train")
    ratio_db = 10 * np.log10(np.var(speech.astype(float)) / np.var(noisy(speech, 3).astype(float) - speech))
    assert abs(ratio_db - 10) < 0.5 and np.array_equal(noisy(speech, 3), noisy(speech, 3))
    assert not np.array_equal(noisy(speech, 3), noisy(speech, 4))
    assert len(hearing("reverb")(speech, 0)) == 16000 and not np.array_equal(hearing("reverb")(speech, 0), speech)
    with pytest.raises(DataError, match="'loud' is not known; write snr10:NOISE_FOLDER"):
        hearing("loud")
