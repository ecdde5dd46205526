"""eSpeak NG in a process of its own: the library keeps global state, and a crash or a hang in C stays harmless.

    with Speaker() as speaker:
        samples = speaker.say("computer", "en-us+f1")      # (sample,) int16 at speaker.rate_hz

Run as a script, this file is that process: `espeak.py LIBRARY DATA`, one JSON request a line on standard input.
The script needs the standard library alone, so it starts in a moment.
"""

import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from typing import Any

TIMEOUT_S = 20
_RETRIEVAL, _DONT_EXIT, _UTF8, _PHONEMES = 2, 0x8000, 1, 0x100
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_SAMPLES_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_REPLY = struct.Struct("<ii")  # status, bytes that follow: samples where status is 0, else a message


class SynthesisError(ValueError):
    """Speech that cannot be made; the message names the phrase or the voice and says what to do."""


def find() -> tuple[str, str]:
    """Paths of the library and of its data folder. Raises SynthesisError where eSpeak NG is not installed."""
    try:
        import espeakng_loader

        return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    except (ImportError, RuntimeError) as error:
        raise SynthesisError(f"eSpeak NG is not installed ({error}); type: pip install espeakng-loader") from None


class Speaker:
    """A running eSpeak NG. Every phrase is spoken from a fresh state, so equal requests give equal samples."""

    rate_hz = 22050

    def __init__(self) -> None:
        self._paths = find()
        self._process: subprocess.Popen[bytes] | None = None

    def say(self, phrase: str, voice: str, rate_wpm: int = 150, pitch: int = 50, pitch_range: int = 50) -> bytes:
        """Speak: samples as native int16 bytes. Rate in words a minute, pitch and range from 0 to 100.

        A phrase in double brackets is phonemes, as `phonemes` gives them. Raises SynthesisError where the voice does not exist,
        or the library crashes or hangs.
        """
        return self._ask({"phrase": phrase, "voice": voice, "rate": rate_wpm, "pitch": pitch, "range": pitch_range})

    def phonemes(self, phrase: str, voice: str) -> list[list[str]]:
        """The phonemes of each word of a phrase, by eSpeak's names; a stressed one begins with ' or a comma."""
        spoken = self._ask({"phrase": phrase, "voice": voice, "phonemes": True}).decode()
        return [word.split("|") for word in spoken.split()]

    def _ask(self, request: dict[str, Any]) -> bytes:
        phrase, voice = request["phrase"], request["voice"]
        if self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        watchdog = threading.Timer(TIMEOUT_S + 5, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            status, size = _REPLY.unpack(process.stdout.read(_REPLY.size))
            payload = process.stdout.read(size)
        except (OSError, struct.error):
            self.close()
            raise SynthesisError(f"eSpeak NG broke down on phrase '{phrase}' with voice '{voice}'") from None
        finally:
            watchdog.cancel()
        if status:
            raise SynthesisError(f"phrase '{phrase}', voice '{voice}': {payload.decode()}")
        return payload

    def _start(self) -> None:
        self.close()
        # -I: nothing from the caller's folder or environment is imported.
        command = [sys.executable, "-I", os.path.abspath(__file__), *self._paths]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def close(self) -> None:
        """End the process; the next phrase starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> "Speaker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- The process -------------------------------------------------------------------------------------------------


class _Library:
    """The few functions that are needed of libespeak-ng, through ctypes."""

    def __init__(self, library_path: str, data_path: str) -> None:
        self._lib = ctypes.CDLL(os.path.abspath(library_path))
        # The library cuts paths beyond 160 bytes, so it is shown a short relative one.
        os.chdir(os.path.dirname(os.path.abspath(data_path)))
        if self._lib.espeak_Initialize(_RETRIEVAL, 0, b".", _DONT_EXIT) <= 0:
            raise RuntimeError("eSpeak NG does not find its data")
        self._lib.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int]
        self._lib.espeak_Synth.argtypes += [ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
        self._lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._lib.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
        self._chunks: list[bytes] = []
        self._callback = _SAMPLES_CALLBACK(self._collect)  # kept: C holds no reference
        self._lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, count: int, _events: int) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, request: dict[str, Any]) -> tuple[int, bytes]:
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the library seeds its breath and flutter with the time
        if self._lib.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            return 1, b"eSpeak NG has no such voice"
        if request.get("phonemes"):
            return 0, self._phonemes(request["phrase"])
        for parameter, value in ((_RATE, "rate"), (_PITCH, "pitch"), (_RANGE, "range")):
            self._lib.espeak_SetParameter(parameter, int(request[value]), 0)
        self._lib.espeak_SetParameter(_VOLUME, 70, 0)  # some voices saturate at 100
        text = request["phrase"].encode()
        flags = _UTF8 | (_PHONEMES if text.startswith(b"[[") else 0)
        if self._lib.espeak_Synth(text, len(text) + 1, 0, 1, 0, flags, None, None) != 0:
            return 1, b"eSpeak NG refuses the phrase"
        self._lib.espeak_Synchronize()
        return 0, b"".join(self._chunks)

    def _phonemes(self, phrase: str) -> bytes:
        text, clauses = ctypes.c_char_p(phrase.encode()), []
        while text.value:  # the library moves the pointer on, clause by clause, and to NULL in the end
            clauses.append(self._lib.espeak_TextToPhonemes(ctypes.byref(text), _UTF8, ord("|") << 8) or b"")
        return b" ".join(clauses)


def _serve(library_path: str, data_path: str) -> None:
    library = _Library(library_path, data_path)
    out = sys.stdout.buffer

    def answer(request: dict[str, Any]) -> None:
        status, payload = library.say(request)
        out.write(_REPLY.pack(status, len(payload)) + payload)
        out.flush()

    for line in sys.stdin.buffer:
        if not hasattr(os, "fork"):
            return answer(json.loads(line))  # the state is used up; the caller starts another process
        # A child speaks and dies: voices, noise generators and filters keep state from phrase to phrase otherwise.
        child = os.fork()
        if child == 0:
            signal.alarm(TIMEOUT_S)
            answer(json.loads(line))
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            message = b"eSpeak NG crashed or hung; leave this voice or phrase out"
            out.write(_REPLY.pack(1, len(message)) + message)
            out.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's business
    _serve(*sys.argv[1:3])
