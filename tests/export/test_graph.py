import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from export.graph import Conv1b, FormatError, SumWindow, decode_graph, encode_graph, pack_bits, unpack_bits
from export.reference import run
from tests.export.strategies import graphs, random_frames, random_op


@given(st.integers(1, 100).flatmap(lambda n: arrays(np.int8, (3, n), elements=st.sampled_from([-1, 1]))))
def test_packed_bits_come_back(signs):
    words = pack_bits(signs)
    n = signs.shape[1]
    assert words.shape == (3, -(-n // 32)) and (unpack_bits(words, n) == signs).all()
    if n % 32:
        assert not (words[:, -1] >> np.uint32(n % 32)).any()


def test_bits_lie_least_significant_first_and_zero_counts_as_plus():
    assert pack_bits(np.array([1, -1, 0, -1]))[0] == 0b0101


@given(graphs())
def test_a_graph_survives_its_bytes(ops):
    data = encode_graph(ops)
    assert len(data) % 4 == 0
    assert decode_graph(data) == ops


@given(graphs(), st.integers(0, 2**32 - 1), st.data())
def test_any_damage_is_refused_or_gives_another_valid_graph(ops, seed, data):
    raw = bytearray(encode_graph(ops))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        damaged = decode_graph(bytes(raw))
    except FormatError:
        return
    assert encode_graph(damaged) == bytes(raw)


@given(graphs(), st.data())
def test_a_cut_graph_is_refused(ops, data):
    raw = encode_graph(ops)
    with pytest.raises(FormatError):
        decode_graph(raw[: data.draw(st.integers(0, len(raw) - 1))])


def test_channels_must_chain():
    rng = np.random.default_rng(0)
    with pytest.raises(FormatError, match=r"reads i16\[9\], but conv_1b gives i16\[8\]"):
        encode_graph([random_op(rng, Conv1b, 8, 8), random_op(rng, Conv1b, 9, 4)])


@pytest.mark.parametrize("field, value, message", [
    ("dilation", 65, "dilation is 65, allowed are 1 to 64"), ("shift_a", 25, "shift_a is 25"), ("taps", 65, "taps is 65"),
    ("cin", 513, "cin is 513"), ("shift_b", 1, "shift_b is 1, allowed are 0 to 0"),
])  # fmt: skip
def test_sizes_beyond_the_limits_are_refused(field, value, message):
    op = random_op(np.random.default_rng(0), Conv1b, 8, 8, 2)
    setattr(op, field, value)
    with pytest.raises(FormatError, match=message):
        encode_graph([op])


def test_a_bias_out_of_range_is_refused():
    op = random_op(np.random.default_rng(0), Conv1b, 8, 8)
    op.bias = np.full(8, 1 << 30)
    with pytest.raises(FormatError, match="bias holds a value outside"):
        encode_graph([op])


def test_set_padding_bits_are_refused():
    op = random_op(np.random.default_rng(0), Conv1b, 8, 8)
    op.weight = op.weight | np.uint32(1 << 20)
    with pytest.raises(FormatError, match="padding bits"):
        encode_graph([op])


def test_unknown_operation_is_refused():
    raw = bytearray(encode_graph([SumWindow(4, 4, 3)]))
    raw[4] = 99
    with pytest.raises(FormatError, match="unknown operation 99; a newer signwave may know it"):
        decode_graph(bytes(raw))


@given(graphs(), st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20))
def test_results_do_not_depend_on_frames_to_come(ops, seed, first, more):
    frames = random_frames(ops, first + more, seed)
    assert (run(ops, frames)[:first] == run(ops, frames[:first])).all()


def test_binary_convolution_by_hand():
    """Two channels, two taps, bits of frames (+,-) then (-,-): the older frame is all -1 before the first."""
    weight = pack_bits(np.array([[[1, 1], [1, -1]]]))
    op = Conv1b(2, 1, 2, 1, 0, 0, False, [0, 0], [10], [128], [0], weight)
    x = np.array([[5, -5], [-1, -1]])
    # frame 0: newest (+1-1) = 0, older (-1+1) = 0 -> 0. frame 1: newest (-1-1) = -2, older (+1+1) = 2 -> 0
    assert run([op], x).tolist() == [[0], [0]]
    op.weight = pack_bits(np.array([[[1, 1], [-1, -1]]]))
    # frame 0: 0 + 2 = 2 -> 20. frame 1: -2 + 0 = -2 -> -20, below zero, half of it: -10
    assert run([op], x).tolist() == [[20], [-10]]
