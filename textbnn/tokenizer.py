"""Pieces of words, learned: sentencepiece trains a unigram vocabulary (Kudo, 2018), whose scores become small integers.

    tokenizer = train(texts, folding, size=800)
    tokenizer.pieces                                # for export.text.Text: a board cuts with it just as the library does
    tokenizer.library.encode(normalise(text, folding), out_type=str)

The library gives scores as float32 and cuts by their sums. Rounded to integers these are exact, so that another program that
adds integers decides every tie alike; the rounded scores are put back into the library's model.
"""

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sentencepiece

from export.folding import Folding
from export.pieces import MAX_COST, Pieces
from export.text import normalise

UNITS = 16  # costs of a nat
_UNKNOWN_PENALTY = 10  # what the library takes off the least score for a letter that is no piece
_PIECE, _STRING, _SCORE, _KIND = 1 << 3 | 2, 1 << 3 | 2, 2 << 3 | 5, 3 << 3  # tags: of a model, and within a piece
_NORMAL = 1  # the kind of a piece that is a piece of text


class TokenizerError(ValueError):
    """Texts of which no vocabulary can be learned; the message says why."""


@dataclass
class Tokenizer:
    """The vocabulary for boards, and the library's model with the same costs."""

    pieces: Pieces
    library: sentencepiece.SentencePieceProcessor


def train(texts: Iterable[str], folding: Folding, size: int = 1000) -> Tokenizer:
    """Learn `size` pieces from texts as features see them. Fewer where the texts have no more. Raises TokenizerError."""
    lines = [line for text in texts if (line := normalise(text, folding))]
    if not lines:
        raise TokenizerError("the texts have no letters: no pieces can be learned")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, vocab_size=size, hard_vocab_limit=False, model_type="unigram",
            normalization_rule_name="identity", character_coverage=1.0, bos_id=-1, eos_id=-1, unk_id=0, num_threads=1,
            max_sentencepiece_length=15, minloglevel=2, max_sentence_length=1 << 20,
        )  # fmt: skip
    except RuntimeError as error:
        raise TokenizerError(f"sentencepiece cannot learn {size} pieces of {len(lines)} texts: {error}") from None
    return quantized(model.getvalue())


def quantized(model: bytes) -> Tokenizer:
    """A library's model with its scores rounded to integers of 1 / UNITS nat, and the same vocabulary for boards."""
    costs: dict[bytes, int] = {}
    out = bytearray()
    for tag, value in _fields(model):
        if tag == _PIECE:
            piece = dict(_fields(value))
            if piece.get(_KIND, _NORMAL) == _NORMAL:
                cost = min(max(round(-UNITS * struct.unpack("<f", piece[_SCORE])[0]), 1), MAX_COST)
                costs[piece[_STRING]] = cost
                value = _message([(_STRING, piece[_STRING]), (_SCORE, struct.pack("<f", -cost))])
        out += _message([(tag, value)])
    library = sentencepiece.SentencePieceProcessor()
    library.load_from_serialized_proto(bytes(out))
    return Tokenizer(Pieces(costs, max(costs.values()) + _UNKNOWN_PENALTY), library)


# Protocol buffers, as far as the library's models need them: numbers, four bytes, bytes. A tag is a field's number and its type.


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            yield tag, number()
            continue
        if tag & 7 not in (2, 5):
            raise TokenizerError(f"the library's model holds a field of type {tag & 7}, which is not known here")
        length = 4 if tag & 7 == 5 else number()
        yield tag, data[at : at + length]
        at += length


def _message(fields: list[tuple[int, bytes | int]]) -> bytes:
    def number(value: int) -> bytes:
        out = bytearray()
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        return bytes(out) + bytes([value])

    out = b""
    for tag, value in fields:
        if isinstance(value, int):
            out += number(tag) + number(value)
        else:
            out += number(tag) + (number(len(value)) if tag & 7 == 2 else b"") + value
    return out
