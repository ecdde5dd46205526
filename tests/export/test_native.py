import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import reference
from export.format import FrontEnd
from export.graph import Conv1b, ConvI4, DenseI8, FormatError, SumWindow, decode_graph, encode_graph, pack_outputs, state_size
from tests.export.strategies import graphs, random_frames, random_op

native = pytest.importorskip("export.native")
NATIVE = Path(__file__).parents[2] / "device" / "native"
SECTION = encode_graph([
    random_op(np.random.default_rng(5), ConvI4, 8, 36, 3, 2),
    random_op(np.random.default_rng(6), Conv1b, 36, 36, 3, 2, True),
    random_op(np.random.default_rng(7), DenseI8, 36, 3),
    random_op(np.random.default_rng(8), SumWindow, 3, 3, 4),
])  # fmt: skip


@st.composite
def front_ends(draw) -> FrontEnd:
    bands = 4 * draw(st.integers(1, 16))
    spare = 4080 - 16 * (bands + 2)
    cuts = sorted(draw(st.lists(st.integers(0, spare), min_size=bands + 2, max_size=bands + 2)))
    edges = [16 * (i + 1) + cut for i, cut in enumerate(cuts)]
    return FrontEnd(edges, 2 * draw(st.integers(16, 256)), 16000, draw(st.integers(-32768, 32767)))


@st.composite
def clips(draw) -> np.ndarray:
    """Noise, tones, steps and silence at every level."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, peak = draw(st.integers(0, 3000)), draw(st.integers(0, 32767))
    t = np.arange(n)
    wave = {
        "noise": rng.uniform(-1, 1, n),
        "tone": np.sin(t * rng.uniform(0, np.pi)),
        "square": np.sign(np.sin(t * rng.uniform(0, np.pi) + 0.1)),
        "sparse": rng.choice([0, 0, 0, -1, 1], n),
        "burst": np.where(t > n // 2, rng.uniform(-1, 1, n), 0),
        "extremes": rng.choice([-1, 1], n),
    }[draw(st.sampled_from(["noise", "tone", "square", "sparse", "burst", "extremes"]))]
    return np.clip(wave * peak - draw(st.integers(0, 1)), -32768, 32767).astype(np.int16)


@settings(max_examples=60, deadline=None)
@given(front_ends(), clips())
def test_front_end_equals_reference(front_end, clip):
    expected = reference.log_mel(clip, front_end)
    features = native.log_mel(clip, front_end.encode())
    assert features.dtype == np.int8
    np.testing.assert_array_equal(features, expected)


@pytest.mark.parametrize("level", [0, -1, 1])
def test_only_a_window_of_zeros_is_silence(level):
    front_end = FrontEnd(np.linspace(16, 4080, 42).astype(int).tolist(), 32, offset=32000)
    clip = np.full(32 * 20, level, np.int16)
    expected = reference.log_mel(clip, front_end)
    assert (expected[-1] == -128).all() == (level == 0)
    np.testing.assert_array_equal(native.log_mel(clip, front_end.encode()), expected)


def test_pulses_that_line_up_in_the_fft_stay_within_16_bits():
    """32 pulses that meet in one output of the second stage, behind a turn by 45 degrees: the worst that input can do."""
    y = np.zeros(512)
    for m in range(16):
        pulse = (1 + 1j) * 1j ** (m % 4) * (2**19 - 64)
        y[2 * (8 + 16 * m) : 2 * (8 + 16 * m) + 2] = pulse.real, pulse.imag
    x = [0]
    for value in y:
        x.append(round((value + 31 * x[-1]) / 32))
    clip, front_end = np.array(x[1:], np.int16), FrontEnd(np.linspace(16, 4080, 42).astype(int).tolist(), 512, offset=-7000)
    np.testing.assert_array_equal(native.log_mel(clip, front_end.encode()), reference.log_mel(clip, front_end))


def test_front_end_stream_equals_clip():
    front_end = FrontEnd(np.linspace(40, 3900, 42).astype(int).tolist(), 160)
    clip = np.random.default_rng(0).integers(-9000, 9000, 160 * 12).astype(np.int16)
    stream = native.FrontEnd(front_end.encode())
    whole = stream.log_mel(clip)
    for _ in range(2):
        frames = [stream.step(clip[i : i + 160]) for i in range(0, len(clip), 160)]
        np.testing.assert_array_equal(frames, whole)
        stream.reset()
    np.testing.assert_array_equal(stream.log_mel_batch(np.stack([clip, clip[::-1]]))[0], whole)


@settings(max_examples=80, deadline=None)
@given(graphs(), st.integers(1, 40), st.integers(0, 99))
def test_graph_equals_reference_after_every_operation(ops, frames, seed):
    x = random_frames(ops, frames, seed)
    graph = native.Graph(encode_graph(ops))
    assert graph.state_size == state_size(ops)
    assert graph.value_size == 4 * max(max(op.cin, op.cout) for op in ops)
    for last in range(1, len(ops) + 1):
        expected = reference.run(ops[:last], x)
        result = graph.run(x, last=last)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal([graph.step(frame) for frame in x], expected)
    np.testing.assert_array_equal(graph.run_batch(x[None])[0], expected[-1])


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 15, 16])
@pytest.mark.parametrize("fill", [-1, 1, 0])
def test_counts_of_every_length(words, fill):
    """From one list of set bits to several, all bits set and counted, none counted, at random."""
    rng = np.random.default_rng(words)
    op = random_op(rng, Conv1b, 32 * words, 3, 1)
    op.mult[:], op.bias[:], op.shift_a, op.slope[:] = 1, 0, 0, 256
    if fill:
        op.weight, op.flip[:] = pack_outputs(np.full((1, op.cin, 3), fill > 0)), 0
    x = np.full((2, op.cin), 32767, np.int16) if fill else random_frames([op], 9, words)
    np.testing.assert_array_equal(native.Graph(encode_graph([op])).run(x), reference.run([op], x))


@pytest.mark.parametrize("cin, taps", [(64, 64), (65, 63), (512, 8), (1, 64)])
def test_largest_binary_layers(cin, taps):
    op = random_op(np.random.default_rng(cin), Conv1b, cin, 5, taps, 4)
    x = random_frames([op], 270, 1)
    np.testing.assert_array_equal(native.Graph(encode_graph([op])).run(x), reference.run([op], x))


@pytest.mark.parametrize("cin, cout, taps", [(128, 130, 3), (512, 33, 8), (65, 257, 7)])
@pytest.mark.parametrize("share", [0, 0.3, 0.66, 1])
def test_lists_of_set_bits_that_are_empty_or_overflow(cin, cout, taps, share):
    """None to all bits set, so that a list of 255 is cut into many; blocks of 32 outputs full and not."""
    rng = np.random.default_rng(cin)
    op = random_op(rng, Conv1b, cin, cout, taps)
    op.threshold[:], op.flip[:], op.shift_a = 0, 0, 7
    x = np.where(rng.random((12, cin)) < share, 1, -1).astype(np.int16)
    np.testing.assert_array_equal(native.Graph(encode_graph([op])).run(x), reference.run([op], x))


def test_threads_share_a_graph():
    ops = decode_graph(SECTION)
    graph, batch = native.Graph(SECTION), np.stack([random_frames(ops, 200, seed) for seed in range(8)])
    expected = graph.run_batch(batch, every=True)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(graph.run, batch))
    np.testing.assert_array_equal(results, expected)
    np.testing.assert_array_equal(expected[0], reference.run(ops, batch[0]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_core_and_reader_refuse_the_same_graphs(data):
    """Mutations of a valid section are valid for both or for neither."""
    section = bytearray(SECTION)
    starts = [0, 4]
    while starts[-1] < len(section):
        starts.append(starts[-1] + struct.unpack_from("<I", section, starts[-1] + 4)[0])
    for _ in range(data.draw(st.integers(1, 2))):
        start = data.draw(st.sampled_from(starts[:-1]))
        at = data.draw(st.one_of(st.integers(start, start + 19), st.integers(0, len(section) - 1)))
        section[at] = data.draw(st.one_of(st.integers(0, 8), st.integers(0, 255)))
    section = section[: data.draw(st.one_of(st.just(len(section)), st.integers(0, len(section))))]
    section += bytes(data.draw(st.sampled_from([0, 0, 0, 4])))
    try:
        ops = decode_graph(bytes(section))
    except FormatError:
        with pytest.raises(native.NativeError):
            native.Graph(bytes(section))
    else:
        graph = native.Graph(bytes(section))
        x = random_frames(ops, 5, 0)
        np.testing.assert_array_equal(graph.run(x), reference.run(ops, x))


def test_core_and_reader_refuse_the_same_front_ends():
    good = FrontEnd(np.linspace(16, 4080, 14).astype(int).tolist()).encode()
    native.FrontEnd(good)
    rng = np.random.default_rng(1)
    for _ in range(2000):
        raw = bytearray(good)
        raw[int(rng.choice([rng.integers(0, 12), rng.integers(0, len(raw))]))] = rng.integers(0, 256)
        raw = bytes(raw[: int(rng.choice([len(raw), rng.integers(0, len(raw))], p=[0.9, 0.1]))])
        try:
            FrontEnd.decode(raw)
        except FormatError:
            with pytest.raises(native.NativeError):
                native.FrontEnd(raw)
        else:
            native.FrontEnd(raw)


def test_wrong_arguments_are_named():
    graph = native.Graph(SECTION)
    with pytest.raises(native.NativeError, match="int8"):
        graph.run(np.zeros((3, 8), np.int16))
    with pytest.raises(native.NativeError, match="8 channels, got 9"):
        graph.run(np.zeros((3, 9), np.int8))
    with pytest.raises(native.NativeError, match="last: 5 operations, the graph has 4"):
        graph.run(np.zeros((3, 8), np.int8), last=5)
    with pytest.raises(native.NativeError, match="truncated"):
        native.Graph(SECTION[:-4])
    with pytest.raises(native.NativeError, match="320, got 100"):
        native.FrontEnd(FrontEnd([16, 40, 80, 160, 320, 640]).encode()).step(np.zeros(100, np.int16))
    assert graph.run(np.zeros((0, 8), np.int8)).shape == (0, 3)


FUZZ = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "signwave.h"

static uint32_t seed = 1;
static uint32_t draw(void) { seed ^= seed << 13; seed ^= seed >> 17; seed ^= seed << 5; return seed; }

/* Exact allocations, so that the sanitizer sees the first byte outside. */
static uint8_t *copy(const uint8_t *data, uint32_t n) {
    uint8_t *p = malloc(n ? n : 1);
    memcpy(p, data, n);
    return p;
}

static void mutate(uint8_t *g, uint32_t len, const uint32_t *starts, uint32_t n) {
    for (uint32_t k = draw() % 4; k; k--) {
        uint32_t at = draw() & 1 ? starts[draw() % n] + draw() % 20 : draw() % len;
        g[at % len] = draw() & 1 ? draw() : draw() % 9;
    }
}

int main(int argc, char **argv) {
    static uint8_t good[1 << 16];
    FILE *f = fopen(argv[1], "rb");
    uint32_t size = fread(good, 1, sizeof(good), f), starts[64], n = 0, checked = 0, ran = 0;
    for (uint32_t at = 4; at < size; at += *(uint32_t *)(good + at + 4)) starts[n++] = at;
    for (int round = 0; round < 40000; round++) {
        uint32_t len = draw() % 4 ? size : (draw() % (size + 1)), state_size = 0, value_size = 0;
        uint8_t *g = copy(good, len);
        if (len) mutate(g, len, starts, n);
        int32_t rc = sw_graph_check(g, len, &state_size, &value_size);
        checked += rc == 0;
        uint32_t sn = rc || draw() % 4 == 0 ? draw() % 6000 : state_size;
        uint32_t vn = rc || draw() % 4 == 0 ? draw() % 3000 : value_size;
        uint8_t *s = malloc(sn ? sn : 1), *v = malloc(vn ? vn : 1);
        for (uint32_t i = 0; i < sn; i++) s[i] = draw();
        memset(v, 77, vn);
        if (draw() & 1) memset(s, 0, sn);
        if (draw() & 1) sw_graph_reset(g, len, s, sn);
        for (uint32_t first = 0; first < n; first++)
            ran += sw_graph_step(g, len, s, sn, v, vn, first, first + 1) == 0;
        for (int t = 0; t < 4; t++) sw_graph_step(g, len, s, sn, v, vn, 0, n + draw() % 2);
        free(g); free(s); free(v);
    }
    uint8_t params[12 + 2 * 66];
    for (int round = 0; round < 3000; round++) {
        uint32_t bands = 4 + draw() % 64, hop = 32 + draw() % 500, edge = 16;
        uint16_t head[6] = {1, hop, 16000, 0, bands, draw()};
        memcpy(params, head, 12);
        uint32_t len = 12 + 2 * (bands + 2);
        if (len > sizeof(params)) continue;
        for (uint32_t j = 0; j < bands + 2; j++, edge += 16 + draw() % 40) {
            uint16_t e = draw() % 50 ? edge : draw();
            memcpy(params + 12 + 2 * j, &e, 2);
        }
        uint8_t *p = copy(params, len);
        uint32_t sn = draw() % 4 ? sw_frontend_state_size(p) : draw() % 5000;
        uint8_t *s = malloc(sn ? sn : 1);
        int16_t *x = malloc(2 * hop);
        int8_t *out = malloc(bands);
        for (uint32_t i = 0; i < sn; i++) s[i] = draw();
        for (uint32_t i = 0; i < hop; i++) x[i] = draw();
        if (draw() & 1) checked += sw_frontend_reset(p, len, s, sn) == 0;
        for (int t = 0; t < 3; t++) ran += sw_frontend_step(p, len, s, sn, x, hop, out, bands) == 0;
        free(p); free(s); free(x); free(out);
    }
    printf("%u %u\n", checked, ran);
    return checked < 1000 || ran < 1000;
}
"""


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory) -> Path:
    """The core under the address and undefined-behaviour sanitizers, fed with damaged graphs and states."""
    if sys.platform != "linux" or not shutil.which("gcc"):
        pytest.skip("needs gcc on Linux")
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "fuzz.c").write_text(FUZZ)
    command = ["gcc", "-std=c99", "-O1", "-g", "-w", "-fwrapv", "-fno-strict-aliasing", "-fsanitize=address,undefined",
               "-fno-sanitize-recover=all", f"-I{NATIVE}", "fuzz.c",
               *(f"{NATIVE}/{name}.c" for name in ("graph", "kernels", "frontend")),
               "-o", "fuzz"]  # fmt: skip
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if "asan" in built.stderr and built.returncode:
        pytest.skip("libasan is not installed")
    assert built.returncode == 0, built.stderr
    return folder / "fuzz"


def test_nothing_outside_the_buffers_on_hostile_input(fuzzer):
    (fuzzer.parent / "graph").write_bytes(SECTION)
    done = subprocess.run([str(fuzzer), "graph"], cwd=fuzzer.parent, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
