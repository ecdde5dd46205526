import torch
from torch import nn

from bnn.layers import BinaryConv1d, BinaryEmbeddingBag, BinaryLinear, Precision, RPReLU, set_precision
from bnn.summary import Costs, layer_costs, summarize


def test_numbers_are_those_counted_by_hand():
    model = nn.Sequential(
        nn.Conv1d(4, 33, 3, dilation=2, bias=False),
        nn.BatchNorm1d(33),
        BinaryConv1d(33, 6, taps=3, dilation=4),
        nn.BatchNorm1d(6),
        RPReLU(6),
    )
    summary = summarize(model, torch.zeros(2, 4, 10))
    stem, norm, conv, _, act = summary.rows
    # 20 header + mult 33 x 2 -> 68 + bias 33 x 4 + 5 blocks x 3 taps x 16; ring 5 frames x 4 + position 4
    expected = Costs(int4=396, int16=33, int32=33, int8_macs=396, file_bytes=20 + 68 + 132 + 240, ram_bytes=24)
    assert (stem.kind, stem.shape, stem.costs) == ("Conv1d", (2, 33, 6), expected)
    # 20 header + threshold 33 x 2 -> 68 + flip 8 + mult and slope 12 each + bias 24 + 3 x 33 words; ring 9 x 2 words + position
    expected = Costs(bits=594, int16=45, int32=6, binary_macs=594, file_bytes=20 + 68 + 8 + 24 + 24 + 396, ram_bytes=76)
    assert (conv.name, conv.shape, conv.costs) == ("2", (2, 6, 6), expected)
    assert norm.costs == act.costs == Costs()
    assert summary.total.file_bytes == 460 + 540 and summary.total.ram_bytes == 100
    table = str(summary)
    for text in ("BinaryConv1d", "2 x 6 x 6", "594", "396", "0.98", "0.10"):  # 1000 and 100 bytes in KiB
        assert text in table


def test_dense_and_text_layers():
    # 20 + threshold 20 + flip 4 + mult 4 + slope 4 + bias 8 + 10 words; taps 1: a ring of one word behind the position
    assert layer_costs(BinaryLinear(10, 2)) == Costs(bits=20, int16=14, int32=2, binary_macs=20, file_bytes=100, ram_bytes=8)
    # 20 + mult 16 + bias 32 + out_bias 12 + weights 24
    assert layer_costs(nn.Linear(8, 3)) == Costs(int8=24, int16=8, int32=11, int8_macs=24, file_bytes=104)
    assert layer_costs(BinaryEmbeddingBag(100, 40)).file_bytes == 100 * 2 * 4


def test_layers_without_a_place_in_the_file_are_pointed_out():
    text = str(summarize(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), torch.zeros(1, 4)))
    assert "no place for the 8 parameters of 1" in text


def test_summary_leaves_the_model_as_it_was_and_does_not_depend_on_precision():
    model = nn.Sequential(BinaryConv1d(4, 4), nn.BatchNorm1d(4)).train()
    before = str(summarize(model, torch.randn(1, 4, 8)))
    set_precision(model, Precision.BINARY)
    assert str(summarize(model, torch.randn(1, 4, 8))) == before
    assert model.training and model[1].num_batches_tracked == 0 and not model[0]._forward_hooks
