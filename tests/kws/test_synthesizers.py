"""Synthesizers beside eSpeak NG: found where they are installed, deterministic, one voice as several speakers."""

import csv
import json
import os
import stat
import sys
import types

import numpy as np
import pytest

import kws.synthesizers
from kws.data import load_folder
from kws.espeak import SynthesisError
from kws.synthesize import synthesize, synthesize_dataset
from kws.synthesizers import Espeak, Festival, Flite, Kokoro, Piper, Voice, found, hints

needs_flite = pytest.mark.skipif("flite" in kws.synthesizers._missing("flite", None), reason=Flite.hint)
needs_festival = pytest.mark.skipif("estival" in kws.synthesizers._missing("festival", None), reason=Festival.hint)

# Speaks a tone that tells what it was asked for: speaker n at 100 (n + 1) Hz, one tenth of a second for each letter.
FAKE_PIPER = """#!{python}
import json, sys, wave
import numpy as np
o = dict(zip(sys.argv[1::2], sys.argv[2::2]))
text = sys.stdin.read()
if "crash" in text:
    print("Traceback\\nonnx: no such node", file=sys.stderr)
    sys.exit(3)
assert json.load(open(o["--model"] + ".json")) and o["--noise_scale"] == o["--noise_w"] == "0"
n = int(2205 * len(text.strip()) * float(o["--length_scale"]))
tone = np.sin(2 * np.pi * 100 * (int(o["--speaker"]) + 1) * np.arange(n) / 22050)
with wave.open(o["--output_file"], "wb") as f:
    f.setparams((1, 2, 22050, 0, "NONE", ""))
    f.writeframes((9000 * tone).astype("<i2").tobytes())
"""


@pytest.fixture
def piper(tmp_path, monkeypatch):
    program, models = tmp_path / "bin" / "piper", tmp_path / "models"
    program.parent.mkdir()
    models.mkdir()
    program.write_text(FAKE_PIPER.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name, code, speakers in (("en_US-many-low", "en_US", 40), ("de_DE-one-low", "de_DE", 1)):
        (models / f"{name}.onnx").write_bytes(b"")
        (models / f"{name}.onnx.json").write_text(json.dumps({"language": {"code": code}, "num_speakers": speakers}))
    return models


def peak_hz(samples):
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16000 / len(samples))


def check_natural(synthesizer, voice, speakers):
    assert len(synthesizer.speakers("en-us")) == speakers and synthesizer.speakers("de") == {}
    say = lambda v=voice, **settings: synthesize('say "computer" \\ now', v, synthesizer=synthesizer, **settings)  # noqa: E731
    first = say()
    assert np.array_equal(first, say()) and 8000 < len(first) < 48000
    assert len(say(rate_wpm=250)) < 0.8 * len(say(rate_wpm=140))
    warped = say(voice.replace("@100", "@112"))
    assert not np.array_equal(warped, first) and abs(len(warped) / len(first) - 1) < 0.1  # other formants, the same pace


@needs_flite
def test_flite_speaks():
    check_natural(Flite(), "flite:slt@100", 20)


@needs_flite
def test_the_pitch_that_is_asked_for_is_heard_through_the_warp():
    def pitch_hz(warp, pitch):
        samples, rate_hz = Flite().say("ah", f"flite:kal16@{warp}", 100, pitch, 0)
        middle = samples[len(samples) // 2 - 1500 :][:3000]
        lags = np.correlate(middle, middle, "full")[len(middle) - 1 :]
        low = rate_hz // 250
        return rate_hz / (low + lags[low : rate_hz // 60].argmax())

    assert pitch_hz(112, 50) == pytest.approx(pitch_hz(88, 50), rel=0.06)
    assert pitch_hz(100, 90) > 1.3 * pitch_hz(100, 30)


@needs_festival
def test_festival_speaks():
    voices = sum(Festival().speakers("en").values(), [])  # those installed
    check_natural(Festival(), next(voice for voice in voices if voice.endswith("@100")), len(voices))


def test_piper_speaks_with_every_speaker_of_a_model(piper):
    speaking = Piper(piper)
    english, german = speaking.speakers("en"), speaking.speakers("de")
    assert len(english) == 40 and len(german) == 5 and speaking.speakers("fr") == {}
    samples = synthesize("0123456789", english["piper-en-US-many-low-3-100"][0], 165, synthesizer=speaking)
    assert peak_hz(samples) == pytest.approx(400, abs=5) and len(samples) == pytest.approx(16000, rel=0.02)
    high = synthesize("0123456789", german["piper-de-DE-one-low-0-112"][0], 165, synthesizer=speaking)
    assert peak_hz(high) == pytest.approx(112, abs=3) and len(high) == pytest.approx(16000, rel=0.02)
    with pytest.raises(SynthesisError, match="status 3 .onnx: no such node"):
        synthesize("crash", "piper:en_US-many-low#0@100", synthesizer=speaking)


class FakeModel:
    """Stands in for the package: a tone of 200 Hz, a fifth of a second for each letter, and notes what it was asked for."""

    def __init__(self, session, voices):
        self.voices, self.asked = np.load(voices), []

    @classmethod
    def from_session(cls, session, voices):
        return cls(session, voices)

    def create(self, phrase, voice, speed, language):
        self.asked.append((phrase, voice, round(speed, 2), language))
        if phrase == "?1":
            raise RuntimeError("no phonemes")
        return np.sin(2 * np.pi * 200 * np.arange(int(4800 * len(phrase) / speed)) / 24000).astype(np.float32), 24000


@pytest.fixture
def kokoro(tmp_path, monkeypatch):
    (tmp_path / "kokoro-v1.0.onnx").write_bytes(b"")
    with (tmp_path / "voices-v1.0.bin").open("wb") as file:
        np.savez(file, **{name: np.zeros((2, 1, 4), np.float32) for name in ("af_heart", "bm_lewis", "ff_siwis", "jf_alpha")})
    runtime = types.SimpleNamespace(SessionOptions=types.SimpleNamespace, InferenceSession=lambda path, options: path)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setitem(sys.modules, "kokoro_onnx", types.SimpleNamespace(Kokoro=FakeModel))
    return tmp_path


def test_kokoro_speaks_english_with_all_voices_and_other_languages_with_their_own(kokoro, monkeypatch):
    monkeypatch.setattr("kws.synthesizers.importlib.util.find_spec", lambda name: name)
    speaking = found(["kokoro"], kokoro)["kokoro"]
    assert len(speaking.speakers("en")) == 20 and len(speaking.speakers("fr")) == 5 and speaking.speakers("de") == {}
    say = lambda *a: synthesize(*a, synthesizer=speaking)  # noqa: E731
    assert peak_hz(say("0123456789", "kokoro:af_heart@112", 165)) == pytest.approx(224, abs=3)
    assert len(say("0123456789", "kokoro:af_heart@112", 165)) == pytest.approx(32000, rel=0.02)  # other formants, the same pace
    say("oui", "kokoro:ff_siwis@100", 165), say("lift", "kokoro:bm_lewis@100", 450)
    assert speaking._model.asked[-2:] == [("oui", "ff_siwis", 1.0, "fr-fr"), ("lift", "bm_lewis", 2.0, "en-gb")]
    with pytest.raises(SynthesisError, match="'kokoro:af_heart@100': Kokoro cannot say it .*no phonemes"):
        say("?1", "kokoro:af_heart@100")
    with pytest.raises(SynthesisError, match="kokoro has af_heart, bm_lewis"):
        say("on", "kokoro:nobody@100")


def test_a_damaged_kokoro_is_named(kokoro):
    (kokoro / "voices-v1.0.bin").write_bytes(b"no voices")
    with pytest.raises(SynthesisError, match="Kokoro cannot be read"):
        Kokoro(kokoro).speakers("en")


def test_a_data_set_is_spoken_by_several_and_says_by_whom(piper, tmp_path):
    arguments = {"clips_per_label": 30, "unknown_words": [], "silence": False, "progress": False, "voices": piper}
    both = synthesize_dataset(tmp_path / "both", ["on"], synthesizers=["espeak", "piper"], **arguments)
    rows = list(csv.DictReader((both / "manifest.csv").open()))
    assert {row["source"] for row in rows} == {"eSpeak NG", "Piper"}
    assert all(row["voice"].startswith("piper:") == (row["source"] == "Piper") for row in rows)
    of_split = {s: {row["speaker"] for row in rows if row["split"] == s} for s in ("train", "val", "test")}
    assert sum(map(len, of_split.values())) == len(set.union(*of_split.values()))
    alone = synthesize_dataset(tmp_path / "alone", ["on"], synthesizers=["espeak"], **arguments | {"voices": None})
    spoken = {row["path"] for row in rows if row["source"] == "eSpeak NG"}
    assert spoken and spoken <= {str(path.relative_to(alone)) for path in alone.rglob("*.wav")}
    assert load_folder(both, ["on", "off"], allow_missing=True).labels == ["on", "off"]


def test_what_is_not_there_is_said_with_the_way_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("kws.synthesizers.shutil.which", lambda name: None)
    monkeypatch.setattr("kws.synthesizers.importlib.util.find_spec", lambda name: None)
    missing = ["flite", "Festival", "Kokoro", "Piper"]
    assert list(found()) == ["espeak"] and [hint.partition(":")[0] for hint in hints()] == missing
    with pytest.raises(SynthesisError, match="not installed: apt install flite"):
        found(["flite"])
    with pytest.raises(SynthesisError, match="no synthesizer 'siri'; choose from espeak, flite"):
        found(["siri"])
    with pytest.raises(SynthesisError, match=r"no voices in it; give a folder of kokoro\*.onnx and .* \(Kokoro\) or"):
        found(voices=tmp_path)
    (tmp_path / "x.onnx.json").write_text("{}")
    with pytest.raises(SynthesisError, match="Piper is not installed"):
        found(voices=tmp_path)
    assert list(found(["espeak"], tmp_path)) == ["espeak"]  # what nobody asked for need not be there
    monkeypatch.setattr("kws.synthesizers.importlib.util.find_spec", lambda name: name)
    with pytest.raises(SynthesisError, match="no voices of Kokoro"):
        found(["kokoro"], tmp_path)


@pytest.mark.parametrize("voice", ["slt", "flite:slt", "flite:slt@1000", "flite:../x@100", "flite:a b@100"])
def test_voices_that_cannot_be_meant_are_refused(voice):
    with pytest.raises(SynthesisError, match="not written synthesizer:name@percent"):
        Voice.parse(voice)


def test_a_damaged_piper_voice_is_named(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"")
    for text in ("", "[]", "{}", '{"language": {"code": 3}}'):
        (tmp_path / "x.onnx.json").write_text(text)
        with pytest.raises(SynthesisError, match="x.onnx.json"):
            Piper(tmp_path).speakers("en")


def test_a_synthesizer_without_the_language_leaves_it_to_the_others(piper):
    with pytest.raises(SynthesisError, match="none of piper speaks language 'fr'"):
        synthesize_dataset(piper / "out", ["oui"], 3, language="fr", synthesizers=["piper"], voices=piper)
    espeak = Espeak()
    assert espeak.speakers("fr")
    espeak.close()
