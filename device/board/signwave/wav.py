"""WAV files of 16-bit mono samples: read in the place of a microphone, and written from what was heard."""

from struct import pack

from .mic import RATE_HZ, Source
from .words import u16, u32


class WavSource(Source):
    """A file of 16-bit mono samples, by path or as an open binary file, as fast as it can be read.

    Raises ValueError where it is something else, saying what.
    """

    def __init__(self, path, rate_hz=RATE_HZ):
        super().__init__(rate_hz)
        self._file = open(path, "rb") if isinstance(path, str) else path
        try:
            self._left = _wav_bytes(self._file, rate_hz)
        except ValueError:
            self.close()
            raise

    def read_into(self, buffer):
        self._left -= len(buffer)
        return self._left >= 0 and self._file.readinto(buffer) == len(buffer)

    def close(self):
        self._file.close()


def _wav_bytes(f, rate_hz):
    """Read up to the samples of a WAV file; how many bytes they are."""
    head = f.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError("not a WAV file: it does not begin with RIFF and WAVE")
    known = False
    while True:
        chunk = f.read(8)
        if len(chunk) < 8:
            raise ValueError("the WAV file ends before its samples")
        size = u32(chunk, 4)
        if chunk[:4] == b"data":
            break
        if chunk[:4] == b"fmt ":
            _check_wav(f.read(16), rate_hz)
            known, size = True, size - 16
        _pass(f, size + (size & 1))
    if not known:
        raise ValueError("the WAV file does not say its format before its samples")
    return min(size, 0x3FFFFFFF)  # recorders that never came to write the size leave the largest


def _check_wav(form, rate_hz):
    code, channels, rate, bits = (u16(form, 0), u16(form, 2), u32(form, 4), u16(form, 14)) if len(form) == 16 else (0, 0, 0, 0)
    if code not in (1, 0xFFFE) or bits != 16:
        raise ValueError(f"the WAV file has {bits}-bit samples of kind {code}: save it with 16-bit PCM samples")
    if channels != 1:
        raise ValueError(f"the WAV file has {channels} channels: save it as mono")
    if rate != rate_hz:
        raise ValueError(f"the WAV file has {rate} samples a second, {rate_hz} are needed: resample it")


def _pass(f, n):
    while n > 0:
        part = f.read(min(n, 256))
        if not part:
            return
        n -= len(part)


def wav_head(size, rate_hz):
    """The header of a WAV file with `size` bytes of samples."""
    head = pack("<4sI4s4sIHHII", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz)
    return head + pack("<HH4sI", 2, 16, b"data", size)
