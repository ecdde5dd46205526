"""signwave text ... as a user types it: what it prints, its exit status, its answers to bad input."""

import json
import warnings

import pytest

from export.format import encode, read, write
from tests.export.strategies import tiny_model
from tests.export.test_format import resealed
from tests.textbnn.lights import FOREIGN, TEXTS, lights

LABELS = [label for label in TEXTS if label != "_unknown_"]
QUICK = [part for value in ("epochs=8", "invented=0", "drawn=0") for part in ("--set", value)]


@pytest.fixture
def signwave(signwave):
    """The same, with the words on standard error on one line."""

    def call(*arguments):
        status, out, err = signwave(*arguments)
        return status, out, " ".join(err.split())

    return call


@pytest.fixture
def file(tmp_path):
    write(lights(), tmp_path / "lights.swm")
    return tmp_path / "lights.swm"


@pytest.fixture
def data(tmp_path):
    (tmp_path / "d").mkdir()
    rows = [f"{text},{label}" for label in LABELS for text in TEXTS[label]]
    for split in ("train", "val", "test"):
        (tmp_path / "d" / f"{split}.csv").write_text("\n".join(["text,label", *(f"{split} {row}" for row in rows)]))
    (tmp_path / "d" / "oos_test.csv").write_text("\n".join(["text", *FOREIGN]))
    return tmp_path / "d"


def test_eval_prints_exactly_one_object(signwave, file, data):
    status, out, _ = signwave("text", "eval", file, "--data", data, "--split", "test", "--json")
    value = json.loads(out)
    assert status == 0 and out.count("\n") == 1 and value["file_bytes"] == file.stat().st_size and value["n"] == 18
    assert {"accuracy", "interval", "oos_auroc", "oos_recall", "in_scope_kept"} < set(value)
    assert value["interval"][0] <= value["accuracy"] <= value["interval"][1]
    status, out, _ = signwave("text", "eval", file, "--data", data, "--split", "val", "--json")
    assert status == 0 and "oos_auroc" not in json.loads(out)
    status, out, _ = signwave("text", "eval", file, "--data", data)
    assert status == 0 and "AUROC" in out and "accuracy" in out


def test_classify_says_label_and_slots(signwave, file):
    status, out, _ = signwave("text", "classify", file, "turn on the light in the lounge", FOREIGN[1], "--json")
    first, second = json.loads(out)["texts"]
    assert status == 0 and first["label"] == "light_on" and first["slots"] == [["room", "living room"]]
    assert second["label"] is None and second["best"] in TEXTS
    status, out, _ = signwave("text", "classify", file, "set a\udcff timer", "x" * 10_000, "--json")
    assert status == 0 and [d["label"] for d in json.loads(out)["texts"]] == ["timer", None] and "a\ufffd timer" in out
    status, out, _ = signwave("text", "classify", file, "set a timer for 1h30m", "")
    assert status == 0 and "timer" in out and "duration 1:30:00" in out and "rejected" in out


def test_bad_input_gets_a_sentence(signwave, file, data, tmp_path):
    sound = tmp_path / "sound.swm"
    sound.write_bytes(encode(tiny_model()))
    torn = lights()
    torn.slots = b"rooms\ta\n"
    (tmp_path / "torn.swm").write_bytes(resealed(encode(torn).replace(torn.slots, b"room\nta\n")))
    (tmp_path / "latin.csv").write_bytes("text,label\nKüche,a\n".encode("latin-1"))
    for arguments, word in [
        (("classify", sound, "hi"), "does not read text"),
        (("eval", sound, "--data", data), "does not read text"),
        (("classify", tmp_path / "none.swm", "hi"), "No such file"),
        (("classify", tmp_path / "torn.swm", "hi"), "slots: nothing stands before byte 4"),
        (("eval", file, "--data", tmp_path / "latin.csv"), "line 2: bytes fc"),
        (("eval", file, "--data", data, "--split", "dev"), "choose one of train, val, test"),
        (("eval", file, "--data", tmp_path / "nowhere"), "not one of .csv, .tsv, .jsonl"),
    ]:
        status, out, err = signwave("text", *arguments)
        assert status == 2 and not out and word in err and "Traceback" not in err


WORLD = {"музыка": ["включи музыку", "сыграй песню", "музыка громче", "хочу музыку"],
         "電気": ["電気をつけて", "電気を消して", "明るい電気", "電気お願い"],
         "ضوء": ["أطفئ الضوء", "شغل الضوء", "الضوء من فضلك", "نور الضوء"]}  # fmt: skip


@pytest.fixture
def table(tmp_path):
    """Examples of all labels, in several scripts, with a list of rooms, in one file."""
    every = {**TEXTS, **WORLD}
    rows = [f'"{way} {text}",{label}' for label in every for text in every[label] for way in ("hey,", "now", "oh", "so", "well")]
    (tmp_path / "commands.csv").write_text("\n".join(["text,label", "kitchen,@room", "lounge,@room=living room", *rows]))
    return tmp_path / "commands.csv"


def test_train_writes_a_file_that_is_small_enough_and_knows_its_lists(signwave, table, tmp_path):
    status, out, err = signwave("text", "train", table, "--out", tmp_path / "r", "--max-kb", 16, *QUICK, "--json")
    value = json.loads(out)
    assert status == 0 and out.count("\n") == 1, err
    model = tmp_path / "r" / "model.swm"
    assert value["file"] == str(model) and value["file_bytes"] == model.stat().st_size <= 16384
    assert set(read(model).labels) == {*TEXTS, *WORLD} and value["validation"]["n"] == 2 * (len(LABELS) + len(WORLD))
    texts = ["turn on the light in the lounge", "ВКЛЮЧИ МУЗЫКУ!", "電気つけて💡", "الضَّوء ٣٠"]
    status, out, _ = signwave("text", "classify", model, *texts, "--json")
    found = json.loads(out)["texts"]
    assert [d["slots"] for d in found] == [[["room", "living room"]], [], [], [["number", 30]]]
    assert [d["best"] for d in found[1:]] == list(WORLD)
    status, out, _ = signwave("text", "eval", model, "--data", table, "--split", "train", "--json")
    value = json.loads(out)
    assert status == 0 and value["accuracy"] > 80 and value["oos_n"] > 0


def test_training_refuses_what_cannot_be(signwave, table, tmp_path):
    wide = "".join(f"{letter}{i},{str(i).rjust(200, 'x')}\n" for i in range(90) for letter in "abc")
    (tmp_path / "wide.csv").write_text("text,label\n" + wide)
    (tmp_path / "one.csv").write_text("text,label\non,on\nstart,on\n")
    (tmp_path / "log.csv").write_text("text\nopen the pod bay doors\n")
    for data, arguments, word in [
        (table, ("--max-kb", 48), "choose one of 16, 32, 64, 128"),
        (table, ("--tokenizer", "letters"), "choose one of auto, ngram, sentencepiece"),
        (table, ("--set", "sed=1"), "valid are: max_kb"),
        (table, ("--slots", tmp_path / "none.csv"), "No such file"),
        (table, ("--unlabelled", tmp_path / "log.csv"), "need a teacher"),
        (tmp_path / "one.csv", (), "only the label 'on'"),
        (tmp_path / "wide.csv", ("--max-kb", 16), "leave no room for features"),
    ]:
        status, out, err = signwave("text", "train", data, "--out", tmp_path / "r", *QUICK, *arguments)
        assert status == 2 and not out and word in err and "Traceback" not in err, err
    assert not (tmp_path / "r" / "model.swm").exists()


def test_what_flatters_is_named_on_the_way(signwave, file, data):
    train = data / "train.csv"
    train.write_text(train.read_text() + "\ntest turn on the light,light_off\n")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        status, out, err = signwave("text", "eval", file, "--data", data, "--json")
    assert status == 0 and json.loads(out) and "warning: " in err and "train.csv, line 20; test.csv, line 7" in err


def test_help_teaches(signwave):
    for command in ("train", "eval", "classify"):
        status, out, _ = signwave("text", command, "--help")
        assert status == 0 and "Example: signwave text" in out
