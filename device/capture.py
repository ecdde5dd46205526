"""Records words with a board's microphone, into the folders that training reads.

    paths = capture(Board(port), "yes", "recordings", seconds=1, count=10, speaker="ada")   # recordings/yes/ada_1.wav ...

Each clip is recorded into the board's RAM and sent afterwards: a serial line of 115200 baud is slower than speech.
"""

import binascii
import io
import re
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from device.link import Board, BoardError
from export.format import write_atomically

_RATE_HZ = 16000

# Between clips what the driver kept meanwhile is thrown away, and so is the microphone's first quarter second.
_CAPTURE = """
import binascii, gc, signwave
gc.collect()
sound = memoryview(bytearray(2 * samples))
piece, answer = bytearray(640), None
def need(done):
    if not done: raise RuntimeError("the sound ends")
with SOURCE as source:
    print("source", source.rate_hz, source.gain)
    for i in range(count):
        for _ in range(source.rate_hz // 1280): need(source.read_into(piece))
        print("say")
        for at in range(0, len(sound), len(piece)):
            need(source.read_into(piece))
            sound[at : at + len(piece)] = piece[:len(sound) - at]
        print("said")
        for at in range(0, len(sound), 240): print(str(binascii.b2a_base64(sound[at : at + 240]), "ascii"), end="")
        print("sent", binascii.crc32(sound))
    answer = source.overruns
"""


def capture(board: Board, label: str, folder: str | Path, seconds: float = 1.0, count: int = 10, speaker: str = "me",
            microphone: str = "signwave.mic.open()",
            on_event: Callable[[str, int], None] = lambda what, number: None) -> list[Path]:  # fmt: skip
    """Record `count` clips of a label at 16 kHz; their files, 16-bit mono. What arrived stays, whatever happens afterwards.

    speaker: whose voice it is; training keeps one speaker's clips in one split. microphone: what opens it on the board, in
    Python, where its pins are not the usual ones: signwave.mic.open(sck=5). on_event: called with "say" or "said" and the
    number of the clip. Raises BoardError, OSError.
    """
    for what, name in (("label", label), ("speaker", speaker)):
        if not name or name in (".", "..") or re.search(r"[\x00-\x1f/\\:]", name):
            raise BoardError(f"{what} {name!r} cannot be part of a file's name")
    recorder = _Recorder(Path(folder) / label, speaker, on_event)
    script, limit_s = _CAPTURE.replace("SOURCE", microphone), 60 + count * (seconds * 6 + 5)
    overruns = board.ask(script, limit_s, recorder.line, samples=round(seconds * _RATE_HZ), count=count)
    if overruns:
        files = ", ".join(str(path) for path in recorder.written)
        raise BoardError(f"{overruns} hops were lost while recording; listen to these, some have gaps: {files}")
    return recorder.written


class _Recorder:
    """Puts together what the board prints."""

    def __init__(self, folder: Path, speaker: str, on_event: Callable[[str, int], None]):
        self.folder, self.speaker, self.on_event = folder, speaker, on_event
        self.written, self._data, self._gain = [], bytearray(), 0

    def line(self, text: str) -> None:
        if text in ("say", "said"):
            self._data.clear()
            self.on_event(text, len(self.written) + 1)
        elif text.startswith("source "):
            rate_hz, self._gain = self._numbers(text, 2)
            if rate_hz != _RATE_HZ:
                raise BoardError(f"the microphone gives {rate_hz} samples a second, recordings have {_RATE_HZ}")
        elif text.startswith("sent "):
            if [binascii.crc32(self._data)] != self._numbers(text, 1):
                raise BoardError("a clip did not arrive as sent; type the same command again")
            self.written.append(self._write(np.frombuffer(self._data, '<i2').astype(np.int32) << self._gain))
        else:
            try:
                self._data += binascii.a2b_base64(text.encode("ascii", "replace"))
            except binascii.Error:
                pass  # not ours, or damaged, which the checksum tells

    @staticmethod
    def _numbers(text: str, count: int) -> list[int]:
        """Those behind the first word."""
        try:
            numbers = [int(part) for part in text.split()[1:]]
        except ValueError:
            numbers = []
        if len(numbers) != count:
            raise BoardError(f"the board's line {text[:40]!r} was damaged; type the same command again")
        return numbers

    def _write(self, samples: np.ndarray) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while (path := self.folder / f"{self.speaker}_{number}.wav").exists():
            number += 1
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(_RATE_HZ)
            file.writeframes(np.clip(samples, -32768, 32767).astype("<i2").tobytes())
        write_atomically(path, out.getvalue())
        return path
