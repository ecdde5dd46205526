"""Speech synthesizers, used where they are installed: eSpeak NG, flite, festival, and the neural Kokoro and Piper.

    for name, synthesizer in found(voices=Path("voices")).items():
        speakers = synthesizer.speakers("en")                   # {speaker: voices}
    samples, rate_hz = Flite().say("computer", "flite:slt@106")

eSpeak NG has many voices, as `accent+variant`. Voices made of people's recordings are few, so each becomes several speakers:
formants are scaled (the length of the vocal tract) by playing faster or slower what was asked for slower or faster, lower or
higher. `flite:slt@106` scales them by 1.06.
"""

import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from kws.espeak import TIMEOUT_S, Speaker, SynthesisError, find

USUAL_WPM = 165  # what these synthesizers speak when nothing is asked for
WARPS = (88, 94, 100, 106, 112)  # percent; 20 % is about the way from a tall man to a short woman
MANY_SPEAKERS = 10  # a model of so many needs no more
PIPER_TIMEOUT_S = 120  # it loads its network for every phrase
# Sound effects and machines: nobody speaks to a device like that.
_NOT_HUMAN = re.compile(r"AnxiousAndy|Demonic|Tweaky|.*Robot|robosoft.*|fast")


class Espeak:
    """eSpeak NG (kws.espeak): formants by rule, some sixty speakers in all accents of a hundred languages."""

    name, title = "espeak", "eSpeak NG"
    hint = "pip install espeakng-loader"

    def __init__(self) -> None:
        self._speaker, self._variants = Speaker(), _variants()

    def speakers(self, language: str) -> dict[str, list[str]]:
        """{speaker: voices} of a language."""
        out: dict[str, list[str]] = {}
        for voice in voices(language):
            out.setdefault(speaker_of(voice), []).append(voice)
        return out

    def say(self, phrase: str, voice: str, rate_wpm: int = 150, pitch: int = 50, pitch_range: int = 50):
        """Samples (sample,) float32 and their rate, as all synthesizers here."""
        # The library silently takes its default where a variant does not exist.
        variant = voice.partition("+")[2]
        if variant and variant not in self._variants:
            raise SynthesisError(f"voice '{voice}': there is no variant '{variant}'; kws.synthesizers.voices() lists them")
        spoken = np.frombuffer(self._speaker.say(phrase, voice, rate_wpm, pitch, pitch_range), np.int16)
        return spoken.astype(np.float32) / 32768, Speaker.rate_hz

    def phonemes(self, phrase: str, language: str) -> list[list[str]]:
        """The phonemes of each word of a phrase, by eSpeak's names; between double brackets they can be spoken."""
        return self._speaker.phonemes(phrase, language)

    def close(self) -> None:
        """End the process that speaks."""
        self._speaker.close()


def _variants() -> list[str]:
    return sorted(path.name for path in Path(find()[1]).glob("voices/!v/*"))


def voices(language: str = "en") -> list[str]:
    """eSpeak NG's voices as `accent+variant`, such as `en-us+f1`, of all accents of a language. Raises SynthesisError."""
    data = Path(find()[1])
    codes = {path.name.lower() for path in data.glob("lang/**/*") if path.is_file()}
    codes.discard("en-shaw")  # reads another alphabet
    wanted = language.lower()
    accents = {code for code in codes if code == wanted or code.startswith(wanted + "-")}
    if not accents:
        known = ", ".join(sorted({code.partition("-")[0] for code in codes}))
        raise SynthesisError(f"eSpeak NG has no language '{language}'; choose one of {known}")
    human = [variant for variant in _variants() if not _NOT_HUMAN.fullmatch(variant)]
    return [f"{accent}+{variant}" for accent in sorted(accents) for variant in human]


def speaker_of(voice: str) -> str:
    """Whose voice one of eSpeak NG is: the variant, whatever the accent. Numbered ones of a name (klatt2) are one speaker.

    >>> speaker_of("en-us+klatt3"), speaker_of("en+klatt"), speaker_of("en-us+f3"), speaker_of("en-us")
    ('klatt', 'klatt', 'f3', 'default')
    """
    variant = voice.partition("+")[2].casefold().replace(" ", "-") or "default"
    name = variant.rstrip("0123456789")
    return name if len(name) > 1 else variant


class Flite:
    """flite (Black and Lenzo, 2001): small voices, one of diphones and three statistical ones. English."""

    name, title = "flite", "flite"
    hint = "apt install flite"
    voices = {"kal16": 95, "awb": 120, "rms": 0, "slt": 175}  # usual pitch in Hz; 0: the voice keeps its own

    def speakers(self, language: str) -> dict[str, list[str]]:
        """{speaker: voices} of a language."""
        return _warped(self.name, self.voices) if _is_english(language) else {}

    def say(self, phrase: str, voice: str, rate_wpm: int = USUAL_WPM, pitch: int = 50, pitch_range: int = 50):
        """Samples (sample,) float32 and their rate, as all synthesizers here."""
        v = Voice.parse(voice, self.voices)
        command = ["flite", "-voice", v.name, "--setf", f"duration_stretch={v.stretch(rate_wpm):.4f}"]
        if base_hz := self.voices[v.name]:
            command += ["--setf", f"int_f0_target_mean={v.pitch_hz(base_hz, pitch):.2f}"]
            command += ["--setf", f"int_f0_target_stddev={0.002 * base_hz * pitch_range:.2f}"]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.wav"
            what = f"phrase '{phrase}', voice '{voice}'"
            _run(command + ["-t", _plain(phrase), "-o", str(out)], "", what)
            return v.played(_sound(out, what, "flite"))

    def close(self) -> None:
        """Nothing stays behind a phrase."""


class Festival:
    """festival (Taylor, Black and Caley, 1998): those of its American English voices that are installed.

    It starts slowly, so one process speaks phrase after phrase, each from the voice's initial settings.
    """

    name, title = "festival", "Festival"
    hint = "apt install festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts"
    voices = {"kal_diphone": 105, "ked_diphone": 105, "cmu_us_slt_arctic_hts": 0}
    _DONE = b"signwave-done"

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def speakers(self, language: str) -> dict[str, list[str]]:
        """{speaker: voices} of a language."""
        if not _is_english(language):
            return {}
        listed = self._evaluate("(print (voice.list))", "festival, asked for its voices").decode("latin-1")
        return _warped(self.name, [name for name in self.voices if re.search(rf"\b{name}\b", listed)])

    def say(self, phrase: str, voice: str, rate_wpm: int = USUAL_WPM, pitch: int = 50, pitch_range: int = 50):
        """Samples (sample,) float32 and their rate, as all synthesizers here."""
        v = Voice.parse(voice, self.voices)
        text = _plain(phrase).replace("\\", " ").replace('"', " ")  # in a Scheme string these two mean something
        settings = [f"(voice_{v.name})", f"(Parameter.set 'Duration_Stretch {v.stretch(rate_wpm):.4f})"]
        if base_hz := self.voices[v.name]:
            mean, deviation = v.pitch_hz(base_hz, pitch), 0.003 * base_hz * pitch_range
            model = "(model_f0_mean 170) (model_f0_std 34)"
            settings += [f"(set! int_lr_params '((target_f0_mean {mean:.2f}) (target_f0_std {deviation:.2f}) {model}))"]
        else:
            speed = 1 / v.stretch(rate_wpm)
            settings += [f"(set! hts_engine_params (append '((\"-r\" {speed:.4f})) hts_engine_params))"]
        what = f"phrase '{phrase}', voice '{voice}'"
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.wav"
            save = f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{out}" \'riff)'
            self._evaluate(" ".join([*settings, save]), what)
            return v.played(_sound(out, what, "festival"))

    def _evaluate(self, expressions: str, what: str) -> bytes:
        """What festival prints; it ends at an error, and the next call starts another."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(["festival", "--pipe"], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        process, printed = self._process, []
        watchdog = threading.Timer(TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            process.stdin.write(expressions.encode() + b'\n(print "' + self._DONE + b'")(fflush nil)\n')
            process.stdin.flush()
            while line := process.stdout.readline():
                if self._DONE in line:
                    return b"".join(printed)
                printed.append(line)
        except OSError:
            pass
        finally:
            watchdog.cancel()
        self.close()
        raise SynthesisError(f"{what}: festival broke down; leave this voice or phrase out")

    def close(self) -> None:
        """End the process that speaks."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Piper:
    """Piper (Hansen, 2023) by its command line, with voices `MODEL.onnx` and `MODEL.onnx.json` in a folder of the user's.

    Spoken without its random variation, so that equal requests give equal samples; variety comes from many speakers.
    """

    name, title = "piper", "Piper"
    hint = "pip install piper-tts, fetch voices into a folder and name it"
    files = ("*.onnx.json",)
    close = Flite.close

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def installed() -> bool:
        return shutil.which("piper") is not None

    def speakers(self, language: str) -> dict[str, list[str]]:
        """{speaker: voices} of a language."""
        found: dict[str, list[str]] = {}
        for config in sorted(self.folder.glob(*self.files)):
            model = config.with_suffix("")
            code, count = _piper_config(config)
            if code != language.lower() and not code.startswith(language.lower() + "-"):
                continue
            if count < MANY_SPEAKERS:
                found |= _warped(self.name, [f"{model.stem}#{i}" for i in range(count)])
            else:
                found |= {_speaker(voice): [voice] for voice in (f"piper:{model.stem}#{i}@100" for i in range(count))}
        return found

    def say(self, phrase: str, voice: str, rate_wpm: int = USUAL_WPM, pitch: int = 50, pitch_range: int = 50):
        """Samples (sample,) float32 and their rate, as all synthesizers here; pitch is the speaker's own."""
        v = Voice.parse(voice)
        model, _, number = v.name.rpartition("#")
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.wav"
            command = ["piper", "--model", str(self.folder / f"{model}.onnx"), "--speaker", number, "--noise_scale", "0"]
            command += ["--noise_w", "0", "--length_scale", f"{v.stretch(rate_wpm):.4f}", "--output_file", str(out)]
            what = f"phrase '{phrase}', voice '{voice}'"
            _run(command, _plain(phrase) + "\n", what, PIPER_TIMEOUT_S)
            return v.played(_sound(out, what, "piper"))


class Kokoro:
    """Kokoro (hexgrad, 2025; Apache-2.0) by the package kokoro-onnx: the model `kokoro*.onnx` and its voices `voices*.bin`.

    Its fifty voices sound like people, and each speaks English besides its own language. Equal requests give equal samples.
    """

    name, title = "kokoro", "Kokoro"
    hint = "pip install kokoro-onnx, fetch kokoro-v1.0.onnx and voices-v1.0.bin of its releases into a folder and name it"
    files = ("kokoro*.onnx", "voices*.bin")
    SPEEDS = (0.5, 2.0)
    # By the first letter of a voice: eSpeak's name of the language, whose phonemes Kokoro reads.
    _LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}

    def __init__(self, folder: Path) -> None:
        self.folder, self._model = folder, None

    @staticmethod
    def installed() -> bool:
        return importlib.util.find_spec("kokoro_onnx") is not None

    def speakers(self, language: str) -> dict[str, list[str]]:
        """{speaker: voices} of a language."""
        wanted = language.lower()
        try:
            with np.load(self._file(1)) as voices:  # their names alone: the network is not asked yet
                spoken = {name: self._LANGUAGES.get(name[0], "") for name in voices.files}
        except Exception as error:
            raise self._unreadable(error) from None
        fits = [name for name, own in spoken.items() if _is_english(wanted) or own and (own + "-").startswith(wanted + "-")]
        return _warped(self.name, sorted(fits))

    def say(self, phrase: str, voice: str, rate_wpm: int = USUAL_WPM, pitch: int = 50, pitch_range: int = 50):
        """Samples (sample,) float32 and their rate, as all synthesizers here; pitch is the speaker's own."""
        model = self._open()
        v = Voice.parse(voice, model.voices)
        speed = min(max(1 / v.stretch(rate_wpm), self.SPEEDS[0]), self.SPEEDS[1])
        try:
            return v.played(model.create(_plain(phrase), v.name, speed, self._LANGUAGES.get(v.name[0], "en-us")))
        except Exception as error:  # of three libraries, onnxruntime among them, each with errors of its own
            raise SynthesisError(f"phrase '{phrase}', voice '{voice}': Kokoro cannot say it ({error!r:.200})") from None

    def _open(self):
        if self._model is None:
            import onnxruntime
            from kokoro_onnx import Kokoro as Model

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # several clips are made at a time
            options.log_severity_level = 3
            try:
                self._model = Model.from_session(onnxruntime.InferenceSession(self._file(0), options), self._file(1))
            except Exception as error:
                raise self._unreadable(error) from None
        return self._model

    def _file(self, i: int) -> str:
        return str(min(self.folder.glob(self.files[i])))

    def _unreadable(self, error: Exception) -> SynthesisError:
        return SynthesisError(f"{self.folder}: Kokoro cannot be read ({error!r:.200}); fetch it again")

    def close(self) -> None:
        """Let go of the network."""
        self._model = None


Synthesizer = Espeak | Flite | Festival | Kokoro | Piper
NEURAL: tuple[type[Kokoro] | type[Piper], ...] = (Kokoro, Piper)
KINDS: dict[str, type[Synthesizer]] = {kind.name: kind for kind in (Espeak, Flite, Festival, *NEURAL)}


def found(names: Sequence[str] = (), voices: str | os.PathLike[str] | None = None) -> dict[str, Synthesizer]:
    """Those of `names` (none: all that are installed, the neural ones where a folder holds `voices` of theirs), by name.

    Raises SynthesisError where one that is named is not there, saying how to install it.
    """
    for name in names:
        if name not in KINDS:
            raise SynthesisError(f"no synthesizer '{name}'; choose from {', '.join(KINDS)}")
    if voices is not None and not any(_has_files(kind, voices) for kind in NEURAL):
        shapes = " or ".join(f"{' and '.join(kind.files)} ({kind.title})" for kind in NEURAL)
        raise SynthesisError(f"{voices}: no voices in it; give a folder of {shapes}")
    for name in names or [kind.name for kind in NEURAL if _has_files(kind, voices)]:
        if missing := _missing(name, voices):
            raise SynthesisError(missing)
    chosen = names or [name for name in KINDS if not _missing(name, voices)]
    return {name: kind(Path(voices)) if kind in NEURAL else kind() for name, kind in KINDS.items() if name in chosen}


def hints(voices: str | os.PathLike[str] | None = None) -> list[str]:
    """How to get each synthesizer that is not there: more voices, fewer mistakes."""
    return [f"{kind.title}: {kind.hint}" for name, kind in KINDS.items() if _missing(name, voices)]


def _has_files(kind: type[Kokoro] | type[Piper], voices: str | os.PathLike[str] | None) -> bool:
    return voices is not None and all(any(Path(voices).glob(pattern)) for pattern in kind.files)


def _missing(name: str, voices: str | os.PathLike[str] | None) -> str:
    """Why a synthesizer cannot be used, or nothing."""
    kind = KINDS[name]
    if name == Espeak.name:
        try:
            find()
        except SynthesisError as error:
            return str(error)
    elif not (kind.installed() if kind in NEURAL else shutil.which(name)):
        return f"{kind.title} is not installed: {kind.hint}"
    elif kind in NEURAL and not _has_files(kind, voices):
        return f"{voices or kind.title}: no voices of {kind.title}; give a folder of {' and '.join(kind.files)}"
    return ""


@dataclass(frozen=True)
class Voice:
    """`synthesizer:name@warp`: a voice whose formants are scaled by `warp` percent."""

    synthesizer: str
    name: str
    warp: float

    @classmethod
    def parse(cls, voice: str, names: Iterable[str] | None = None) -> "Voice":
        """`names`: those that the synthesizer has. Raises SynthesisError."""
        match = re.fullmatch(r"(\w+):([\w#.-]+)@(\d{2,3})", voice)
        if not match or not 50 <= int(match[3]) <= 200:
            raise SynthesisError(f"voice '{voice}' is not written synthesizer:name@percent, such as flite:slt@106")
        if names is not None and match[2] not in names:
            raise SynthesisError(f"voice '{voice}': {match[1]} has {', '.join(names)}")
        return cls(match[1], match[2], int(match[3]) / 100)

    def stretch(self, rate_wpm: int) -> float:
        """How much longer than usual to speak, so that it is right once it is played faster."""
        return USUAL_WPM / rate_wpm * self.warp

    def pitch_hz(self, base_hz: float, pitch: int) -> float:
        """The pitch to ask for: half an octave down at 0, up at 100, of what is heard in the end."""
        return base_hz * 2 ** ((pitch - 50) / 100) / self.warp

    def played(self, sound: tuple[np.ndarray, int]) -> tuple[np.ndarray, int]:
        """Played faster by the warp: the same samples at another rate."""
        samples, rate_hz = sound
        return samples, round(rate_hz * self.warp)


def _warped(synthesizer: str, names: Iterable[str]) -> dict[str, list[str]]:
    voices = [f"{synthesizer}:{name}@{warp}" for name in names for warp in WARPS]
    return {_speaker(voice): [voice] for voice in voices}


def _speaker(voice: str) -> str:
    """As it stands in file names, where an underscore ends it.

    >>> _speaker("flite:slt@106"), _speaker("piper:en_US-libritts-high#12@100")
    ('flite-slt-106', 'piper-en-US-libritts-high-12-100')
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", voice)


def _is_english(language: str) -> bool:
    return language.lower().partition("-")[0] == "en"


def _plain(phrase: str) -> str:
    """One line of text that no synthesizer takes for an option or a command."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", phrase).strip().lstrip("-")


def _piper_config(path: Path) -> tuple[str, int]:
    """Language code, such as en-us, and number of speakers of a Piper voice."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        code = config.get("language", {}).get("code") or config["espeak"]["voice"]
        return code.lower().replace("_", "-"), max(1, int(config.get("num_speakers", 1)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SynthesisError(f"{path}: is not the description of a Piper voice ({error!r}); fetch it with the model") from None


def _sound(path: Path, what: str, program: str) -> tuple[np.ndarray, int]:
    """The sound that a synthesizer wrote, as (sample,) float32, and its rate. Raises SynthesisError."""
    try:
        return soundfile.read(io.BytesIO(path.read_bytes()), dtype="float32")
    except (OSError, RuntimeError):
        raise SynthesisError(f"{what}: {program} made no sound; leave the voice or the phrase out") from None


def _run(command: list[str], text: str, what: str, timeout_s: int = TIMEOUT_S) -> None:
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SynthesisError(f"{what}: {command[0]} cannot be run ({error})") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise SynthesisError(f"{what}: {command[0]} ended with status {done.returncode} ({last[:200]})")
