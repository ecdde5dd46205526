import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score

from export import reference
from export.format import decide
from kws.evaluate import Evaluation, classify, evaluate, save_json, scores
from tests.export.strategies import tiny_model

RNG = np.random.default_rng(0)


def test_figures_equal_those_of_scikit_learn():
    truth, said = RNG.integers(0, 4, 500), RNG.integers(0, 4, 500)
    e = Evaluation.of(list("abcd"), truth, said)
    assert (e.confusion == confusion_matrix(truth, said)).all()
    assert e.accuracy == pytest.approx(100 * accuracy_score(truth, said))
    _, _, recall, precision = zip(*e.per_class(), strict=True)
    assert recall == pytest.approx(100 * recall_score(truth, said, average=None))
    assert precision == pytest.approx(100 * precision_score(truth, said, average=None))


def test_evaluation_decides_as_the_reference_does():
    model = tiny_model(bands=8)
    clips = RNG.integers(-20000, 20000, (7, 3200)).astype(np.int16)
    expected = [decide(reference.run(model.ops, reference.log_mel(c, model.front_end))[-1])[0] for c in clips]
    result = evaluate(model, clips, np.array(expected))
    assert result.accuracy == 100 and result.n == 7
    assert scores(model, np.zeros((2, 10, 8), np.int8)).shape == (2, 3)


def test_a_long_recording_is_decided_where_its_margin_is_greatest():
    model = tiny_model(bands=8)
    clip = RNG.integers(-20000, 20000, 16000).astype(np.int16)
    results = reference.run(model.ops, reference.log_mel(clip, model.front_end))[4:]
    top, margin = decide(results)
    found = classify(model, clip)
    assert found.margin == margin.max() and found.label == model.labels[top[margin.argmax()]]
    model.thresholds = [1 << 30] * 3
    assert classify(model, clip).label is None


def test_report_of_an_evaluation(tmp_path):
    e = Evaluation.of(["yes", "größer"], np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert "accuracy 66.7 %" in str(e) and "größer" in str(e)
    e.plot(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    save_json(tmp_path / "e.json", e.as_dict())
    assert json.loads((tmp_path / "e.json").read_text())["confusion"] == [[1, 1], [0, 1]]
