"""The standard tasks of Speech Commands, on a miniature copy of its layout made here."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import kws.speech_commands
from kws.cli import load_preset, open_training
from kws.data import GSC12, GSC12_WORDS, SILENCE, UNKNOWN, DataError, DataWarning, load_folder
from kws.speech_commands import download_speech_commands, download_test_set, open_task
from kws.train import train

OTHERS = ("backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy", "house", "learn",
          "marvin", "nine", "one", "seven", "sheila", "six", "three", "tree", "two", "visual", "wow", "zero")  # fmt: skip
SPEAKERS = [f"{i * 2654435761 % 2**32:08x}" for i in range(12)]  # 8 to train, 2 to validate, 2 to test
VAL, TEST = SPEAKERS[8:10], SPEAKERS[10:]


def write(path: Path, pitch: float, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(16000 * seconds)) / 16000
    soundfile.write(path, (4000 * np.sin(2 * np.pi * pitch * t)).astype(np.int16), 16000)


def miniature(root: Path) -> Path:
    """All 35 words by 12 speakers, the lists, the background; the official names throughout."""
    folder = root / "SpeechCommands" / "speech_commands_v0.02"
    for i, word in enumerate((*GSC12_WORDS, *OTHERS)):
        for speaker in SPEAKERS:
            write(folder / word / f"{speaker}_nohash_0.wav", 200 * 1.1**i, 0.3)
    for name in ("doing_the_dishes", "white_noise"):
        write(folder / "_background_noise_" / f"{name}.wav", 60, 20)
    for name, speakers in (("validation", VAL), ("testing", TEST)):
        lines = [f"{word}/{speaker}_nohash_0.wav\n" for word in (*GSC12_WORDS, *OTHERS) for speaker in speakers]
        (folder / f"{name}_list.txt").write_text("".join(lines))
    for name in ("README.md", "LICENSE"):
        (folder / name).write_text("text\n")
    return folder


def test_set(folder: Path) -> Path:
    """The separate test clips beside it: 12 folders, 3 clips in each."""
    out = folder.parent / "speech_commands_test_set_v0.02"
    for label in GSC12:
        for i in range(3):
            write(out / label / f"{i:08x}_nohash_0.wav", 300)
    return out


test_set.__test__ = False


def without_test_set(root: Path, out: Path) -> Path:
    """A copy of the miniature alone."""
    shutil.copytree(root / "SpeechCommands" / "speech_commands_v0.02", out / "SpeechCommands" / "speech_commands_v0.02")
    return out / "SpeechCommands" / "speech_commands_v0.02"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("gsc")
    test_set(miniature(root))
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path_factory.getbasetemp() / "gsc-cache"))


def refuse(*_, **__):
    raise OSError("no route to host")


def test_twelve_classes_have_the_shares_and_the_test_set_of_the_protocol(root):
    data = open_task(root, "gsc12")
    assert data.labels == list(GSC12)
    counts = data.counts()
    for split, words in (("train", 80), ("val", 20)):
        assert sum(counts[split][word] for word in GSC12_WORDS) == words
        assert counts[split][SILENCE] == counts[split][UNKNOWN] == words // 10
    assert set(counts["test"].values()) == {3}
    test = data.clips("test")
    assert {clip.path.parent.parent.name for clip in test} == {"speech_commands_test_set_v0.02"}
    names = {clip.path.name.split("_")[0] for clip in data.clips("val") if clip.label not in (SILENCE, UNKNOWN)}
    assert names == set(VAL)


def test_shares_are_rounded_up_as_in_the_published_counts(root, tmp_path):
    """3,703 clips of the ten words in validation go with 371 unknown ones and 371 of silence."""
    folder = without_test_set(root, tmp_path)
    listed = (folder / "validation_list.txt").read_text().splitlines()
    (folder / "validation_list.txt").write_text("\n".join(line for line in listed if line != f"yes/{VAL[0]}_nohash_0.wav") + "\n")
    counts = load_folder(tmp_path, "gsc12").counts()
    assert counts["val"][UNKNOWN] == counts["val"][SILENCE] == 2  # a tenth of 19
    assert counts["train"][UNKNOWN] == counts["train"][SILENCE] == 9  # a tenth of 81
    assert counts["test"][UNKNOWN] == 2 and counts["test"]["yes"] == 2  # from the list: there is no separate set here


def test_thirty_five_classes_follow_the_lists(root):
    data, noise, _ = open_training(load_preset("gsc35", []), root)
    assert noise == root / "SpeechCommands" / "speech_commands_v0.02"
    assert len(data.labels) == 35 and UNKNOWN not in data.labels
    assert [sum(part.values()) for part in data.counts().values()] == [35 * 8, 35 * 2, 35 * 2]


def test_the_preset_trains_and_evaluates_on_the_protocol(root, tmp_path):
    quick = ["float_epochs=1", "activation_epochs=0", "binary_epochs=1", "batch_size=32", "model.channels=32", "model.blocks=1"]
    config = load_preset("gsc12", [*quick, "teacher.size=tiny", "teacher.epochs=1"])
    dataset, noise, teacher = open_training(config, root)
    assert (noise / "_background_noise_").is_dir() and teacher is None
    result = train(dataset, tmp_path / "run", config, noise_dir=noise)
    assert result.integer.n == 24
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["speech_commands"] == "gsc12"
    assert not list((tmp_path / "run" / "teacher").glob("logits*")), "nothing is kept a variant"
    again = load_folder(root, result.integer.labels)  # as kws eval opens it, from the labels in the file
    assert again.counts() == dataset.counts()


def test_without_a_network_it_says_what_to_do(root, tmp_path, monkeypatch):
    monkeypatch.setattr("torchaudio.datasets.SPEECHCOMMANDS", refuse)
    with pytest.raises(DataError, match=r"no route to host.*speech_commands_v0\.02"):
        open_task(tmp_path, "gsc35")
    with pytest.raises(DataError, match=r"no route to host.*speech_commands_v0\.02"):
        download_speech_commands(tmp_path)
    monkeypatch.setattr(kws.speech_commands, "urlopen", refuse)
    folder = without_test_set(root, tmp_path)
    with pytest.warns(DataWarning, match="no route to host.*test_set_v0.02.*stand in"):
        assert sum(open_task(tmp_path, "gsc12").counts()["test"].values()) == 20 + 2 + 2
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_incomplete_folder_is_named(root, tmp_path):
    folder = without_test_set(root, tmp_path)
    (folder / "validation_list.txt").unlink()
    with pytest.raises(DataError, match="lacks"):
        open_task(tmp_path, "gsc35")
    (test_set(folder) / SILENCE / "00000000_nohash_0.wav").rename(tmp_path / "x.wav")
    for i in (1, 2):
        (folder.parent / "speech_commands_test_set_v0.02" / SILENCE / f"{i:08x}_nohash_0.wav").unlink()
    with pytest.raises(DataError, match=r"no recordings in folder '_silence_'"):
        load_folder(tmp_path, "gsc12")


class Response(io.BytesIO):
    headers: dict = {}


def archive(folder: Path, outside: bool = False) -> Response:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, ".")
        if outside:
            tar.addfile(tarfile.TarInfo("../evil.txt"), io.BytesIO())
    return Response(buffer.getvalue())


def test_the_separate_test_set_is_downloaded_whole_or_not_at_all(root, tmp_path, monkeypatch):
    source = root / "SpeechCommands" / "speech_commands_test_set_v0.02"
    folder = without_test_set(root, tmp_path)
    target = folder.parent / source.name
    whole = archive(source).getvalue()
    for broken in (Response(whole[: len(whole) // 2]), Response(whole[:-9]), Response(b"<html>"), archive(source, outside=True)):
        monkeypatch.setattr(kws.speech_commands, "urlopen", lambda *_, broken=broken, **__: broken)
        with pytest.raises(DataError, match="could not be downloaded"):
            download_test_set(target)
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    monkeypatch.setattr(kws.speech_commands, "urlopen", lambda *_, **__: Response(whole))
    assert sum(open_task(tmp_path, "gsc12").counts()["test"].values()) == 36
