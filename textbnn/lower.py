"""A trained `TextNet` as an integer graph.

    ops = lower(net.eval())
    scores = export.reference.run(ops, [rows_of_a_text])       # (text, label) i32, LOGIT_UNIT to one of the network's logits
"""

import numpy as np
from torch import Tensor

from export.graph import MAX_SHIFT, Bag1b, Classes1b, Operation, pack_bits, pack_gains, pack_outputs
from textbnn.student import TextNet

LOGIT_UNIT = 256  # integers that one unit of a logit is worth
_I16 = 32767


def lower(net: TextNet) -> list[Operation]:
    """[bag_1b, classes_1b] with the network's own decisions: all but the rounding of logits to 1/256 is exact."""
    labels, _, channels = (rows := net.class_rows()).shape
    bag = Bag1b(net.bag.entries, channels, gain=pack_gains(_numpy(net.bag.gain()).astype(np.uint8)),
                weight=pack_outputs(_numpy(net.bag.binary_weight()) > 0))  # fmt: skip
    # A counter is whole: it reaches a threshold where it reaches the next whole number.
    threshold = np.ceil(_numpy(net.classes.threshold).astype(np.float64) * float(net.spread))
    threshold = threshold.reshape(net.thresholds, channels).clip(-32768, _I16).astype("<i2")
    scale, bias = _numpy(net.scale()).astype(np.float64) * LOGIT_UNIT, np.round(_numpy(net.bias) * LOGIT_UNIT)
    shift = int(np.clip(np.floor(np.log2(_I16 / np.abs(scale).max())), 0, MAX_SHIFT))
    shift = min(shift, int(np.log2(2**31 / (_I16 * rows[0].numel()))))
    mult = np.round(scale * 2.0**shift).clip(-_I16, _I16).astype("<i2")
    classes = Classes1b(channels, labels, taps=net.thresholds, shift_a=shift, threshold=threshold, mult=mult,
                        bias=bias.clip(-_I16, _I16).astype("<i2"), weight=pack_bits(_numpy(rows) > 0))  # fmt: skip
    return [bag, classes]


def _numpy(t: Tensor) -> np.ndarray:
    return t.detach().cpu().numpy()
