"""Any sound file comes in as 16 kHz mono int16, or with a message that names it."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from kws.audio import AudioError, fit_length, read_audio


def tone(rate_hz, seconds=0.5, hz=440.0, level=0.5):
    return level * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)


def loudest_hz(samples):
    return np.argmax(np.abs(np.fft.rfft(samples))) * 16000 / len(samples)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "suffix", "subtype"),
    [
        (44100, 2, ".wav", "PCM_U8"),
        (48000, 1, ".wav", "PCM_24"),
        (22050, 1, ".wav", "FLOAT"),
        (8000, 1, ".wav", "ULAW"),
        (44101, 1, ".wav", "PCM_16"),  # an odd ratio to 16 kHz
        (16000, 3, ".flac", "PCM_16"),
        (32000, 2, ".ogg", "VORBIS"),
    ],
)
def test_any_format_gives_the_same_tone(tmp_path, rate_hz, channels, suffix, subtype):
    path = tmp_path / f"tone{suffix}"
    soundfile.write(path, np.repeat(tone(rate_hz)[:, None], channels, axis=1), rate_hz, subtype=subtype)
    samples = read_audio(path)
    assert samples.dtype == np.int16 and samples.ndim == 1
    assert abs(len(samples) - 8000) <= 2
    assert abs(loudest_hz(samples) - 440) <= 2
    assert abs(np.abs(samples[1000:-1000]).max() / 16384 - 1) < 0.05


def test_16_bit_mono_at_16_khz_is_exact(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 1000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    assert np.array_equal(read_audio(tmp_path / "a.wav"), samples)


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([[8000, 0], [-8000, 4000]] * 100, dtype=np.int16), 16000)
    assert read_audio(tmp_path / "a.wav")[:2].tolist() == [4000, -2000]


def test_loud_floats_saturate(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([1.5, -1.5, 0.5]), 16000, subtype="FLOAT")
    assert read_audio(tmp_path / "a.wav").tolist() == [32767, -32768, 16384]


def test_a_part_is_read_alone(tmp_path):
    samples = np.arange(16000, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    assert np.array_equal(read_audio(tmp_path / "a.wav", start_s=0.25, seconds=0.5), samples[4000:12000])


@pytest.mark.parametrize("rate_hz", [1, 2**32 - 1])
def test_a_rate_that_no_microphone_has_is_refused(tmp_path, rate_hz):
    soundfile.write(tmp_path / "a.wav", np.ones(100, np.int16), 16000)
    with pytest.raises(AudioError, match=f"wanted at {rate_hz} Hz"):
        read_audio(tmp_path / "a.wav", rate_hz)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_by_name(tmp_path, bad):
    soundfile.write(tmp_path / "broken.wav", np.array([0.0, bad, 0.0]), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"broken\.wav.*NaN"):
        read_audio(tmp_path / "broken.wav")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"These are my notes about yes and no.\n", "is text, not audio"),
        (b"", "empty"),
        (b"RIFF\x00\x01\x02\x03 rubbish \xff\xfe", "cannot be read as audio"),
    ],
)
def test_what_is_no_audio_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "notes.wav").write_bytes(content)
    with pytest.raises(AudioError, match=rf"notes\.wav.*{message}"):
        read_audio(tmp_path / "notes.wav")


def test_no_samples_no_file_and_a_folder(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.int16), 16000)
    with pytest.raises(AudioError, match="no samples"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="no such file"):
        read_audio(tmp_path / "absent.wav")
    with pytest.raises(AudioError, match="folder"):
        read_audio(tmp_path)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 43), byte=st.integers(0, 255))
def test_a_damaged_header_never_breaks_the_reader(tmp_path_factory, position, byte):
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    soundfile.write(path, np.zeros(100, np.int16), 16000)
    content = bytearray(path.read_bytes())
    content[position] = byte
    path.write_bytes(content)
    try:
        assert read_audio(path).dtype == np.int16
    except AudioError as error:
        assert "damaged.wav" in str(error)


@given(length=st.integers(0, 50), n=st.integers(1, 50))
def test_fit_length_keeps_the_middle(length, n):
    samples = np.arange(1, length + 1, dtype=np.int16)
    fitted = fit_length(samples, n)
    assert fitted.shape == (n,) and fitted.dtype == np.int16
    kept = fitted[fitted > 0]
    assert len(kept) == min(length, n) and np.array_equal(kept, np.sort(kept))
    if length:
        middle = fitted[n // 2] or fitted[(n - 1) // 2]
        assert abs(int(middle) - (length + 1) / 2) <= 1
