"""Recording through a board: its source of sound is a WAV file that lies on it, all else is as with a microphone."""

import io
import wave

import numpy as np
import pytest

from device.capture import _Recorder, capture
from device.install import install
from device.link import Board, BoardError
from tests.device.board import emulated_board

SETTLE = 3840  # what is thrown away before each clip: a quarter of a second in whole pieces of 320 samples


def wav(samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.astype("<i2").tobytes())
    return out.getvalue()


def samples_of(path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.parametrize("line", ["source 16000", "source a b", "sent xyz", "sent "])
def test_a_damaged_line_of_the_board_is_a_sentence(line, tmp_path):
    with pytest.raises(BoardError, match="was damaged"):
        _Recorder(tmp_path, "me", print).line(line)


@pytest.fixture(scope="module")
def sound():
    return np.random.default_rng(3).integers(-2000, 2000, 16000).astype(np.int16)


@pytest.fixture(scope="module")
def board(sound):
    with emulated_board() as emulated:
        board = Board(emulated.port)
        install(board)
        board.copy({"/sound.wav": wav(sound), "/lib/loud.py": LOUD.encode()})
        yield board


LOUD = """
from signwave.mic import open as opened
def source(overruns=0):
    source = opened("/sound.wav")
    source.gain, source.overruns = 5, overruns
    return source
"""


def test_clips_are_the_sound_bit_by_bit(board, sound, tmp_path):
    said = []
    microphone, tell = "signwave.mic.open('/sound.wav')", lambda what, number: said.append((what, number))
    paths = capture(board, "yes", tmp_path, 0.2, 2, "ada", microphone, tell)
    assert paths == [tmp_path / "yes" / "ada_1.wav", tmp_path / "yes" / "ada_2.wav"]
    assert said == [("say", 1), ("said", 1), ("say", 2), ("said", 2)]
    for i, path in enumerate(paths):
        begin = SETTLE + i * (3200 + SETTLE)
        assert np.array_equal(samples_of(path), sound[begin : begin + 3200])
    again = capture(board, "yes", tmp_path, 0.1001, 1, "ada", microphone)
    assert again == [tmp_path / "yes" / "ada_3.wav"] and np.array_equal(samples_of(again[0]), sound[SETTLE : SETTLE + 1602])


def test_the_microphones_gain_is_applied_without_wrapping_around(board, sound, tmp_path):
    path = capture(board, "größer", tmp_path, 0.1, 1, microphone="__import__('loud').source()")[0]
    expected = np.clip(sound[SETTLE : SETTLE + 1600].astype(int) * 32, -32768, 32767)
    assert path.parent.name == "größer" and np.array_equal(samples_of(path), expected) and abs(expected).max() > 32000


def test_what_arrived_before_the_sound_ended_is_kept(board, tmp_path):
    with pytest.raises(BoardError, match="the sound ends"):
        capture(board, "no", tmp_path, 0.5, 2, microphone="signwave.mic.open('/sound.wav')")
    assert [path.name for path in tmp_path.rglob("*.wav")] == ["me_1.wav"]


def test_lost_samples_are_said(board, tmp_path):
    with pytest.raises(BoardError, match="3 hops were lost.*me_1.wav"):
        capture(board, "no", tmp_path, 0.1, 1, microphone="__import__('loud').source(3)")


def test_more_than_the_boards_ram_is_said(board, tmp_path):
    with pytest.raises(BoardError, match="not enough RAM"):
        capture(board, "no", tmp_path, 9, 1, microphone="signwave.mic.open('/sound.wav')")


def test_a_board_without_microphone_says_so(board, tmp_path):
    with pytest.raises(BoardError, match="no machine.I2S"):
        capture(board, "no", tmp_path, 0.1, 1)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "c:", "a\n"])
def test_labels_and_speakers_that_are_no_file_names_are_refused(name, tmp_path):
    for arguments in ({"label": name}, {"label": "yes", "speaker": name}):
        with pytest.raises(BoardError, match="cannot be part of a file's name"):
            capture(Board("none"), folder=tmp_path, **arguments)
    assert not list(tmp_path.iterdir())
