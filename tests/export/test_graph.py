import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from export.graph import (
    Conv1b,
    ConvI4,
    FormatError,
    SumWindow,
    decode_graph,
    encode_graph,
    pack_bits,
    pack_i4,
    pack_outputs,
    unpack_bits,
    unpack_i4,
    unpack_outputs,
)
from export.reference import run
from tests.export.strategies import graphs, random_frames, random_op


@given(st.integers(1, 100).flatmap(lambda n: arrays(np.int8, (3, n), elements=st.integers(0, 1))))
def test_packed_bits_come_back(bits):
    words = pack_bits(bits)
    n = bits.shape[1]
    assert words.shape == (3, -(-n // 32)) and (unpack_bits(words, n) == bits).all()
    if n % 32:
        assert not (words[:, -1] >> np.uint32(n % 32)).any()


@given(st.integers(1, 70).flatmap(lambda n: arrays(np.int8, (2, n), elements=st.integers(0, 1))))
def test_packed_outputs_come_back(bits):
    words, n = pack_outputs(bits), bits.shape[1]
    assert words.shape == (2, -(-n // 32)) and (unpack_outputs(words, n) == bits).all()
    assert all(words[0, o // 32] >> np.uint32(8 * (o % 4) + o % 32 // 4) & 1 == bits[0, o] for o in range(n))


@given(st.integers(1, 9).flatmap(lambda n: arrays(np.int8, (n, 2, 8), elements=st.integers(-8, 7))))
def test_packed_four_bit_weights_come_back(weight):
    words, n = pack_i4(weight), len(weight)
    assert words.shape == (-(-n // 8), 2, 2, 8) and (unpack_i4(words, n) == weight).all()
    assert words[0, 1, 1, 0] & 15 == weight[0, 1, 4] + 8


def test_bits_lie_least_significant_first():
    assert pack_bits(np.array([1, 0, 1, 0]))[0] == 0b0101


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


@pytest.mark.parametrize("field", ["weight", "flip"])
def test_set_padding_bits_are_refused(field):
    op = random_op(np.random.default_rng(0), Conv1b, 8, 8)
    setattr(op, field, getattr(op, field) | np.uint32(1 << 20))
    with pytest.raises(FormatError, match="padding bits"):
        encode_graph([op])


def test_weights_of_no_output_are_refused():
    op = random_op(np.random.default_rng(0), ConvI4, 8, 3)
    op.weight[-1, 0, 0, 3] = 8
    with pytest.raises(FormatError, match="padding in the weights"):
        encode_graph([op])


def test_unknown_operation_is_refused():
    raw = bytearray(encode_graph([SumWindow(4, 4, 3)]))
    raw[4] = 99
    with pytest.raises(FormatError, match="unknown operation 99; another version of signwave may"):
        decode_graph(bytes(raw))


@given(graphs(), st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20))
def test_results_do_not_depend_on_frames_to_come(ops, seed, first, more):
    frames = random_frames(ops, first + more, seed)
    assert (run(ops, frames)[:first] == run(ops, frames[:first])).all()


def test_binary_convolution_by_hand():
    """Two channels, two taps, bits of frames (1, 0) then (0, 0); the older frame is all 0 before the first."""
    op = Conv1b(2, 1, 2, 1, 0, 0, False, [0, 0], pack_bits([0, 0]), [10], [128], [0], pack_outputs([[[1], [1]], [[0], [1]]]))
    x = np.array([[5, -5], [-1, -1]])
    # frame 0: n = 1, m = 1 -> 2 -> 20. frame 1: the older tap's bit meets a weight of 0: n = 0, m = 1 -> -2 -> -20, halved
    assert run([op], x).tolist() == [[20], [-10]]
    op.flip = pack_bits([0, 1])  # channel 1 reads 1, and 1 before the first frame
    # frame 0: newest (1, 1), older (0, 1): n = 3, m = 3 -> 6 -> 60. frame 1: newest (0, 1), older (1, 1): n = 2, m = 3 -> 2 -> 20
    assert run([op], x).tolist() == [[60], [20]]


def test_stem_by_hand_counts_from_silence():
    op = ConvI4(4, 1, 2, 1, 0, 0, False, [1], [7], pack_i4(np.array([[[1, 0, 0, 0], [-8, 0, 0, 7]]])))
    x = np.array([[-128, 0, 0, -127], [-126, 0, 0, 0]])
    assert run([op], x).tolist() == [[7], [7 + 2 - 0 + 7]]
