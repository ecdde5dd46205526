"""Misses against false accepts: fast counts equal the board's decider; curves; thresholds; the file's metadata."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.board.signwave.decision import HITS, Decider
from export import format as swm
from kws.detection import Detection, Stream, count_events, firing_margin, hear, measure, summary, with_thresholds
from kws.stream import listen
from tests.device import vectors

# Runs of frames of one label: margins that waver within them, and lengths round the HITS that an event takes.
runs = st.tuples(st.integers(0, 2), st.lists(st.integers(0, 9), min_size=1, max_size=3), st.integers(1, 2 * HITS))
frames = st.lists(runs, max_size=6).map(lambda all_: [(top, m[i % len(m)]) for top, m, n in all_ for i in range(n)])


def stream(pairs, label=""):
    top, margin = np.array(pairs, int).reshape(-1, 2).T
    return Stream(label, len(pairs) / 50, top, margin)


def board_events(pairs, label, threshold, refractory):
    """Events of a label where the board's detector accepts nothing else."""
    decider = Decider([threshold if i == label else 10**6 for i in range(3)], (), HITS, refractory)
    return sum(decider.step(*pair) is not None for pair in pairs)


@given(st.lists(frames, max_size=3), st.integers(0, 9), st.integers(0, 9))
def test_events_are_counted_as_the_board_has_them(recordings, threshold, refractory):
    expected = sum(board_events(pairs, 1, threshold, refractory) for pairs in recordings)
    assert count_events([stream(pairs) for pairs in recordings], 1, 3, threshold, refractory) == expected


@given(frames)
def test_a_recording_fires_up_to_its_firing_margin(pairs):
    margin = firing_margin(stream(pairs), 1)
    for threshold in range(11):
        assert (board_events(pairs, 1, threshold, 5) > 0) == (threshold <= margin)


def burst(margin, label=1, frames=HITS + 1):
    """A second that holds `frames` frames of a label with a margin."""
    return [(0, 5)] * 20 + [(label, margin)] * frames + [(0, 5)] * (30 - frames)


def detection():
    model = replace(vectors.small_model(True), labels=["no", "yes", "_silence_", "_unknown_"])
    own = [stream(burst(m), "yes") for m in (3, 50, 60, 70)]
    others = [stream(burst(40) + burst(10) + burst(20, frames=HITS - 1), ""), stream(burst(30, label=0), "no")]
    return model, measure(model, [*own, *others])


def test_the_greatest_false_peaks_are_named_with_their_file_and_second():
    model = replace(vectors.small_model(True), labels=["no", "yes", "_silence_", "_unknown_"])
    top, margin = np.array(burst(40) + burst(10) + burst(20)[:40] + burst(15)[15:]).T  # the last two within a second
    spoken, other = stream(burst(90), "yes"), Stream("", 3.0, top, margin, Path("radio.wav"), 60.0)
    yes = measure(model, [spoken, other])[1]
    assert [(alarm.margin, alarm.path) for alarm in yes.alarms] == [(40, "radio.wav"), (20, "radio.wav"), (10, "radio.wav")]
    hop_s = model.listening().hop / model.listening().rate_hz
    assert yes.alarms[0].at_s == pytest.approx(60 + (20 + HITS - 1) * hop_s, abs=0.01)
    assert yes.as_dict()["alarms"][0] == {"margin": 40, "path": "radio.wav", "at_s": yes.alarms[0].at_s}


def test_misses_and_false_accepts_by_threshold():
    model, (no, yes) = detection()
    assert (no.word, no.n, yes.word, yes.n) == ("no", 1, "yes", 4)
    assert yes.hours == pytest.approx(4 / 3600) and yes.quiet == 41 and yes.peaks == [40, 10]
    assert yes.misses(41) == 1 and yes.miss_percent(0) == 0 and yes.misses(71) == 4
    assert yes.curve()[0] == [1800.0, 0.0] and yes.curve()[-1] == [0.0, 25.0]
    value = json.loads(json.dumps(summary(model, [no, yes])))
    assert value["words"]["yes"]["miss_at_zero_false_accepts"] == 25 and value["words"]["yes"]["interval"][1] > 60
    assert value["words"]["yes"]["chosen"]["false_accepts"] == 2  # the file's threshold is 0


def test_one_sound_that_lies_over_two_seconds_is_one_false_accept():
    model = replace(vectors.small_model(True), labels=["no", "yes", "_silence_", "_unknown_"], thresholds=[0, 30, 0, 0])
    sound = stream([(0, 5)] * 30 + [(1, 40)] * 40 + [(0, 5)] * 80)
    yes = measure(model, [stream(burst(50), "yes"), sound])[1]
    assert yes.peaks == [40] and yes.false_accepts_at(30) == 1 and yes.false_accepts_at(41) == 0
    assert yes.as_dict(30)["chosen"]["false_accepts"] == 1


def test_without_negatives_or_recordings_there_is_no_curve():
    assert Detection("yes", 3, 0.0, [1, 2, 3], [0], [0], []).curve() == []
    assert Detection("yes", 0, 1.0, [], [0], [0], []).curve() == []


def test_a_curve_of_few_points_keeps_its_ends():
    rates = list(range(200, -1, -1))
    found = Detection("yes", 200, 1.0, list(range(200)), list(range(201)), rates, rates)
    few = found.curve(12)
    assert len(few) == 12 and few[0] == [200, 0] and few[-1] == [0, 100] and len(found.curve()) == 201


def test_a_threshold_for_rarer_false_accepts_than_were_heard_is_extrapolated():
    rng, hours = np.random.default_rng(0), 2.0
    peaks = sorted((int(p) for p in 1000 + rng.exponential(100, 400)), reverse=True)  # 200 an hour, tenfold rarer every 230
    thresholds = sorted(set(peaks)) + [peaks[0] + 1]
    found = Detection("yes", 0, hours, [], thresholds, [sum(p >= t for p in peaks) for t in thresholds], peaks)
    assert abs(found.threshold_for(10) - (1000 + 100 * np.log(200 / 10))) < 80  # counted
    rare = found.threshold_for(1 / 24)
    assert rare >= found.quiet and abs(rare - (1000 + 100 * np.log(200 * 24))) < 250
    assert found.threshold_for(1 / 240) > rare


def found_with(hits, peaks):
    thresholds = sorted({*hits, *(p + 1 for p in peaks), 0})
    return Detection("yes", len(hits), 1.0, sorted(hits), thresholds, [sum(p >= t for p in peaks) for t in thresholds], peaks)


def test_a_threshold_stays_well_below_what_people_reach():
    hits, half = list(range(1000, 1100)), (501 + 1005) // 2
    assert found_with(hits, [500]).threshold_for(1 / 24) == half  # no tail to go by
    tail = found_with(hits, [500, 480, 460, 440, 420, 400])
    assert 501 < tail.threshold_for(1 / 24) < half == tail.threshold_for(1e-6)


def test_one_sound_alone_makes_no_device_deaf():
    hits = list(range(1000, 1100))
    assert found_with(hits, [1050, 500]).threshold_for(1 / 24) == (501 + 1005) // 2  # else half of the words were lost
    assert found_with(hits, [1050, 1040]).threshold_for(1 / 24) > 1040  # two would be two
    assert found_with(hits, [1003, 500]).threshold_for(1 / 24) > 1003  # and here silence costs little


def test_the_file_says_what_its_thresholds_were_chosen_from():
    model, found = detection()
    chosen = with_thresholds(model, found, 1.0, "validation")
    assert chosen.thresholds[1] >= 41 and chosen.thresholds[2:] == [0, 0]
    told = json.loads(swm.decode(swm.encode(chosen)).metadata["detection"])
    assert told["false_wakes_per_day"] == 1 and told["words"]["yes"]["n"] == 4 and told["words"]["yes"]["interval"]
    assert told["negative_hours"] == 0.002 and told["words"]["yes"]["curve"][0] == [1800.0, 0.0]


def test_a_file_of_many_words_keeps_to_the_room_for_metadata():
    model, found = detection()
    many = [replace(found[1], word=f"word {i} {'x' * 90}") for i in range(60)]
    chosen = with_thresholds(replace(model, labels=[d.word for d in many], thresholds=[0] * 60), many, 1.0, "validation")
    assert json.loads(chosen.metadata["detection"])["words"] == {} and min(chosen.thresholds) >= 41


def test_a_recording_is_made_harder_alike_in_any_company(tmp_path):
    import soundfile

    from kws.data import load_clips

    (tmp_path / "no").mkdir()
    for seed, name in enumerate(("a_1", "b_1", "c_1")):
        soundfile.write(tmp_path / "no" / f"{name}.wav", vectors.random_clip(16000, seed), 16000)
    numbers = defaultdict(set)

    def condition(samples, number):
        numbers[samples.tobytes()].add(number)
        return samples

    clips = load_clips(tmp_path)
    for company in (clips, clips[::-1], clips[1:]):
        hear(vectors.small_model(True), company, condition)
    assert [len(each) for each in numbers.values()] == [1, 1, 1] and len(set.union(*numbers.values())) == 3


def test_recordings_are_heard_as_the_detector_hears_them(tmp_path):
    import soundfile

    from kws.data import load_clips

    model = vectors.small_model(True)
    (tmp_path / "no").mkdir()
    samples = vectors.random_clip(32000, 5)
    soundfile.write(tmp_path / "no" / "a_1.wav", samples, 16000)
    (heard,) = hear(model, load_clips(tmp_path))
    for label in range(len(model.labels)):
        margin = firing_margin(heard, label)
        for threshold in {max(0, margin), margin + 1}:
            thresholds = [threshold if i == label else 2**31 - 1 for i in range(len(model.labels))]
            whole = np.concatenate([samples, np.zeros(16000, np.int16)])
            events = listen(model, whole, thresholds=thresholds, discard_ms=0, ignore=[]).events
            assert bool(events) == (threshold <= margin)
    assert heard.seconds == 2 and len(heard.top) == 150
