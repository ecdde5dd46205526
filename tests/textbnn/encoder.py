"""A Transformer encoder of two layers over a few words, in a folder as Hugging Face has them: a teacher for tests."""

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from tests.textbnn.lights import TEXTS
from textbnn.data import UNKNOWN, Dataset, Example


def encoder(folder: Path) -> Path:
    """Write a small untrained BERT whose vocabulary is the words of TEXTS."""
    words = sorted({word for group in TEXTS.values() for text in group for word in text.split()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words) + 5, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=64)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def commands() -> Dataset:
    """The texts of TEXTS eight times over for training, with other words before them, and as they are for validation."""
    before = ("please ", "now ", "hey ", "could you ", "ok ", "so ", "and ", "")
    train = [Example(word + text, label, "", "train") for label, group in TEXTS.items() for text in group for word in before]
    val = [Example(text + " now", label, "", "val") for label, group in TEXTS.items() for text in group]
    return Dataset(Path("lights"), sorted(TEXTS.keys() - {UNKNOWN}), train + val)
