"""The host's events of a recording against slow and plain re-statements of what a board does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.board.signwave.decision import Decider, decider_for, frames_in
from export import format as swm
from export import reference
from kws.stream import events_of, field, gate, listen, results
from tests.device import vectors

frames = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)) | st.none(), max_size=80)


def plain_events(frames, thresholds, ignored, hits, refractory):
    """(frame, label): in each stretch of one accepted label, the first frame that is far enough in and late enough."""
    accepted = [f[0] if f and f[1] >= thresholds[f[0]] else None for f in frames]
    events, begin = [], 0
    while begin < len(accepted):
        end = begin
        while end < len(accepted) and accepted[end] == accepted[begin]:
            end += 1
        if accepted[begin] is not None and accepted[begin] not in ignored:
            at = max(begin + hits - 1, events[-1][0] + refractory if events else 0)
            if at < end:
                events.append((at, accepted[begin]))
        begin = end
    return events


margins = st.lists(st.integers(0, 9), min_size=3, max_size=3)


@given(frames, margins, st.sets(st.integers(0, 2)), st.integers(1, 5), st.integers(0, 9))
def test_an_event_is_enough_accepted_frames_on_end_and_the_refractory_time_later(frames, thresholds, ignored, hits, refractory):
    decider = Decider(thresholds, ignored, hits, refractory)
    got = []
    for i, frame in enumerate(frames):
        label = decider.skip() if frame is None else decider.step(*frame)
        if label is not None:
            got.append((i, label))
    assert got == plain_events(frames, thresholds, ignored, hits, refractory)


def test_settings_that_do_not_fit_are_refused_by_name():
    labels = ["yes", "no", "_silence_"]
    make = lambda **settings: decider_for(labels, [1, 2, 3], 320, 16000, **settings)  # noqa: E731
    assert make(thresholds={"no": 7})._thresholds == [1, 7, 3] and make()._thresholds == [1, 2, 3]
    assert make()._ignored == bytes([0, 0, 1])
    with pytest.raises(ValueError, match="'maybe'.*yes, no"):
        make(thresholds={"maybe": 7})
    with pytest.raises(ValueError, match="2 thresholds.*3 labels"):
        make(thresholds=[1, 2])
    with pytest.raises(ValueError, match="hits 0"):
        make(hits=0)
    with pytest.raises(ValueError, match="refractory"):
        make(refractory_ms=-100)
    assert [frames_in(ms, 320, 16000) for ms in (0, 1, 20, 21, 250)] == [0, 1, 1, 2, 13]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 9))
def test_the_gate_decides_where_any_frame_of_the_field_is_loud_and_runs_what_it_missed(loud, field):
    features = np.full((len(loud), 4), -100, np.int8)
    features[np.array(loud, bool), 2] = -20
    runs, run = gate(features, field, -20)
    count, missed = 0, 0
    for i in range(len(loud)):
        decided = any(loud[max(0, i - field + 1) : i + 1])
        assert runs[i] == decided
        count += decided and 1 + min(missed, field - 1)
        missed = 0 if decided else missed + 1
    assert run == count


def recording(seconds: int, seed: int) -> np.ndarray:
    return vectors.random_clip(16000 * seconds, seed)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.integers(1, 4), st.sampled_from([None, -60, 40]), st.integers(-2, 2), st.integers(5, 30))
def test_events_are_those_of_the_reference_frame_by_frame(seed, hits, level, gain, thousand):
    model, samples = vectors.small_model(True), recording(4, seed)
    front_end = swm.FrontEnd(model.front_end.edges, offset=model.front_end.offset + 512 * gain)
    features = reference.log_mel(samples, front_end)[5:]
    rest = field(model)
    y = reference.run(model.ops, np.concatenate([np.full((rest, features.shape[1]), -128, np.int8), features]))[rest:]
    decider = decider_for(model.labels, [1000 * thousand] * 4, 320, 16000, hits=hits, refractory_ms=60)
    expected = []
    for i in range(len(y)):
        top, margin = (int(v) for v in swm.decide(y[i]))
        near = features[max(0, i - field(model) + 1) : i + 1]
        label = decider.skip() if level is not None and near.max() < level else decider.step(top, margin)
        if label is not None:
            expected.append((model.labels[label], margin, i + 6))
    settings = {"thresholds": dict.fromkeys(model.labels, 1000 * thousand), "hits": hits, "refractory_ms": 60, "gain": gain}
    heard = listen(model, samples, discard_ms=100, gate_level=level, **settings)
    assert [(e.label, e.margin, e.frame) for e in heard.events] == expected
    assert heard.frames == 200 and [e.at_s for e in heard.events] == [e.frame / 50 for e in heard.events]
    assert (heard.frames_run == 195) if level is None else (heard.frames_run <= 195 + 195)


def test_a_recording_begins_as_after_silence():
    model, samples = vectors.small_model(True), recording(2, 1)
    after_silence = results(model, np.concatenate([np.zeros(9600, np.int16), samples]))  # 30 frames
    for at_once, later in zip(results(model, samples), after_silence, strict=True):
        assert len(at_once) == 100 and (at_once == later[30:]).all() and len(set(later[:30].tolist())) == 1


def test_a_closed_gate_rests_the_network_and_hears_nothing():
    heard = listen(vectors.small_model(True), np.zeros(16000, np.int16), thresholds=[0] * 4, gate_level=-127)
    assert heard.events == [] and heard.frames_run == 0 and heard.duty_cycle == 0


def test_a_recording_shorter_than_what_is_discarded_has_no_events(tmp_path):
    swm.write(vectors.small_model(True), tmp_path / "model.swm")
    assert events_of(tmp_path / "model.swm", np.zeros(3000, np.int16)) == []
    assert events_of(tmp_path / "model.swm", np.zeros(0, np.int16), gate_level=0) == []


def test_a_model_of_features_is_refused():
    with pytest.raises(swm.FormatError, match="features"):
        events_of(vectors.small_model(False), np.zeros(16000, np.int16))
    with pytest.raises(ValueError, match="gate level 200"):
        events_of(vectors.small_model(True), np.zeros(16000, np.int16), gate_level=200)
