"""Bags of features, the choice among them, invented texts."""

import numpy as np
import torch

from export.folding import Folding
from export.text import families
from tests.textbnn.lights import TEXTS
from textbnn.augment import invent, near_words, words_of
from textbnn.bags import Bags, Candidates
from textbnn.select import select

ALL = [text for group in TEXTS.values() for text in group]
FAMILIES = families("words", "word2", "chars3")


def candidates(least: int = 1) -> Candidates:
    return Candidates.of(ALL, FAMILIES, Folding.of(ALL), least=least)


def test_bags_hold_the_rows_that_the_file_looks_up():
    some = candidates().only(np.arange(0, len(candidates().keys), 3))
    bags, text = some.bags([*ALL, "", "xyzzy"]), some.text()
    for i, each in enumerate([*ALL, "", "xyzzy"]):
        assert bags.ids[bags.start[i] : bags.start[i + 1]].tolist() == text.rows(each)


def test_candidates_occur_in_as_many_texts_as_asked():
    twice = candidates(2)
    assert 0 < len(twice.keys) < len(candidates().keys)
    everywhere = [set(twice.bags([text]).ids.tolist()) for text in ALL]
    assert all(sum(row in rows for rows in everywhere) >= 2 for row in range(len(twice.keys)))


def test_a_smaller_dictionary_renumbers_rows():
    bags = Bags(np.array([4, 0, 2, 4, 1], np.int32), np.array([0, 2, 2, 5]))
    small = bags.only(np.array([1, 4]))
    assert small.ids.tolist() == [1, 1, 0] and small.start.tolist() == [0, 1, 1, 3]
    indices, offsets = small.batch([2, 1, 0])
    assert indices.tolist() == [1, 0, 1] and offsets.tolist() == [0, 2, 2]


def test_selection_keeps_what_tells_labels_apart():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 600)
    rows = [[target, *rng.integers(4, 60, 6)] for target in targets]  # rows 0 to 3 decide, the others are noise
    bags = Bags(np.array(rows, np.int32).ravel(), np.arange(0, 7 * 601, 7))
    kept = select(bags, 60, torch.nn.functional.one_hot(torch.from_numpy(targets), 4).float(), wanted=6).rows
    assert len(kept) == 6 and {0, 1, 2, 3} <= set(kept.tolist()) and np.all(np.diff(kept) > 0)


def test_selection_is_the_same_for_the_same_seed_and_takes_all_where_there_is_room():
    bags, answers = candidates().bags(ALL), torch.eye(len(ALL))
    n = len(candidates().keys)
    first, second = (select(bags, n, answers, wanted=40, seed=3, epochs=2) for _ in range(2))
    np.testing.assert_array_equal(first.rows, second.rows)
    assert torch.equal(first.weight, second.weight) and first.weight.shape == (40, len(ALL))
    np.testing.assert_array_equal(select(bags, n, answers, wanted=n).rows, np.arange(n))


def test_near_words_are_near_by_their_vectors_whatever_marks_a_tokenizer_uses():
    vocabulary = {"Ġlight": 0, "▁lamp": 1, "music": 2, "##s": 3, "song": 4, ".": 5}
    vectors = torch.tensor([[1.0, 0.1], [1.0, 0.0], [-1.0, 0.1], [0.0, 9.0], [-1.0, 0.0], [0.0, 0.0]])
    near = near_words(vectors, vocabulary, ["Light the song!"])
    assert near == {"light": ["lamp"], "song": ["music"]}


def test_invented_texts_are_new_made_of_known_words_and_the_same_for_a_seed():
    near = {"light": ["lantern"], "timer": ["clock", "alarm"]}
    targets = [i for i, group in enumerate(TEXTS.values()) for _ in group]
    first, second = (invent(ALL, targets, 300, near, seed=1) for _ in range(2))
    assert first == second != invent(ALL, targets, 300, near, seed=2)
    words = {word for text in first for word in words_of(text)}
    assert words <= {word for text in ALL for word in words_of(text)} | {"lantern", "clock", "alarm"}
    assert {"lantern", "clock"} <= words and len(set(first)) == len(first) > 60 and not set(first) & set(ALL)


def test_unspaced_scripts_are_words_letter_by_letter():
    assert words_of("温度を 5度") == ["温", "度", "を", "5", "度"]
    assert words_of("हिन्दी में, DON'T") == ["हिन्दी", "में", "dont"]
