"""A trained `TextNet` as an integer graph.

    ops = lower(net.eval())
    scores = export.reference.run(ops, [rows_of_a_text])       # (text, label) i32, logit_unit(net) to one of the network's logits
"""

import numpy as np
from torch import Tensor

from bnn.layers import LATENT_LIMIT
from export.graph import Bag1b, DenseI4, Operation, pack_bits, pack_gains, pack_i4
from export.lower import clip_bias, multiplier
from textbnn.student import HIDDEN, WEIGHT, TextNet


def logit_unit(net: TextNet) -> float:
    """How many of the graph's integers one unit of a logit is worth."""
    return HIDDEN / 2 * WEIGHT / LATENT_LIMIT / float(net.scale.detach())


def lower(net: TextNet) -> list[Operation]:
    """[bag_1b, dense_i4]: the network's own integers, but for the last bits of slopes and biases."""
    labels, channels = (weight := _numpy(net.class_rows()).astype(np.int64)).shape
    bag = Bag1b(net.bag.entries, channels, gain=pack_gains(_numpy(net.bag.gain()).astype(np.uint8)),
                weight=pack_bits(_numpy(net.bag.binary_weight()) > 0, "<u2"))  # fmt: skip
    slope, offset = (_numpy(part) for part in net.ramp())
    mult, shift = multiplier(slope, offset)
    bias = np.round((offset + 0.5) * 2.0**shift)  # half a unit: a shift rounds down
    out_bias = np.round(_numpy(net.bias) * logit_unit(net) - weight.sum(1) * (HIDDEN / 2))
    dense = DenseI4(channels, labels, shift_a=shift, mult=mult, bias=clip_bias(bias), out_bias=clip_bias(out_bias),
                    weight=pack_i4(weight[:, None]))  # fmt: skip
    return [bag, dense]


def _numpy(t: Tensor) -> np.ndarray:
    return t.detach().double().cpu().numpy()
