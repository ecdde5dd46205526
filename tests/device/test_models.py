"""The models that come with Signwave are valid, small, and compute what they did when they were made."""

from pathlib import Path

import pytest

from export.format import Golden, GoldenText, read
from kws.frontend import log_mel_front_end

MODELS = sorted((Path(__file__).parents[2] / "device" / "models").glob("*.swm"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_a_shipped_model_passes_its_own_test(path):
    model = read(path)
    assert model.metadata["name"] == path.stem and path.stat().st_size < 100_000
    if model.text is None:
        assert model.golden == Golden.of(model.ops, model.golden.seed, model.golden.frames)
        assert model.front_end == log_mel_front_end()
    else:
        assert model.golden == GoldenText.of(model.text, model.ops, model.golden.text)
        assert len(model.text.rows(model.golden.text)) > 5
    headings = [line for line in (path.parent / "README.md").read_text().splitlines() if line.startswith("## ")]
    assert any(path.name in line for line in headings)


def test_there_is_a_model():
    assert MODELS
