"""A model of typed commands that needs no training: random rows, and class rows that agree with their texts' sums."""

import numpy as np

from export import reference
from export.folding import Folding
from export.format import GoldenText, Model
from export.graph import Bag1b, DenseI4, pack_bits, pack_gains, pack_i4
from export.text import Text, families, features
from textbnn.slots import encode

TEXTS = {
    "light_off": ["turn off the light", "lights off please", "put the lamp off", "darkness now", "turn off the kitchen lights"],
    "light_on": ["turn on the light", "lights on please", "switch on the lamp", "brighter please", "turn on the kitchen lights"],
    "timer": ["set a timer for ten minutes", "count down five minutes", "start a timer", "remind me in half an hour"],
    "volume": ["set the volume to 20 percent", "louder music please", "make it quieter", "volume up"],
    "_unknown_": ["who won the game yesterday", "tell me a story about whales", "what is the capital of peru", "book a flight"],
}
LISTS = {"room": {"kitchen": "kitchen", "living room": "living room", "lounge": "living room", "Küche": "kitchen"}}
FOREIGN = ["who was the king of france", "a story about cows", "what is a whale", "buy me a boat"]
CHANNELS, THRESHOLD = 256, 19_200


def lights(lists=LISTS, threshold: int = THRESHOLD) -> Model:
    """The model's labels are the keys of TEXTS; it decides their texts right."""
    texts = [text for group in TEXTS.values() for text in group]
    folding, bits = Folding.of([*texts, "größer"]), families("words", "word2", "skip2")
    reader = Text(bits, folding, sorted({key for text in texts for key in features(text, bits, folding)}))
    rng, n = np.random.default_rng(1), len(reader.keys)
    rows = rng.integers(0, 2, (n, CHANNELS))
    bag = Bag1b(n, CHANNELS, 1, 1, 0, 0, False, pack_gains(np.zeros(n, int)), pack_bits(rows, "<u2"))
    sums = [reference.run([bag], [reader.rows(text) for text in group]) for group in TEXTS.values()]
    weight = np.array([np.sign(np.sign(2 * y + 1).sum(0)) for y in sums], int)
    half = np.full(CHANNELS, 64)  # clamp(64 y + 64, 0, 127): the sign of a counter
    ops = [bag, DenseI4(CHANNELS, len(TEXTS), 1, 1, 0, 0, False, half, half, -64 * weight.sum(1), pack_i4(weight[:, None]))]
    golden = GoldenText.of(reader, ops, "turn on the lamp, größer")
    return Model({"name": "lights"}, list(TEXTS), [threshold] * len(TEXTS), None, ops, golden, reader, encode(lists))
