"""Folders become labelled, speaker-disjoint data sets, or a message says what is wrong."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile

import kws.data
from kws.audio import AudioError
from kws.data import GSC12, DataError, DataWarning, load_clips, load_folder, which_set


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(path, value=1000, seconds=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(round(16000 * seconds), value, np.int16), 16000)


def fill(root, labels=("no", "yes"), speakers=20, takes=2):
    for label in labels:
        for speaker in range(speakers):
            for take in range(takes):
                write(root / label / f"s{speaker:03d}_{take}.wav", 100 + speaker)


def manifest(root, *rows, columns="path,label,speaker,split"):
    (root / "manifest.csv").write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def small(tmp_path):
    for name in ("a", "b", "c", "d", "e", "f"):
        write(tmp_path / "x" / f"{name}.wav")
    return tmp_path


GOOD = ["x/a.wav,no,s1,train", "x/b.wav,yes,s1,train", "x/c.wav,no,s2,val", "x/d.wav,yes,s2,val"]
GOOD += ["x/e.wav,no,s3,test", "x/f.wav,yes,s3,test"]


def test_folders_split_by_speaker(tmp_path):
    fill(tmp_path)
    data = load_folder(tmp_path)
    assert data.labels == ["no", "yes"]
    speakers = {split: {clip.speaker for clip in data.clips(split)} for split in ("train", "val", "test")}
    assert [len(speakers[split]) for split in speakers] == [16, 2, 2]
    assert not speakers["train"] & speakers["val"] and not speakers["test"] & (speakers["train"] | speakers["val"])
    assert data.counts()["train"] == {"no": 32, "yes": 32}
    assert load_folder(tmp_path).all_clips == data.all_clips
    assert load_folder(tmp_path, seed=1).all_clips != data.all_clips


def test_further_material_is_for_training_alone(tmp_path):
    fill(tmp_path / "own")
    fill(tmp_path / "more", labels=("no", "maybe"), speakers=4)
    own = load_folder(tmp_path / "own")
    data = own.with_extra(load_folder(tmp_path / "more"))
    assert data.labels == own.labels and data.clips("val") == own.clips("val") and data.clips("test") == own.clips("test")
    train = data.clips("train")
    assert [clip.extra for clip in train] == [False] * len(own.clips("train")) + [True] * 8
    assert {clip.label for clip in train if clip.extra} == {"no"}
    with pytest.raises(DataError, match="is in split '(val|test)' already"):
        own.with_extra(own)


def test_folders_may_spell_a_models_labels_otherwise(tmp_path):
    fill(tmp_path, labels=("Smart_mirror", "radio"))
    data = load_folder(tmp_path, ["smart mirror", "_unknown_"], allow_missing=True)
    assert data.counts()["train"] == {"smart mirror": 32, "_unknown_": 32}


def test_many_speakers_keep_their_split_when_others_join(tmp_path):
    fill(tmp_path, speakers=120, takes=1)
    before = {clip.speaker: clip.split for clip in load_folder(tmp_path).all_clips}
    write(tmp_path / "yes" / "newcomer_0.wav")
    after = {clip.speaker: clip.split for clip in load_folder(tmp_path).all_clips}
    assert before.items() <= after.items()


def test_waveforms_match_targets_and_come_from_the_cache(tmp_path, monkeypatch):
    fill(tmp_path)
    data = load_folder(tmp_path)
    samples, targets = data.waveforms("val")
    assert samples.shape == (8, 16000) and samples.dtype == np.int16 and targets.dtype == np.int64
    for row, target, clip in zip(samples, targets, data.clips("val"), strict=True):
        assert row[8000] == 100 + int(clip.speaker[1:]) and data.labels[target] == clip.label
    monkeypatch.setattr(kws.data, "read_clips", lambda *_: pytest.fail("the cache was not used"))
    assert np.array_equal(data.waveforms("val")[0], samples)


def test_a_changed_file_is_read_again(tmp_path):
    fill(tmp_path)
    data = load_folder(tmp_path)
    data.waveforms("val")
    path = data.clips("val")[0].path
    write(path, 7777)
    os.utime(path, ns=(1, 1))
    assert data.waveforms("val")[0][0, 8000] == 7777


def test_a_damaged_cache_file_is_replaced(tmp_path):
    fill(tmp_path)
    data = load_folder(tmp_path)
    samples, _ = data.waveforms("val")
    [cached] = kws.data.cache_folder().iterdir()
    cached.write_bytes(cached.read_bytes()[:200])
    assert np.array_equal(data.waveforms("val")[0], samples)


def test_a_cache_that_cannot_be_written_only_warns(tmp_path, monkeypatch):
    fill(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(DataWarning, match="not kept"):
        assert load_folder(tmp_path, labels=["no", "yes"]).waveforms("val")[0].any()


def test_a_bad_recording_is_named(tmp_path):
    fill(tmp_path, speakers=3)
    (tmp_path / "yes" / "s001_1.wav").write_text("hello, this is text")
    data = load_folder(tmp_path)
    with pytest.raises(AudioError, match=r"s001_1\.wav.*is text"):
        for split in ("train", "val", "test"):
            data.waveforms(split)


def test_silence_only_recordings_are_named(tmp_path):
    fill(tmp_path, speakers=3)
    write(tmp_path / "yes" / "s001_1.wav", 0)
    data = load_folder(tmp_path)
    with pytest.warns(DataWarning, match=r"digital silence.*s001_1\.wav"):
        for split in ("train", "val", "test"):
            data.waveforms(split)


def test_untold_speakers_warn_and_labels_split_by_themselves(tmp_path):
    for label in ("no", "yes"):
        for i in range(10):
            write(tmp_path / label / f"{label}_{i}.wav")
    with pytest.warns(DataWarning, match="own speaker"):
        data = load_folder(tmp_path)
    assert data.counts() == {s: {"no": n, "yes": n} for s, n in (("train", 8), ("val", 1), ("test", 1))}


@pytest.mark.parametrize("label", ["turn on", "включи", "開燈", "روشن\u200cکن", "x" * 255])
def test_labels_may_hold_spaces_and_any_script(tmp_path, label):
    fill(tmp_path, (label, "no"), 3, 1)
    data = load_folder(tmp_path)
    assert set(data.labels) == {label, "no"} and data.waveforms("train")[0].any()


def test_decomposed_letters_are_composed(small):
    manifest(small, *(row.replace("no", "cafe\u0301") for row in GOOD))
    assert load_folder(small).labels == ["caf\u00e9", "yes"]


def test_an_empty_class_is_named(tmp_path):
    fill(tmp_path)
    (tmp_path / "stop").mkdir()
    with pytest.raises(DataError, match="'stop'"):
        load_folder(tmp_path)
    (tmp_path / "stop").rmdir()
    with pytest.raises(DataError, match="'stop'"):
        load_folder(tmp_path, labels=["yes", "stop"])
    assert load_folder(tmp_path, labels=["yes", "stop"], allow_missing=True).counts()["train"]["stop"] == 0


def test_one_clip_one_class_no_clips(tmp_path):
    with pytest.raises(DataError, match="no recordings found"):
        load_folder(tmp_path)
    write(tmp_path / "yes" / "anna_1.wav")
    with pytest.warns(DataWarning), pytest.raises(DataError, match="only label 'yes'"):
        load_folder(tmp_path)
    fill(tmp_path, ("no",))
    with pytest.warns(DataWarning, match="no clip of 'yes'"):
        load_folder(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        load_folder(tmp_path / "absent")


def test_silence_only_is_no_data_set(tmp_path):
    fill(tmp_path, ("_silence_",))
    with pytest.raises(DataError, match="only label '_silence_'"):
        load_folder(tmp_path)


def test_an_empty_split_is_an_error_when_it_is_asked_for(small):
    manifest(small, *(row for row in GOOD if not row.endswith("val")))
    with pytest.warns(DataWarning, match="split 'val'"):
        data = load_folder(small)
    with pytest.raises(DataError, match="no clips in split 'val'"):
        data.waveforms("val")
    with pytest.raises(DataError, match="'dev'"):
        data.clips("dev")


def test_a_manifest_gives_labels_and_splits(small):
    manifest(small, *(row.replace("val", "validation").replace("train", "Training") for row in GOOD))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_folder(small)
    assert data.counts() == {split: {"no": 1, "yes": 1} for split in ("train", "val", "test")}


def test_another_column_may_hold_the_labels(small):
    rows = [f"{row},{kind}" for row, kind in zip(GOOD, ("_unknown_", "b", "", "_silence_", "a", "b"), strict=True)]
    manifest(small, *rows, columns="path,label,speaker,split,kind")
    with pytest.warns(DataWarning):
        data = load_folder(small, label_column="kind")
    assert data.labels == ["a", "b", "_silence_", "_unknown_"] and len(data.all_clips) == 5
    with pytest.raises(DataError, match="no column 'kws12'; its columns are: path, label"):
        load_folder(small, label_column="kws12")


def test_a_manifest_without_splits_is_split_by_speaker(small):
    manifest(small, *(row.rpartition(",")[0] for row in GOOD), columns="path,label,speaker")
    assert all(sum(labels.values()) == 2 for labels in load_folder(small).counts().values())


def test_given_splits_that_share_speakers_warn_by_name(small):
    manifest(small, *(row.replace("s3", "s1") for row in GOOD))
    with pytest.warns(DataWarning, match="1 speakers are in more than one split.*'s1'"):
        load_folder(small)


@pytest.mark.parametrize("path", ["../secret.wav", "/etc/passwd", "x/../../secret.wav", "link/secret.wav", "", "a\0b"])
def test_paths_that_leave_the_folder_are_refused(small, path):
    root = small / "root"
    root.mkdir()
    write(small / "secret.wav")
    (root / "link").symlink_to(small)
    manifest(root, f"{path},no,s1,train")
    with pytest.raises(DataError, match="line 2|UTF-8 CSV"):
        load_folder(root)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x/absent.wav,no,s1,train", r"missing: 'x/absent\.wav'"),
        ("x/a.wav,no,s1,practice", "line 2: split 'practice' is unknown"),
        ("x/a.wav,,s1,train", "line 2: label ''"),
        (f"x/a.wav,{'y' * 256},s1,train", "256 bytes"),
        ("x/a.wav,no\x07,s1,train", "control characters"),
        ("x/a.wav,no,s1,train\nx/a.wav,yes,s2,val", "line 3: 'x/a.wav' stands in line 2"),
        ("x/a.wav,no,s1,train\nx/b.wav,yes,s2,", "1 rows have no split"),
        ("x/a.wav", "line 2: label ''"),
    ],
)
def test_bad_rows_are_named(small, row, message):
    manifest(small, row)
    with pytest.raises(DataError, match=message):
        load_folder(small)


def test_a_manifest_that_is_no_text_is_refused(small):
    (small / "manifest.csv").write_bytes(b"path,label\nx/a.wav,\xff\xfe\n")
    with pytest.raises(DataError, match="UTF-8"):
        load_folder(small)


def test_the_published_split_rule():
    # Facts of the published data set: these files stand in its lists.
    assert which_set("3cbd76a3_nohash_0.wav") == which_set("no/3cbd76a3_nohash_4.wav") == "test"
    shares = [which_set(f"{i:08x}_nohash_0.wav") for i in range(2000)]
    assert 0.75 < shares.count("train") / 2000 < 0.85 and 0.07 < shares.count("val") / 2000 < 0.13


@pytest.fixture
def official(tmp_path):
    names = [f"{i * 2654435761 % 2**32:08x}_nohash_0.wav" for i in range(60)]
    for word in (*GSC12[:10], "cat", "dog", "bird"):
        for name in names:
            write(tmp_path / word / name, seconds=0.01)
    for i in range(2):
        write(tmp_path / "_background_noise_" / f"hum{i}.wav", 50, 30)
    (tmp_path / "validation_list.txt").write_text("".join(f"yes/{n}\n" for n in names if which_set(n) == "val"))
    (tmp_path / "testing_list.txt").write_text("".join(f"yes/{n}\n" for n in names if which_set(n) == "test"))
    return tmp_path


def test_the_official_layout_follows_its_lists(official):
    with pytest.warns(DataWarning, match="no clip of 'cat'|more than one split"):
        counts = load_folder(official, labels=["yes", "cat"]).counts()
    assert counts["test"]["yes"] > 0 and counts["test"]["cat"] == 0 and counts["train"]["cat"] == 60
    (official / "validation_list.txt").unlink()
    data = load_folder(official, labels=["yes", "cat"])  # without lists, by the rule they were made with
    assert all(clip.split == which_set(clip.path.name) for clip in data.all_clips)


def test_twelve_classes_of_the_official_layout(official):
    (official / "testing_list.txt").unlink()
    data = load_folder(official, labels="gsc12")
    assert data.labels == list(GSC12)
    for split, counts in data.counts().items():
        assert len(set(counts.values())) == 1, f"{split} is not balanced: {counts}"
    silence = [clip for clip in data.all_clips if clip.label == "_silence_"]
    assert max(c.start_s + c.seconds for c in silence if c.split == "train") <= 24
    assert min(c.start_s for c in silence if c.split == "test") >= 27
    samples, targets = data.waveforms("val")
    assert np.all(samples[targets == data.labels.index("_silence_")] == 50)
    assert "_background_noise_" not in {clip.label for clip in load_clips(official)}


def test_reading_sound_does_not_start_torch():
    code = "import sys, kws.data; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=os.path.dirname(os.path.dirname(kws.data.__file__)))


def test_the_twelve_class_task_is_the_same_by_name_and_by_its_labels(tmp_path):
    fill(tmp_path, [*GSC12[:10], "bird", "cat", "dog"], speakers=10, takes=1)
    by_name, by_list = (load_folder(tmp_path, labels, allow_missing=True) for labels in ("gsc12", list(GSC12)))
    assert by_name.counts() == by_list.counts() and 0 < by_name.counts()["train"]["_unknown_"] <= 10


def test_silence_alone_is_refused(tmp_path):
    for label in ("no", "yes"):
        for speaker in range(20):
            write(tmp_path / label / f"s{speaker}_0.wav", 0)
    with pytest.raises(DataError, match="only digital silence"):
        load_folder(tmp_path).waveforms("train")
