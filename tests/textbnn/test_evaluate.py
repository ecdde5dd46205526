"""Decisions on texts and their figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnn.intervals import wilson_interval
from export.graph import FormatError
from tests.export.strategies import tiny_model
from tests.textbnn.lights import FOREIGN, TEXTS, THRESHOLD, lights
from textbnn.evaluate import Results, auroc, classify, evaluate, results

LABELS = [label for label in TEXTS if label != "_unknown_"]


@pytest.fixture(scope="module")
def model():
    return lights()


def test_it_decides_its_own_texts_and_rejects_others(model):
    for label in LABELS:
        assert all(classify(model, text).label == label for text in TEXTS[label])
    assert [classify(model, text).label for text in TEXTS["_unknown_"]] == [None] * 4
    decision = classify(model, "Turn on the lights in the KÜCHE for 5min")
    assert decision.label == decision.best == "light_on" and decision.score >= THRESHOLD
    assert decision.slots == [("room", "kitchen"), ("duration", 300)]


@pytest.mark.parametrize("text", ["", " ", "\0\0\0", "xyzzy qwfp", "?!", "\ud800", "日本"])
def test_a_text_without_a_known_feature_is_rejected_whatever_the_threshold(text):
    assert classify(lights(threshold=-(1 << 30)), text).label is None
    assert classify(lights(threshold=-(1 << 30)), "turn " + text).label is not None or not text.strip()


def test_long_texts_are_decided(model):
    assert classify(model, "turn on the light " + "x" * 10_000).label == "light_on"
    assert classify(model, "turn on the light " * 600).label == "light_on"


def test_figures_add_up(model):
    texts = [text for label in LABELS for text in TEXTS[label]]
    targets = np.array([LABELS.index(label) for label in LABELS for _ in TEXTS[label]])
    wrong = targets.copy()
    wrong[0] = 2
    result = evaluate(model, texts, wrong, FOREIGN)
    assert result.n == len(texts) == 18 and result.accuracy == pytest.approx(100 * 17 / 18)
    assert result.interval == wilson_interval(17, 18) and result.mistakes() == [(1, "timer", "light_off")]
    inside = results(model, texts)
    assert result.in_scope_kept == 100 * np.mean(inside.accepted) and result.oos_n == len(FOREIGN)
    assert result.oos_recall == 100 * np.mean([classify(model, text).label is None for text in FOREIGN])
    value = result.as_dict()
    assert set(value) == {"accuracy", "interval", "n", "in_scope_kept", "oos_auroc", "oos_recall", "oos_n"}
    assert "oos_auroc" not in evaluate(model, texts, targets).as_dict() and "out of scope" in str(result)


def test_what_is_told_is_what_is_compared_with_the_threshold(model):
    texts = [*FOREIGN, *TEXTS["_unknown_"], *TEXTS["timer"], "xyzzy"]
    found = results(model, texts)
    decisions = [classify(model, text) for text in texts]
    assert [d.score for d in decisions] == found.surety.tolist() and found.scope.tolist()[:-1] == found.surety.tolist()[:-1]
    assert [d.label is not None for d in decisions] == found.accepted.tolist() == (found.scope >= THRESHOLD).tolist()
    assert [d.label for d in decisions] == [None] * 8 + ["timer"] * 4 + [None]


def test_surety_is_the_lead_over_unknown_and_over_the_mean():
    scores = np.array([[9, 2, 1], [9, 7, 1], [2, 9, 1], [9, 2, 1]])
    found = Results(["a", "_unknown_", "b"], [24, 0, 0], scores, np.array([1, 1, 1, 0]))
    assert found.surety.tolist() == [3 * (18 - 2) - 12, 3 * (18 - 7) - 17, 3 * (4 - 9) - 12, 36]
    assert found.scope[3] < -(1 << 60) and found.accepted.tolist() == [True, False, False, False]
    found = Results(["a", "c", "b"], [15, 0, 0], scores, np.array([1, 1, 1, 0]))
    assert found.surety.tolist() == [3 * 9 - 12, 3 * 9 - 17, 3 * 9 - 12, 15]
    assert found.accepted.tolist() == [True, False, True, False]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9), st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_auroc_is_the_share_of_pairs_in_order(inside, outside):
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside]
    assert auroc(np.array(inside), np.array(outside)) == pytest.approx(100 * sum(pairs) / len(pairs))


def test_a_model_of_sound_does_not_read():
    with pytest.raises(FormatError, match="does not read text"):
        classify(tiny_model(), "turn on")
