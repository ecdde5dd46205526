"""Learned pieces: what a board's kernels cut is what sentencepiece cuts, on every string."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import native
from export.folding import Folding
from export.text import Text, chunks, families, features, normalise
from tests.export.strategies import SENTENCES, texts
from textbnn.tokenizer import Tokenizer, TokenizerError, train

WORDS = ["turn", "turns", "turned", "on", "off", "the", "kitchen", "light", "lights", "lighting", "größer", "свет",
         "温度を下げて", "温度"]  # fmt: skip
FOLDING = Folding.of([*SENTENCES, *WORDS])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, 6)) for _ in range(400)]
    return train(lines, FOLDING, 90)


def cut(text: str | bytes, tokenizer: Tokenizer) -> list[str]:
    letters = [[c for word in chunk for c in word] for chunk in chunks(text, FOLDING)]
    return ["".join(map(chr, piece)) for chunk in letters for piece in tokenizer.pieces.cut(chunk)]


def test_words_that_are_common_become_pieces(tokenizer):
    assert "▁kitchen" in cut("the Kitchen lights", tokenizer)
    assert 30 < len(tokenizer.pieces.costs) <= 90
    assert tokenizer.pieces.unknown == max(tokenizer.pieces.costs.values()) + 10


@settings(max_examples=500, deadline=None)
@given(st.one_of(texts(), st.lists(st.sampled_from(WORDS + ["q", "zz", " ", "x温"]), max_size=30).map("".join)))
def test_every_string_is_cut_as_the_library_cuts_it(tokenizer, text):
    expected = tokenizer.library.encode(normalise(text, FOLDING), out_type=str)
    assert cut(text, tokenizer) == expected
    section = Text(families("pieces", "piece2"), FOLDING, [0], tokenizer.pieces)
    assert native.Text(section.encode()).keys(text).tolist() == features(text, section.families, FOLDING, tokenizer.pieces)


def test_texts_without_letters_are_refused():
    with pytest.raises(TokenizerError, match="no letters"):
        train(["!?", ""], FOLDING)
