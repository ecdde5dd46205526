"""Files for the checks in tests/board, made by the host: inputs, and results as the reference has them.

vectors.bin: u32 graphs, u32 front ends; a graph: u32 bytes, state, value, operations, frames, bytes in, bytes out, then the
graph and frame by frame input and result; a front end: u32 bytes, frames, bytes in, bands, then likewise.
texts.bin: u32 texts; a text: u32 bytes, the bytes, u32 rows found, i32 result[label] of text.swm.
"""

import importlib.util
import struct
import zlib
from pathlib import Path

import numpy as np

from export import format as swm
from export import reference
from export.graph import Conv1b, ConvI4, DenseI8, SumWindow, encode_graph, pack_i4, state_size

_spec = importlib.util.spec_from_file_location("strategies", Path(__file__).parents[1] / "export" / "strategies.py")
strategies = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(strategies)
LABELS = ["yes", "no", "_unknown", "größer 大"]


def mel_edges(bands: int, top: int = 4000) -> list[int]:
    """Rising band edges in 1/16 bin, steps widening as on the Mel scale."""
    edges = np.geomspace(64, top, bands + 2).astype(int)
    for i in range(1, len(edges)):
        edges[i] = max(edges[i], edges[i - 1] + 16)
    return edges.tolist()


def random_graphs(seed: int = 1) -> list[list]:
    """Each operation alone at sizes that try its corners, then chains."""
    rng = np.random.default_rng(seed)
    op = lambda *a, **k: strategies.random_op(rng, *a, **k)  # noqa: E731
    graphs = [[op(ConvI4, cin, cout, taps, dilation)] for cin, cout, taps, dilation in
              [(4, 1, 1, 1), (8, 5, 3, 1), (4, 3, 5, 7), (40, 16, 4, 2), (12, 2, 2, 64)]]  # fmt: skip
    graphs += [[op(Conv1b, cin, cout, taps, dilation, cin == cout)] for cin, cout, taps, dilation in
               [(1, 1, 1, 1), (31, 7, 2, 3), (32, 32, 3, 1), (33, 33, 5, 2), (64, 9, 4, 16), (96, 4, 3, 5),
                (256, 3, 1, 1), (300, 2, 2, 1), (257, 2, 8, 1), (5, 64, 9, 8)]]  # fmt: skip
    graphs += [[op(DenseI8, cin, cout)] for cin, cout in [(4, 1), (8, 40), (64, 12), (36, 3)]]
    graphs += [[op(SumWindow, c, c, taps)] for c, taps in [(1, 1), (3, 7), (12, 20), (5, 256)]]
    for _ in range(12):
        c, d = 4 * int(rng.integers(1, 17)), int(rng.integers(1, 10))
        graphs.append([op(ConvI4, 4 * int(rng.integers(1, 11)), c, 3, 1)]
                      + [op(Conv1b, c, c, int(rng.integers(1, 6)), d, bool(rng.integers(0, 2))) for _ in range(3)]
                      + [op(DenseI8, c, 6), op(SumWindow, 6, 6, int(rng.integers(1, 9)))])  # fmt: skip
    return graphs


def random_clip(samples: int, seed: int, hop: int = 320) -> np.ndarray:
    """Noise and tones, each hop at a loudness of its own from silence to clipping: i16 (sample,)."""
    rng = np.random.default_rng(seed)
    hops = -(-samples // hop)
    loud = np.repeat(rng.choice([0, 1, 20, 300, 4000, 32767, 90000], hops), hop)[:samples]
    tone = np.sin(np.arange(samples) * rng.uniform(0.01, 3))
    return np.clip(loud * np.where(rng.random(samples) < 0.7, tone, rng.uniform(-1, 1, samples)), -32768, 32767).astype(np.int16)


def vectors(frames: int = 12) -> bytes:
    """The file vectors.bin."""
    graphs = random_graphs()
    front_ends = [swm.FrontEnd(mel_edges(40)), swm.FrontEnd(mel_edges(4), 32, 8000, 300),
                  swm.FrontEnd(mel_edges(64), 512, 16000, -9000),
                  swm.FrontEnd(list(range(16, 16 * 15, 16)), 160, 16000, -2000)]  # fmt: skip
    out = [struct.pack("<II", len(graphs), len(front_ends))]
    for i, ops in enumerate(graphs):
        x = strategies.random_frames(ops, frames, i)
        y, graph = reference.run(ops, x), encode_graph(ops)
        channels = max(max(op.cin, op.cout) for op in ops)
        out.append(struct.pack("<7I", len(graph), state_size(ops), 4 * channels, len(ops), frames, x[0].nbytes, y[0].nbytes))
        out += [graph] + [a.tobytes() + b.tobytes() for a, b in zip(x, y, strict=True)]
    for i, front_end in enumerate(front_ends):
        clip = random_clip(8 * front_end.hop, i, front_end.hop)
        y, params = reference.log_mel(clip, front_end), front_end.encode()
        out.append(struct.pack("<4I", len(params), len(y), 2 * front_end.hop, front_end.bands) + params)
        out += [a.tobytes() + b.tobytes() for a, b in zip(clip.reshape(len(y), -1), y, strict=True)]
    return b"".join(out)


def small_model(front_end: bool) -> swm.Model:
    """A whole network of every operation, with moderate shifts so that its results differ."""
    rng = np.random.default_rng(7)
    n = lambda low, high, *shape: rng.integers(low, high, shape)  # noqa: E731
    c = 32
    stem = ConvI4(16, c, 3, 1, 3, 10, False, n(300, 900, c), n(-900, 900, c), pack_i4(n(-8, 8, c, 3, 16)))
    binary = [strategies.random_op(rng, Conv1b, c, c, 3, dilation, True) for dilation in (1, 2)]
    for op in binary:
        op.shift_a, op.mult, op.bias, op.threshold = 4, n(20, 200, c), n(-999, 999, c), n(-99, 99, c)
    head = DenseI8(c, 4, 1, 1, 8, 4, False, n(20, 90, c), n(-99, 99, c), n(-99, 99, 4), n(-128, 128, 4, c))
    ops = [stem, *binary, head, SumWindow(4, 4, 10)]
    if not front_end:
        ops = ops[1:]
    return swm.Model({"name": "check"}, LABELS, [0, 5, -3, 1 << 20], swm.FrontEnd(mel_edges(16)) if front_end else None, ops)


def decision(model: swm.Model, scores: np.ndarray) -> tuple:
    """(label or None, margin, scores) as a board gives it."""
    top, margin = (int(v) for v in swm.decide(scores))
    return model.labels[top] if margin >= model.thresholds[top] else None, margin, scores.tolist()


def model_files() -> dict[str, bytes]:
    """Two model files, their inputs and what is expected of them."""
    audio, features = small_model(True), small_model(False)
    clip = random_clip(320 * 14 + 100, 3)
    scores = reference.run(audio.ops, reference.log_mel(clip, audio.front_end))
    frames = strategies.random_frames(features.ops, 15, 4)
    expected = {"LABELS": LABELS, "THRESHOLDS": audio.thresholds,
                "DECISION": decision(audio, scores[-1]), "SCORES": scores.tolist(),
                "FEATURE_DECISION": decision(features, reference.run(features.ops, frames)[-1])}  # fmt: skip
    text = "".join(f"{name} = {value!r}\n" for name, value in expected.items())
    return {"audio.swm": swm.encode(audio), "features.swm": swm.encode(features), "expected.py": text.encode(),
            "clip.raw": clip.astype("<i2").tobytes(), "frames.raw": frames.astype("<i2").tobytes(),
            "graph.bin": encode_graph(audio.ops), "front_end.bin": audio.front_end.encode()}  # fmt: skip


def random_text(rng: np.random.Generator) -> bytes:
    """Sentences, letters of their scripts, any code points, damaged UTF-8, any bytes."""
    kind, n = rng.integers(0, 5), int(rng.integers(0, 90))
    pool = "".join(strategies.SENTENCES) + " ' \u2019\u0301\0\ufffd\u200d"
    if kind == 0:
        return " ".join(rng.choice(strategies.SENTENCES, 1 + n // 30)).encode()
    if kind == 1:
        return "".join(chr(c) for c in rng.integers(0, 0x110000, n // 2)).encode("utf-8", "surrogatepass")
    if kind == 2:
        return rng.integers(0, 256, n).astype(np.uint8).tobytes()
    raw = "".join(pool[i] for i in rng.integers(0, len(pool), n)).encode()
    return bytes(int(rng.integers(0, 256)) if kind == 3 and rng.random() < 0.1 else b for b in raw)


def text_files(texts: int = 150) -> dict[str, bytes]:
    """Files that read text, with many labels too, texts and what is due of them, and damaged files (as bad_files)."""
    rng, model = np.random.default_rng(5), strategies.text_model(channels=72, labels=3)
    model.slots = b"room\tkitchen\n"
    lines = [b"", b"a" * 10_000, b"turn on the kitchen lights " * 60, *(random_text(rng) for _ in range(texts))]
    out = [struct.pack("<I", len(lines))]
    for line in lines:
        rows = model.text.rows(line)
        scores = reference.run(model.ops, [rows])[0]
        out.append(struct.pack("<I", len(line)) + line + struct.pack("<I", len(rows)) + scores.astype("<i4").tobytes())
    many = strategies.text_model(channels=128, labels=151)
    return {"text.swm": swm.encode(model), "many.swm": swm.encode(many), "texts.bin": b"".join(out), **bad_text_files(model)}


def bad_text_files(model: swm.Model) -> dict[str, bytes]:
    """Damaged files that read text, and badtext/index as bad/index."""
    parts = sections_of(swm.encode(model))

    def changed(kind: int, at: int, form: str, value: int) -> bytes:
        raw = bytearray(parts[kind])
        struct.pack_into(form, raw, at, value)
        return assemble(sorted({**parts, kind: bytes(raw)}.items()))

    def without(kind: int) -> bytes:
        return assemble([(k, raw) for k, raw in sorted(parts.items()) if k != kind])

    ranges, last = 8 * len(model.text.folding.ranges), len(parts[4]) - model.ops[-1].record_bytes
    cases = [
        (swm.encode(small_model(True)), "signwave.Model"),
        (without(6), "signwave.Model"),
        (changed(6, 0, "<H", 2), "update signwave"),
        (changed(6, 2, "<H", 1 << 15), "update signwave"),
        (changed(6, 4, "<H", 5000), "limits"),
        (changed(6, 8, "<I", 0x40), "ranges"),
        (changed(6, 8 + ranges, "<B", 255), "dictionary"),
        (changed(6, 8 + ranges + 256, "<H", 65535), "dictionary"),
        (changed(4, 0, "<I", 1), "graph"),
        (changed(4, 4, "<H", 6), "graph"),
        (changed(4, 12, "<H", 9), "graph"),
        (changed(4, last + 17, "<B", 1), "graph"),
        (changed(4, last + 12, "<H", 5), "graph"),
        (changed(2, 0, "<H", 2), "labels"),
        (changed(2, 2, "<H", 2), "labels"),
        (changed(5, 0, "<I", 1), "golden"),
        (changed(5, 4, "<I", 3), "golden"),
        (changed(5, 12, "<B", 255), "golden"),
        (assemble(sorted({**parts, 7: b""}.items())), "slots"),
        (assemble([*sorted(parts.items()), (8, b"x")]), "kind 8"),
    ]
    index = "".join(f"{i:02}.swm\t{part}\n" for i, (_, part) in enumerate(cases))
    return {"badtext/index": index.encode(), **{f"badtext/{i:02}.swm": data for i, (data, _) in enumerate(cases)}}


def assemble(sections: list[tuple[int, bytes]], version: int = swm.VERSION, extra: bytes = b"") -> bytes:
    """A file from sections as they are, valid or not, with a header that agrees."""
    body = b"".join(struct.pack("<II", kind, len(raw)) for kind, raw in sections)
    body += b"".join(raw + bytes(-len(raw) % 4) for _, raw in sections) + extra
    return struct.pack("<4sHHII", b"SWM\x1a", version, len(sections), 16 + len(body), zlib.crc32(body)) + body


def sections_of(data: bytes) -> dict[int, bytes]:
    n, at, out = struct.unpack_from("<H", data, 6)[0], 0, {}
    at = 16 + 8 * n
    for i in range(n):
        kind, length = struct.unpack_from("<II", data, 16 + 8 * i)
        out[kind] = data[at : at + length]
        at += length + -length % 4
    return out


def bad_files() -> dict[str, bytes]:
    """Damaged model files, and bad/index: name, tab, a part of the message that each must give."""
    good = swm.encode(small_model(True))
    parts = sections_of(good)

    def changed(**sections) -> bytes:
        new = {**parts, **{int(kind[1:]): raw for kind, raw in sections.items()}}
        return assemble([(kind, raw) for kind, raw in sorted(new.items()) if raw is not None])

    def patched(raw: bytes, at: int, form: str, value: int) -> bytes:
        out = bytearray(raw)
        struct.pack_into(form, out, at, value)
        return bytes(out)

    cases = [
        (b"RIFF" + good[4:], "not a signwave model"),
        (patched(good, 4, "<H", 3), "update signwave"),
        (patched(good, 4, "<H", 1), "version 1 is older"),
        (patched(good, 8, "<I", 0xFFFFFFF0), "1 MiB"),
        (patched(good, 8, "<I", 3), "1 MiB"),
        (good[:10], "truncated"),
        (good[:100], "truncated"),
        (good[:-1], "truncated"),
        (good + b"\0", "trailing bytes"),
        (patched(good, 12, "<I", 1), "checksum"),
        (patched(good, len(good) - 30, "<B", good[-30] ^ 4), "checksum"),
        (assemble([(1, parts[1]), (2, parts[2]), (4, parts[4]), (3, parts[3]), (5, parts[5])]), "out of order"),
        (assemble([(1, parts[1]), (1, parts[1]), (2, parts[2]), (4, parts[4]), (5, parts[5])]), "out of order"),
        (assemble([*sorted(parts.items()), (6, b"")]), "kind 6"),
        (assemble(sorted(parts.items()), extra=b"\0\0\0\0"), "sections end"),
        (changed(_5=None), "missing: golden"),
        (changed(_1=b"name=x"), "metadata"),
        (changed(_1=b"Name=x\n"), "metadata"),
        (changed(_1=b"name=x\nname=y\n"), "metadata"),
        (changed(_1=b"title=x\n"), "name="),
        (changed(_1=b"name=\xff\xfe\n"), "UTF-8"),
        (changed(_1=b"name=" + b"x" * 5000 + b"\n"), "metadata"),
        (changed(_2=b"\0\0\0\0"), "labels"),
        (changed(_2=parts[2][:-1]), "labels"),
        (changed(_2=parts[2] + b"\0"), "labels"),
        (changed(_2=struct.pack("<HH4i", 4, 0, 0, 0, 0, 0) + b"\1a\1b\1c\1a"), "alike"),
        (changed(_2=struct.pack("<HH3i", 3, 0, 0, 0, 0) + b"\1a\1b\1c"), "3 labels"),
        (changed(_3=patched(parts[3], 0, "<H", 2)), "update signwave"),
        (changed(_3=patched(parts[3], 2, "<H", 31)), "front end"),
        (changed(_3=patched(parts[3], 14, "<H", 0)), "front end"),
        (changed(_3=parts[3][:-2]), "front end"),
        (changed(_3=swm.FrontEnd(mel_edges(20)).encode()), "20 bands"),
        (changed(_4=patched(parts[4], 4, "<H", 9)), "graph"),
        (changed(_4=patched(parts[4], 0, "<I", 0)), "graph"),
        (changed(_4=patched(parts[4], 0, "<I", 65)), "graph"),
        (changed(_4=patched(parts[4], 8, "<I", 1 << 30)), "graph"),
        (changed(_4=patched(parts[4], 12, "<H", 20)), "graph"),
        (changed(_4=patched(parts[4], 14, "<H", 65535)), "graph"),
        (changed(_4=patched(parts[4], 20, "<B", 25)), "graph"),
        (changed(_4=parts[4][:-4]), "graph"),
        (changed(_4=parts[4] + b"\0\0\0\0"), "graph"),
        (changed(_5=parts[5][:-4]), "golden"),
        (changed(_5=patched(parts[5], 0, "<I", 0)), "golden"),
        (changed(_5=patched(parts[5], 4, "<I", 257)), "golden"),
    ]  # fmt: skip
    index = "".join(f"{i:02}.swm\t{part}\n" for i, (_, part) in enumerate(cases))
    return {"bad/index": index.encode(), **{f"bad/{i:02}.swm": data for i, (data, _) in enumerate(cases)}}
