"""Model files: loading in place, clips and streams, the decision, the stored test, and no allocation while listening.

Expectations come from the host in expected.py; the clip in clip.raw is 16-bit little-endian.
"""

import gc
import struct
import sys
from array import array

import expected
from signwave import Model, backend, classify


def all_of(path):
    with open(path, "rb") as f:
        return f.read()


def check_metadata():
    model = Model("audio.swm")
    assert model.labels == expected.LABELS, model.labels
    assert model.thresholds == expected.THRESHOLDS
    assert model.metadata["name"] == "check"
    assert (model.hop, model.rate_hz) == (320, 16000)


def check_clip_and_stream():
    model, clip = Model("audio.swm"), all_of("clip.raw")
    assert model.classify(clip) == expected.DECISION, model.classify(clip)
    assert model.classify(clip) == expected.DECISION  # nothing is left of the first
    samples = array("h", struct.unpack(f"<{len(clip) // 2}h", clip))
    assert model.classify(samples) == expected.DECISION
    assert classify("audio.swm", clip) == expected.DECISION
    model.reset()
    for frame, scores in enumerate(expected.SCORES):
        top = model.step(clip[640 * frame : 640 * frame + 640])
        assert model.scores() == scores, frame
        assert top is None or top == model.top
    accepted = None if top is None else model.labels[top]
    assert (accepted, model.margin, model.scores()) == expected.DECISION


def check_features_only():
    model, frames = Model("features.swm"), all_of("frames.raw")
    assert model.hop is None
    assert model.classify(frames) == expected.FEATURE_DECISION


def check_self_test():
    for path in ("audio.swm", "features.swm"):
        assert Model(path).self_test()
    damaged = bytearray(all_of("audio.swm"))
    damaged[-1] ^= 1
    import binascii

    damaged[12:16] = struct.pack("<I", binascii.crc32(memoryview(damaged)[16:]))
    assert not Model(damaged).self_test()


def check_no_allocation():
    """Native kernels on MicroPython: a steady stream leaves the heap as it is."""
    if sys.implementation.name != "micropython" or backend.name == "portable":
        return
    model, hop = Model("audio.swm"), bytearray(640)
    model.step(hop)
    gc.collect()
    before = gc.mem_alloc()
    model.step(hop)
    model.step(hop)
    after = gc.mem_alloc()
    assert after == before, after - before


def check_async():
    try:
        import asyncio
    except ImportError:
        return
    model, clip = Model("audio.swm"), all_of("clip.raw")

    async def listen():
        for at in range(0, len(clip) - 639, 640):
            top = await model.step_async(clip[at : at + 640])
        return top

    top = asyncio.run(listen())
    assert (None if top is None else model.labels[top], model.margin, model.scores()) == expected.DECISION


check_metadata()
check_clip_and_stream()
check_features_only()
check_self_test()
check_no_allocation()
check_async()
print("checked models:", backend.name)
