"""The report of a run: stands alone, shows the figures that were measured, and takes no text for markup."""

import base64
import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bnn.intervals import rate_interval, wilson_interval
from bnn.layers import Precision, set_precision
from device.bench import bench
from device.micropython import Target
from export.format import read
from kws import charts, report
from kws.audio import AudioError
from kws.cli import app
from kws.data import DataError, load_folder
from kws.evaluate import evaluate
from kws.frontend import extract, log_mel_front_end
from kws.models import KwsConfig, KwsNet
from kws.page import document, listing, tag
from kws.train import export_run
from tests.kws.tones import write_tones

HOSTILE = '<img src=x onerror="alert(1)">&amp;'
VOID = {"meta", "br", "path", "rect", "line", "circle"}


@dataclass
class Page(HTMLParser):
    """Elements as (tag, attributes), and all text; raises where elements do not nest."""

    elements: list = field(default_factory=list)
    texts: list = field(default_factory=list)
    open: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.texts.append(data)

    @classmethod
    def of(cls, text):
        page = cls()
        page.feed(text)
        page.close()
        assert not page.open
        return page

    def all(self, name):
        return [attributes for element, attributes in self.elements if element == name]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SIGNWAVE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    root = write_tones(tmp_path_factory.mktemp("tones"), speakers=90)
    (root / "high").rename(root / HOSTILE)
    (root / "manifest.csv").unlink()
    return root


@pytest.fixture(scope="module")
def finished(tones, tmp_path_factory):
    """A run folder as training leaves it, of a network that has learned nothing: errors enough to show."""
    run = tmp_path_factory.mktemp("runs") / "mine & yours"
    run.mkdir()
    dataset = load_folder(tones)
    torch.manual_seed(1)
    config = {"channels": 32, "blocks": 2}
    net = KwsNet(KwsConfig(**config), len(dataset.labels))
    set_precision(net, Precision.BINARY)
    for name in ("model", "float"):
        safetensors.torch.save_file(net.state_dict(), run / f"{name}.safetensors")
    stages = [{"name": "float", "precision": "32w32a"}, {"name": "binary", "precision": "1w1a"}]
    (run / "config.json").write_text(json.dumps({"config": {"model": config}, "seed": 7, "stages": stages}))
    (run / "export.json").write_text(json.dumps({"name": "mine & yours", "labels": dataset.labels, "seconds": 1.0}))
    rows = [{"stage": "float", "epoch": i, "loss": 2.0 - i / 10, "val": 30.0 + i, "seconds": 120.0} for i in range(1, 9)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    waveforms, _ = dataset.waveforms("train")
    np.save(run / "calibration.npy", extract(waveforms[:64], log_mel_front_end()))
    export_run(run, run / "model.swm")
    return run


@pytest.fixture(scope="module")
def page(finished, tones):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNWAVE_TOOLCHAIN", str(finished / "no toolchain"))
        assert report.write_report(finished, load_folder(tones), 1.0) == finished / "report.html"
    return Page.of((finished / "report.html").read_text())


def test_a_page_stands_alone(page, finished):
    assert (finished / "report.html").stat().st_size < 2e6
    for _, attributes in page.elements:
        for name in ("src", "href", "data", "poster", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:audio/wav")), attributes
    policy = next(m["content"] for m in page.all("meta") if "content" in m and "default-src" in m["content"])
    script = re.search(r"<script>(.*?)</script>", (finished / "report.html").read_text(), re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r"@import|url\(|fetch\(|https?://", (finished / "report.html").read_text())


def test_labels_and_names_are_text_not_markup(page, finished):
    assert not page.all("img") and HOSTILE in page.text and "mine & yours" in page.text
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert f"signwave device install '{finished}/model.swm'" in page.text


def test_the_figures_are_those_of_the_integer_graph(page, finished, tones):
    waveforms, targets = load_folder(tones).waveforms("test")
    measured = evaluate(read(finished / "model.swm"), waveforms, targets)
    assert json.loads((finished / "results.json").read_text())["test"] == measured.as_dict()
    low, high = measured.interval
    assert f"{measured.accuracy:.1f} % of {measured.n} clips; 95 % interval {low:.1f} to {high:.1f} %" in page.text
    assert "float twin" in page.text and "16 min" in page.text  # eight epochs of two minutes


def test_the_worst_errors_come_first_and_can_be_heard(page, finished, tones):
    dataset = load_folder(tones)
    _, errors = report.evaluate_split(finished, read(finished / "model.swm"), dataset, "test", 1.0)
    assert len(errors) == report.WORST == len(page.all("audio"))
    assert [e.margin for e in errors] == sorted((e.margin for e in errors), reverse=True)
    clips, (waveforms, _) = dataset.clips("test"), dataset.waveforms("test")
    for error, audio in zip(errors, page.all("audio"), strict=True):
        sound = io.BytesIO(base64.b64decode(audio["src"].partition("base64,")[2]))
        samples, rate_hz = soundfile.read(sound, dtype="int16")
        assert rate_hz == 16000 and (samples == waveforms[clips.index(error.clip)]).all()
        assert error.spoken == error.clip.label != error.heard and error.rank > 1
        assert audio["aria-label"] == f"Play: {error.spoken}, heard as {error.heard}"


def test_without_emulators_it_says_how_to_get_them(page):
    assert "Instructions on rv32imc were not counted" in page.text and "make toolchain" in page.text
    assert "1-bit multiply-accumulates a second" in page.text


def test_with_emulators_it_shows_what_bench_counts(finished, tones):
    if reason := Target("rv32").missing():
        pytest.skip(reason)
    counted = report.count_instructions(finished / "model.swm", "rv32imc")
    assert counted == bench(finished / "model.swm", "rv32imc")
    html = report.sections.costs(report.describe(read(finished / "model.swm"), 1), {"rv32imc": counted})
    for layer in counted["layers"]:
        assert f"{layer['instructions']:,}" in html
    assert f"{counted['code_bytes']:,} bytes" in html and Page.of(html)


def test_clips_of_a_synthesizer_are_counted_and_warned_of(tones, tmp_path):
    for i in range(4):
        for label in ("a", "b"):
            path = tmp_path / label / f"s{i}_0.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, np.full(16000, i + 1, np.int16), 16000)
    rows = [f"{x}/s{i}_0.wav,{x},s{i},{split},Anna 9,{'v' if x == 'a' else ''}"
            for x in "ab" for i, split in enumerate(("train", "train", "val", "test"))]  # fmt: skip
    (tmp_path / "manifest.csv").write_text("path,label,speaker,split,source,voice\n" + "\n".join(rows) + "\n")
    dataset = load_folder(tmp_path)
    made = report.spoken_by(dataset)
    assert {path.parent.name for path in made} == {"a"} and set(made.values()) == {"Anna 9"} and len(made) == 4
    assert "50 % of clips measured here are synthetic speech (Anna 9)" in report._notices(dataset, made)[0]
    assert report.spoken_by(load_folder(tones)) == {} and report._notices(load_folder(tones), {}) == []


def detection_of(**changes) -> dict:
    word = {"n": 40, "curve": [[0.0, 30.0], [0.0, 12.5], [2.0, 5.0], [90.0, 0.0]], "miss_at_zero_false_accepts": 12.5,
            "interval": [5.5, 26.1], "threshold": 812, "chosen": {"false_accepts": 1, "missed": 2}}  # fmt: skip
    rounds = [{"round": 0, "false_accepts_per_hour": 31.0, "miss_percent": 4.5, "mined": 120},
              {"round": 1, "false_accepts_per_hour": 2.0, "miss_percent": None, "mined": 0}, {"chosen": 1}]  # fmt: skip
    return {"test": {"negative_hours": 0.5, "words": {HOSTILE: {**word, **changes}}}, "mining": rounds}


def test_a_wake_word_has_its_curve_and_its_point(finished, tones):
    path = finished / "detection.json"
    try:
        path.write_text(json.dumps(detection_of()))
        splits, mining, _ = report.read_detection(finished)
        [(split, (hours, [word]))] = splits.items()
        assert (split, hours, word.point, word.threshold) == ("test", 0.5, (2.0, 5.0), 812)
        assert word.rate_interval == rate_interval(1, 0.5) and word.miss_interval == wilson_interval(2, 40)
        html = Page.of(report.sections.detection(splits, mining))
        low, high = word.miss_interval
        assert f"{low:.1f} to {high:.1f}" in html.text and "812" in html.text and HOSTILE in html.text
        assert any("5.0 % missed at 2 false accepts an hour" in svg.get("aria-label", "") for svg in html.all("svg"))
        assert html.text.endswith("before 31 4.5 120 after 2")  # of the second round no misses are known
        path.write_text(json.dumps(detection_of(chosen=None)))
        assert report.read_detection(finished)[0]["test"][1][0].point == (0.0, 12.5)  # then the point of no false accept
        path.write_text(json.dumps(detection_of(n=0)))
        assert report.read_detection(finished)[0] == {}  # nobody said the word: nothing to show
        no_curve = {"test": {"negative_hours": 1, "words": {"a": {"n": 1}}}}
        many = detection_of(chosen={"false_accepts": 10**9, "missed": 0})
        sound = str(load_folder(tones).all_clips[0].path)
        endless = detection_of(alarms=[{"path": sound, "at_s": float("inf"), "margin": 1}])
        for value in ([], detection_of(n=1), detection_of(curve=[[float("nan"), 1]]), no_curve, "{", many, endless):
            damaged = value if isinstance(value, str) else json.dumps(value)
            path.write_text(damaged)
            with pytest.raises(DataError, match="detection.json is damaged"):
                report.read_detection(finished)
    finally:
        path.unlink()


def test_what_woke_it_wrongly_can_be_heard(finished, tones):
    path, clip = finished / "detection.json", load_folder(tones).all_clips[0].path
    alarms = [{"path": str(clip), "at_s": 0.7, "margin": 900}, {"path": str(clip), "at_s": 0.0, "margin": 5},
              {"path": "gone.wav", "at_s": 0.3, "margin": 5}]  # fmt: skip
    try:
        path.write_text(json.dumps(detection_of(alarms=alarms)))
        _, _, found = report.read_detection(finished)
        assert [(a.word, a.woke, len(a.samples)) for a in found] == [(HOSTILE, True, 11200), (HOSTILE, False, 8000)]
        html = Page.of(report.sections.alarms(found, "test"))
        assert len(html.all("audio")) == 2 and "woke" in html.text and HOSTILE in html.text
        path.write_text(json.dumps(detection_of(alarms=[{"path": str(path), "at_s": 0.7, "margin": 900}])))
        with pytest.raises(AudioError, match="is text, not audio"):
            report.read_detection(finished)
        path.write_text(json.dumps(detection_of(alarms=[{"path": str(clip)}])))
        with pytest.raises(DataError, match="detection.json is damaged"):
            report.read_detection(finished)
    finally:
        path.unlink()


def test_a_run_without_its_history_has_no_curves(finished, tones):
    dataset, rows = load_folder(tones), report.metrics(finished / "metrics.jsonl")
    for history, pictures in ((rows, 2), ([], 0)):
        assert len(Page.of(report.sections.training([("Seed", "7")], dataset, {}, history, [])).all("svg")) == pictures


def test_data_with_other_labels_are_refused(finished, tmp_path):
    with pytest.raises(DataError, match="its labels are a and b; .*model.swm has"):
        for label in ("a", "b"):
            (tmp_path / label).mkdir()
            for i in range(3):
                soundfile.write(tmp_path / label / f"s{i}_0.wav", np.ones(16000, np.int16), 16000)
        report.write_report(finished, load_folder(tmp_path), 1.0)


def test_the_command_writes_it_again(page, finished, tones, monkeypatch):
    monkeypatch.setenv("SIGNWAVE_TOOLCHAIN", str(finished / "no toolchain"))
    before = (finished / "report.html").read_bytes()
    (finished / "report.html").unlink()
    done = CliRunner().invoke(app, ["report", str(finished), "--data", str(tones), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout) == {"report": str(finished / "report.html")}
    assert (finished / "report.html").read_bytes() == before


@given(st.text())
def test_any_text_comes_out_as_it_went_in(text):
    seen = Page.of(tag("p", text, title=text))
    clean = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    assert "".join(seen.texts).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "") == clean
    assert len(seen.elements) == 1


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6))
def test_an_axis_holds_its_values_between_round_ticks(low, span):
    low, high = low / 1000, (low + span) / 1000
    axis = charts.linear(low, high, 0, 100)
    ticks = [value for value, _ in axis.ticks]
    assert ticks[0] <= low + 1e-6 and ticks[-1] >= high - 1e-6 and 2 <= len(ticks) <= 9
    assert axis.at(ticks[0]) == pytest.approx(0, abs=1e-6) and axis.at(ticks[-1]) == pytest.approx(100, abs=1e-6)


def test_a_curve_takes_the_best_threshold_of_each_rate():
    curve = [(0.0, 40.0), (0.0, 12.0), (3.0, 20.0), (3.0, 8.0), (50.0, 0.0)]
    assert charts.best_of(curve, 10.0) == [(0.0, 12.0), (3.0, 8.0)]


def test_words_are_listed_as_in_a_sentence():
    assert [listing(list("abcd")[:n], 3) for n in range(5)] == ["", "a", "a and b", "a, b and c", "a, b, c and 1 more"]
    assert Page.of(document("t", [tag("p", "x")])).all("html") == [{"lang": "en"}]
