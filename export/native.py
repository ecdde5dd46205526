"""The portable C core on the host: the same source that runs on the boards.

Results equal the reference's (`export.reference`) bit for bit. Calls release the interpreter's lock while they
compute, and batch functions keep their state to themselves: threads scale.
"""

import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

try:
    from export import _native  # type: ignore[attr-defined]
except ImportError as _error:
    raise ImportError(
        f"the compiled core is missing ({_error}): install the package (pip install -e .), "
        "or build it in place: python export/build_native.py"
    ) from _error

ffi, lib = _native.ffi, _native.lib


class NativeError(ValueError):
    """What the C core refused, and why."""


def _raise_on(code: int, what: str, said: Callable = lib.sw_error) -> None:
    if code < 0:
        raise NativeError(f"{what}: {ffi.string(said(code)).decode()}")


def _aligned(data: bytes) -> np.ndarray:
    """A copy of `data` that begins at a multiple of 4 bytes."""
    words = np.zeros((len(data) + 3) // 4, np.uint32)
    view = words.view(np.uint8)[: len(data)]
    view[:] = np.frombuffer(data, np.uint8)
    return view


def _u8(array: np.ndarray):
    return ffi.cast("uint8_t *", array.ctypes.data)


def _words(size: int) -> np.ndarray:
    return np.zeros((size + 3) // 4, np.uint32).view(np.uint8)


def _as_array(values: npt.ArrayLike, dtype: type, ndim: int, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype != dtype or array.ndim != ndim:
        raise NativeError(
            f"{what}: expected {ndim} dimension(s) of {np.dtype(dtype).name}, got shape {array.shape} of {array.dtype}"
        )
    return np.ascontiguousarray(array)


class FrontEnd:
    """Integer log-mel, one frame at a time.

    `params` are the bytes of a file's front-end section. Raises NativeError where they are not valid.
    """

    def __init__(self, params: bytes) -> None:
        self._params = _aligned(params)
        _raise_on(lib.sw_frontend_check(_u8(self._params), len(params)), "front end")
        self.hop: int = struct.unpack_from("<H", params, 2)[0]
        self.rate_hz: int = struct.unpack_from("<I", params, 4)[0]
        self.bands: int = struct.unpack_from("<H", params, 8)[0]
        self.state_size: int = lib.sw_frontend_state_size(_u8(self._params))
        self._state = self._initial()

    def _initial(self) -> np.ndarray:
        state = _words(self.state_size)
        code = lib.sw_frontend_reset(_u8(self._params), len(self._params), _u8(state), len(state))
        _raise_on(code, "front end")
        return state

    def reset(self) -> None:
        """Back to the state before the first frame."""
        self._state = self._initial()

    def step(self, samples: npt.ArrayLike) -> np.ndarray:
        """int16 (hop,) -> int8 (band,): the frame that ends with these samples."""
        block = _as_array(samples, np.int16, 1, "samples")
        if len(block) != self.hop:
            raise NativeError(f"samples: a frame takes {self.hop}, got {len(block)}")
        return self._frames(block, self._state)[0]

    def _frames(self, clip: np.ndarray, state: np.ndarray) -> np.ndarray:
        out = np.empty((len(clip) // self.hop, self.bands), np.int8)
        code = lib.log_mel(
            _u8(self._params), len(self._params), _u8(state), len(state),
            ffi.cast("int16_t *", clip.ctypes.data), self.hop, len(out),
            ffi.cast("int8_t *", out.ctypes.data), self.bands,
        )  # fmt: skip
        _raise_on(code, "front end")
        return out

    def log_mel(self, samples: npt.ArrayLike) -> np.ndarray:
        """int16 (sample,) -> int8 (frame, band) of a whole clip from the initial state; the stream's stays as it is.

        There are len(samples) // hop frames: samples short of a hop at the end are left out.
        """
        return self._frames(_as_array(samples, np.int16, 1, "samples"), self._initial())

    def log_mel_batch(self, clips: npt.ArrayLike) -> np.ndarray:
        """int16 (clip, sample) -> int8 (clip, frame, band), each clip from the initial state."""
        batch = _as_array(clips, np.int16, 2, "clips")
        out = np.empty((len(batch), batch.shape[1] // self.hop, self.bands), np.int8)
        first = self._initial()
        for clip, features in zip(batch, out, strict=True):
            features[:] = self._frames(clip, first.copy())
        return out


def log_mel(samples: npt.ArrayLike, params: bytes) -> np.ndarray:
    """int16 (sample,) -> int8 (frame, band) of a clip, from the initial state: see `FrontEnd.log_mel`."""
    return FrontEnd(params).log_mel(samples)


def log_mel_batch(clips: npt.ArrayLike, params: bytes) -> np.ndarray:
    """int16 (clip, sample) -> int8 (clip, frame, band): see `FrontEnd.log_mel_batch`."""
    return FrontEnd(params).log_mel_batch(clips)


class Graph:
    """The integer graph on the C core.

    `section` are the bytes of a file's graph section. Raises NativeError where it is not valid.
    Frames are int8 (channel,) where the graph begins with conv_i4, else int16; results int16, or int32 behind sum_window.
    """

    def __init__(self, section: bytes) -> None:
        self._section = _aligned(section)
        state_size, value_size = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        _raise_on(lib.sw_graph_check(_u8(self._section), len(section), state_size, value_size), "graph")
        self.state_size, self.value_size = state_size[0], value_size[0]
        self._records = _records(section)
        self.channels_in: int = self._records[0][1]
        self.channels_out: int = self._records[-1][2]
        self.dtype_in: np.dtype = np.dtype(np.int8 if self._records[0][0] == 1 else np.int16)
        self._state = self._initial()

    def __len__(self) -> int:
        """Operations in the graph."""
        return len(self._records)

    def _initial(self) -> np.ndarray:
        state = _words(self.state_size)
        _raise_on(lib.sw_graph_reset(_u8(self._section), len(self._section), _u8(state), len(state)), "graph")
        return state

    def reset(self) -> None:
        """Back to the state before the first frame."""
        self._state = self._initial()

    def step(self, frame: npt.ArrayLike, last: int | None = None) -> np.ndarray:
        """One frame (channel,) of the stream -> result (channel_out,) of the first `last` operations, or of all."""
        block = _as_array(frame, self.dtype_in.type, 1, "frame")
        return self._frames(block[None], self._state, last, every=True)[0]

    def run(self, frames: npt.ArrayLike, last: int | None = None) -> np.ndarray:
        """A whole clip (frame, channel) -> (frame, channel_out), every frame's result, from the initial state.

        `last` ends after that many operations. The stream's state stays as it is.
        """
        return self._frames(_as_array(frames, self.dtype_in.type, 2, "frames"), self._initial(), last, every=True)

    def run_batch(self, clips: npt.ArrayLike, last: int | None = None, every: bool = False) -> np.ndarray:
        """Clips (clip, frame, channel), each from the initial state -> (clip, channel_out): the last frame's results.

        With `every`, all frames': (clip, frame, channel_out).
        """
        batch = _as_array(clips, self.dtype_in.type, 3, "clips")
        if batch.shape[1] == 0 and not every:
            raise NativeError("clips: without a frame there is no result")
        first = self._initial()
        results = [self._frames(clip, first.copy(), last, every) for clip in batch]
        channels, dtype = self._result(last)
        shape = (0, batch.shape[1], channels) if every else (0, channels)
        return np.stack(results) if results else np.empty(shape, dtype)

    def _result(self, last: int | None) -> tuple[int, np.dtype]:
        n = len(self) if last is None else last
        if not 1 <= n <= len(self):
            raise NativeError(f"last: {n} operations, the graph has {len(self)}")
        opcode, _, cout = self._records[n - 1]
        return cout, np.dtype(np.int32 if opcode == 4 else np.int16)

    def _frames(self, frames: np.ndarray, state: np.ndarray, last: int | None, every: bool) -> np.ndarray:
        if frames.shape[1] != self.channels_in:
            raise NativeError(f"frames: the graph takes {self.channels_in} channels, got {frames.shape[1]}")
        channels, dtype = self._result(last)
        out = np.empty((len(frames), channels) if every else channels, dtype)
        value = _words(self.value_size)
        code = lib.run_frames(
            _u8(self._section), len(self._section), _u8(state), len(state), _u8(value), len(value),
            _u8(frames), frames.shape[1] * frames.itemsize, _u8(out), channels * dtype.itemsize,
            len(frames), len(self) if last is None else last, every,
        )  # fmt: skip
        _raise_on(code, "graph")
        return out


class Text:
    """A file's sections "text" and graph on the C core. Raises NativeError where one is not valid or they do not fit.

    Without a graph it gives features and rows alone.
    """

    def __init__(self, section: bytes, graph: bytes | None = None) -> None:
        self._section, self._graph = _aligned(section), None
        entries = lib.sw_text_check(_u8(self._section), len(section))
        _raise_on(entries, "text", lib.sw_text_error)
        self._value = _words(4 + 2 * 512)
        if graph is None:
            return
        self._graph, size = _aligned(graph), ffi.new("uint32_t *")
        rows = lib.sw_bag_check(_u8(self._graph), len(graph), size)
        _raise_on(rows, "graph", lib.sw_text_error)
        if rows != entries:
            raise NativeError(f"the graph has {rows} rows, the dictionary {entries} entries")
        self._value, self._records = _words(size[0]), _records(graph)
        self.value_size: int = size[0]

    def keys(self, text: str | bytes) -> np.ndarray:
        """uint32 (feature,): what `export.text.features` gives."""
        raw = _utf8(text)
        n = lib.sw_text_keys(_u8(self._section), len(self._section), raw, len(raw), ffi.NULL, 0)
        out = np.empty(n, np.uint32)
        lib.sw_text_keys(_u8(self._section), len(self._section), raw, len(raw), ffi.cast("uint32_t *", out.ctypes.data), n)
        return out

    def rows(self, text: str | bytes) -> np.ndarray:
        """uint16 (hit,), at most 512: the rows of a text's features."""
        value, raw = np.zeros_like(self._value), _utf8(text)
        code = lib.sw_text_rows(_u8(self._section), len(self._section), raw, len(raw), _u8(value), len(value))
        _raise_on(code, "text", lib.sw_text_error)
        return value.view(np.uint16)[2 : 2 + int(value.view(np.uint32)[0])].copy()

    def run(self, text: str | bytes) -> np.ndarray:
        """int32 (label,): the graph's result."""
        return self.run_rows(self.rows(text))

    def run_rows(self, rows: npt.ArrayLike, last: int | None = None) -> np.ndarray:
        """The result of the first `last` operations, or of all, from row numbers: int16 (channel,), or int32 (label,)."""
        rows, value = np.asarray(rows).astype(np.uint16), np.zeros_like(self._value)
        n = len(self._records) if last is None else last
        if self._graph is None or not 1 <= n <= len(self._records) or len(rows) > 512:
            raise NativeError(f"{n} operations on {len(rows)} rows: there is no such graph, or there are more than 512 rows")
        value.view(np.uint32)[0] = len(rows)
        value.view(np.uint16)[2 : 2 + len(rows)] = rows
        _raise_on(lib.sw_bag_step(_u8(self._graph), len(self._graph), _u8(value), len(value), 0, n), "graph", lib.sw_text_error)
        opcode, _, cout = self._records[n - 1]
        return value.view(np.int32 if opcode == 7 else np.int16)[:cout].copy()


def _utf8(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)


def _records(section: bytes) -> list[tuple[int, int, int]]:
    """(opcode, cin, cout) of every operation of a checked graph."""
    out, at = [], 4
    while at < len(section):
        opcode, _, length, cin, cout = struct.unpack_from("<HHIHH", section, at)
        out.append((opcode, cin, cout))
        at += length
    return out
