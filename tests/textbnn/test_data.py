"""Tables of commands become labelled, split data sets, or a message names the line that is wrong."""

import codecs
import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textbnn.data import MAX_TEXT_CHARS, DataError, DataWarning, load, read_examples, unlabelled

ROWS = [(f"turn {way} the {thing}", way) for thing in ("lamp", "radio", "oven", "fan", "heater", "pump") for way in ("on", "off")]


def table(rows=ROWS, head="text,label", end="\n") -> str:
    return end.join([head, *(f"{text},{label}" for text, label in rows)]) + end


@pytest.fixture
def write(tmp_path):
    def call(content: str | bytes, name: str = "commands.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return call


def refused(path, **more) -> str:
    with pytest.raises(DataError) as error:
        load(path, **more)
    return str(error.value)


def warned(path, **more) -> str:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        load(path, **more)
    assert all(w.category is DataWarning for w in found)
    return "\n".join(str(w.message) for w in found)


def rows_of(path) -> list[tuple[str, str]]:
    return [(e.text, e.label) for e in read_examples(path)]


def test_every_kind_of_table_gives_the_same_rows(write):
    lines = "\n".join(json.dumps({"label": label, "text": text, "n": 1}) for text, label in ROWS)
    quoted = table([(f'"{label}"', f'"{text}"') for text, label in ROWS], '"label","text"')
    found = [rows_of(write(content, name)) for name, content in {
        "a.csv": table(), "b.csv": table().replace(",", ";"), "c.csv": table(end="\r\n"), "d.tsv": table().replace(",", "\t"),
        "e.jsonl": lines + "\n\n", "f.csv": table([(text, f"7,{label}") for text, label in ROWS], "Text,id, Label"),
        "g.csv": quoted, "h.csv": "\n" + table() + "\n\n",
    }.items()]  # fmt: skip
    assert found == [ROWS] * len(found)


@pytest.mark.parametrize("encoded", [
    lambda t: t.encode(), lambda t: codecs.BOM_UTF8 + t.encode(), lambda t: t.encode("utf-16"),
    lambda t: codecs.BOM_UTF16_BE + t.encode("utf-16-be"), lambda t: t.encode("utf-32"),
])  # fmt: skip
def test_encodings_with_a_mark_and_utf8_without(write, encoded):
    rows = [("größer", "größer"), ("温度を下げて", "下"), ("أطفئ الضوء", "عربي"), ("🔥 an", "🔥")]
    assert rows_of(write(encoded(table(rows)))) == rows


def test_what_is_not_utf8_is_named_by_line(write):
    assert "line 3: bytes f6 df" in refused(write(b"text,label\na,b\ngr\xf6\xdfer,c\n"))
    assert "line 2: a NUL" in refused(write("text,label\na\0b,c\n")) and "UTF-16" in refused(write(table().encode("utf-16-le")))
    assert "line 2" in refused(write(codecs.BOM_UTF16_LE + "text,label\na".encode("utf-16-le") + b"\x00\xd8"))


def test_quotes_and_commas(write):
    assert rows_of(write('text,label\n"say ""hi"", then stop",x\n  spaced  ,y\nit\'s 5" long,z\n')) == [
        ('say "hi", then stop', "x"), ("spaced", "y"), ('it\'s 5" long', "z")]  # fmt: skip
    assert rows_of(write('text\tlabel\n"say ""hi"""\tx\n5" long\ty\n', "a.tsv")) == [('say "hi"', "x"), ('5" long', "y")]


@pytest.mark.parametrize("row, word", [
    ("on, please,on", "line 3: 3 columns, the first line names 2"),
    ("alone", "line 3: 1 columns"),
    ('"open,on\nfoo,bar\n', "line 3: unexpected end of data"),
    ('"a"b,on', "line 3: ',' expected after '\"'"),
    ('"two\nlines",on', "line 3: the text 'two"),
    (",on", "line 3: the text is empty"),
    ("   ,on", "line 3: the text is empty"),
    ("stop,", "line 3: the label is empty"),
    ("stop," + "長" * 200, "takes 600 bytes, at most 255"),
    ("stop,a\x01b", "control characters"),
    ("x" * (MAX_TEXT_CHARS + 1), "line 3: 1 columns"),
    ("x" * 10_000 + ",on", "line 3: the text 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...' has 10,000 characters"),
    ("x" * 200_000 + ",on", "line 3: field larger than field limit"),
])  # fmt: skip
def test_a_bad_row_is_named_by_its_line(write, row, word):
    assert word in refused(write(f"text,label\ngood,off\n{row}\n"))


def test_all_bad_rows_are_told_at_once(write):
    message = refused(write("text,label\n" + ",on\n" * 7 + "a,on\n"))
    assert [f"line {i}:" in message for i in range(2, 9)] == [True] * 5 + [False] * 2 and "and 2 more" in message


@pytest.mark.parametrize("row", ['{"text": "a"}', '{"text": 1, "label": "b"}', "[1]", "{", '"a"', "[" * 100_000])
def test_a_bad_line_of_json_is_named(write, row):
    assert "line 2: no" in refused(write('{"text": "a", "label": "b"}\n' + row, "a.jsonl"))


@given(st.binary() | st.text(max_size=80).map(str.encode), st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_any_bytes_at_all_are_read_or_refused(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(b"text,label\n".replace(b",", b"\t" if suffix == ".tsv" else b",") * (suffix != ".jsonl") + content)
    try:
        assert all(e.text and e.label for e in read_examples(path))
    except DataError as error:
        assert path.name in str(error)


def test_half_a_surrogate_in_json_is_refused(write):
    assert "line 1: the text '\\ud800'" in refused(write('{"text": "\\ud800", "label": "b"}', "a.jsonl"))


def test_a_table_must_name_its_columns(write):
    assert "begin the file with: text,label" in refused(write("stop,off\n")) and "begin" in refused(write(""))
    assert "holds no texts" in refused(write("text,label\n")) and "not one of .csv" in refused(write(table(), "a.xls"))


def test_the_first_line_is_read_like_the_others(write):
    shifted = "".join("\t".join(["", *row, ""]) + "\n" for row in [("text", "label"), *ROWS])
    noted = "".join(f'"{text}","a, b",{label}\n' for text, label in [("text", "label"), *ROWS]).replace("a, b", "note, more", 1)
    for content, name in ((shifted, "a.tsv"), (noted, "a.csv")):
        assert rows_of(write(content, name)) == ROWS


def test_labels_of_200_letters_are_fine(write):
    rows = [(text, label.ljust(200, "x")) for text, label in ROWS]
    assert [len(label) for label in load(write(table(rows))).labels] == [200, 200]


def test_one_class_is_refused_and_one_with_strangers_is_not(write):
    one = [(text, "on") for text, _ in ROWS]
    assert "only the label 'on'" in refused(write(table(one)))
    assert "no label but _unknown_" in refused(write(table([(text, "oos") for text, _ in ROWS])))
    data = load(write(table([*one, ("sing", "_unknown_"), ("dance", "oos"), ("jump", "oos")])))
    assert data.labels == ["on"] and sum(len(data.out_of_scope(s)) for s in ("train", "val", "test")) == 3


def test_more_labels_than_a_file_holds(write):
    assert "600 labels, at most 512" in refused(write(table([(f"t{i}", f"l{i}") for i in range(600)])))


def test_splits_are_made_by_hash_and_do_not_tear_duplicates_apart(write):
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(200)] + [(f"  TEXT   {i} ", "ab"[i % 2]) for i in range(200)]
    data = load(write(table(rows)))
    texts = {split: {" ".join(t.lower().split()) for t in data.in_scope(split)[0]} for split in ("train", "val", "test")}
    assert [len(texts[split]) for split in texts] == [160, 20, 20] and len(set.union(*texts.values())) == 200
    again = load(write(table(rows[::-1]), "other.csv"))
    assert {split: sorted(again.in_scope(split)[0]) for split in texts} == {s: sorted(data.in_scope(s)[0]) for s in texts}
    assert load(write(table(rows)), seed=1).in_scope("test")[0] != data.in_scope("test")[0]
    assert [sorted(set(data.in_scope(split)[1])) for split in texts] == [[0, 1]] * 3


def test_a_folder_has_its_own_splits(write, tmp_path):
    write(table(ROWS[:6]), "d/train.csv")
    write(table(ROWS[6:8]), "d/dev.csv")
    write(table(ROWS[8:]), "d/test.csv")
    write("text,label\nsing,oos\n", "d/oos_train.csv")
    write("text\ndance\njump\n", "d/oos_test.csv")
    write("text,label\nkitchen,room\nlounge,room=living room\n", "d/slots.csv")
    data, parts = load(tmp_path / "d"), (ROWS[:6], ROWS[6:8], ROWS[8:])
    assert [data.in_scope(s)[0] for s in ("train", "val", "test")] == [[text for text, _ in part] for part in parts]
    assert [data.out_of_scope(s) for s in ("train", "val", "test")] == [["sing"], [], ["dance", "jump"]]
    assert data.lists == {"room": {"kitchen": "kitchen", "lounge": "living room"}}


def test_a_folder_without_validation_takes_it_from_training(write, tmp_path):
    write(table([(f"go {i}", "ab"[i % 2]) for i in range(40)]), "d/train.csv")
    write(table(ROWS), "d/test.csv")
    message = refused(tmp_path / "d")
    assert "no training text of label 'off', 'on'" in message
    write(table([(f"stop {i}", "ab"[i % 2]) for i in range(4)]), "d/test.csv")
    data = load(tmp_path / "d")
    assert [len(data.in_scope(s)[0]) for s in ("train", "val", "test")] == [36, 4, 4]


def test_folders_that_are_none(write, tmp_path):
    write(table(), "d/notes.csv")
    with pytest.warns(DataWarning, match="neither train"):
        assert "no train.csv" in refused(tmp_path / "d")
    write(table(), "e/train.csv")
    write(table(), "e/training.tsv")
    assert "both the part 'train'" in refused(tmp_path / "e")
    write(table(), "f/train.csv")
    write("text,label\n", "f/oos.csv")
    assert "oos.csv: holds no texts" in refused(tmp_path / "f")


def test_strangers_and_lists_of_further_files(write):
    data = load(write(table()), oos=write("text,mood\nsing,1\ndance,2\njump,3\n", "s.csv"),
                slots=write("text,label\nkitchen,@room\n", "l.csv"))  # fmt: skip
    assert sum(len(data.out_of_scope(s)) for s in ("train", "val", "test")) == 3
    assert data.lists == {"room": {"kitchen": "kitchen"}}
    data = load(write(table([*ROWS, ("Küche", "@room=kitchen")])))
    assert data.lists == {"room": {"Küche": "kitchen"}} and data.labels == ["off", "on"]
    assert "stands in list 'room' already, for 'b'" in refused(write(table([*ROWS, ("x", "@room=b"), ("x", "@room=c")])))


def test_unlabelled_texts_are_new_each_once_and_none_that_is_tested(write, tmp_path):
    write(table(), "own/train.csv")
    write("text,label\nsing,on\nhum,off\n", "own/test.csv")
    write("text,label\nSING!,x\nSing,x\ndance,y\ndance ,y\nkitchen,@room\n", "other/train.csv")
    write("text,label\njump,x\n", "other/test.csv")
    logs = write("text\ndance\nhop\n", "log.csv")
    assert unlabelled([tmp_path / "other", logs], load(tmp_path / "own")) == ["SING!", "dance", "hop"]
    assert unlabelled([], load(tmp_path / "own")) == []


def test_a_text_under_two_labels_is_named(write):
    message = warned(write(table([*ROWS, ("Turn ON the lamp", "off")])))
    assert "1 texts stand under two labels" in message and "on (commands.csv, line 2)" in message and "line 14" in message


def test_a_test_sentence_in_train_is_named(write, tmp_path):
    write(table(), "d/train.csv")
    write(table(ROWS[:2]), "d/val.csv")
    write(table([("turn on the Lamp", "on"), ("new", "off")]), "d/test.csv")
    message = warned(tmp_path / "d")
    assert "1 texts of 'test' stand in 'train' too" in message and "train.csv, line 2; test.csv, line 2" in message
    assert "2 texts of 'val'" in message
    with pytest.warns(DataWarning):
        assert len(load(tmp_path / "d").in_scope("test")[0]) == 2


def test_a_model_of_fewer_labels(write):
    data = load(write(table([*ROWS, *((f"dim {i}", "dim") for i in range(9))])))
    with pytest.warns(DataWarning, match="does not know 'dim'"):
        data = data.for_labels(["on", "_unknown_", "off"])
    assert data.labels == ["on", "off"] and set(data.in_scope("train")[1]) == {0, 1}
    with pytest.raises(DataError, match="none of its labels"):
        data.for_labels(["x", "y"])


def test_splits_that_do_not_exist(write):
    data = load(write(table(ROWS[:4])))
    with pytest.raises(DataError, match="choose one of train, val, test"):
        data.in_scope("dev")
    with pytest.raises(DataError, match="no texts in split 'test'"):
        data.in_scope("test")
