"""A new model while listening, and at every start a model that works, whatever happened before.

    store = Store("/model.swm")
    model = store.open()                 # at each start, before all else
    await store.receive(stream)          # later, while frames are processed; then restart: machine.reset()
    store.confirm()                      # in each run, once it has worked for a while

    /model.swm           the model known to work; it stays until the next one has proven itself
    /model.swm.part      what is arriving
    /model.swm.new       what has arrived whole, and is tried
    /model.swm.starts    a letter for each start with it: "s", and "g" behind that where it was confirmed as good

A model takes most of a small board's RAM, so the new one is never there beside the old: pieces go to flash, and the checksum
is read back from there. Structure and golden test follow at the next start, when nothing else is loaded. Where there is RAM
to spare, or all that refers to the old model has been deleted, `open` may be called again instead of a restart.

Each step is one rename, or one that can be lost: after a reset between any two, `open` finds its way. That holds on littlefs
and POSIX, where rename replaces a file at once, and where the target has to be removed before (FAT); but FAT itself may be
damaged where power fails within one of its own writes. The checksum finds damage, not forgery: who may send a model is the
program's to decide.
"""

import gc
import os
from binascii import crc32

from .model import Model, _check_head
from .words import u32

GOOD_STARTS = FAILED_STARTS = 3
_PIECE = 512
_EXISTS, _FULL = 17, 28  # errno, in every MicroPython and on PCs


class Store:
    """A model file that can be updated.

    good_starts: confirmed starts after which a new model takes the old one's place;
    failed_starts: after so many starts on end without `confirm`, the old one is in use again.
    trial: the running model is new, and `confirm` is due; refused: why `open` did not take the new one, or None;
    missing: bytes that are still to come of the model that is being received, as far as is known.
    """

    def __init__(self, path, good_starts=GOOD_STARTS, failed_starts=FAILED_STARTS):
        if good_starts < 1 or failed_starts < 1:
            raise ValueError(f"good_starts {good_starts} or failed_starts {failed_starts}: at least 1 is needed")
        self.path, self._part, self._new, self._starts = path, path + ".part", path + ".new", path + ".starts"
        self._good, self._failed = good_starts, failed_starts
        self.trial, self.refused, self._file, self.missing = False, None, None, 0

    def open(self):
        """The Model to run: the new one if there is one that passes its test and has not failed too often, else the old one.

        Where neither works this raises ValueError saying why. A file system that cannot be written keeps nothing from starting.
        """
        self.trial, self.refused, reasons = False, None, []
        paths = [self.path]
        if _there(self._new):
            paths.insert(0 if self._count_start() else 1, self._new)
        for path in paths:
            model, reason = _load(path)
            if model:
                self._settle(path, bool(reasons))
                return model
            reasons.append(reason)
            if path == self._new:
                self.refused = reason
                if _there(self.path):  # nothing is lost then; and should RAM be short now, the next start has the old one
                    self._discard()
        raise ValueError("no model works: " + "; ".join(reasons))

    def confirm(self):
        """Count this start as good; after enough of them the new model replaces the old one. Without a trial, nothing.

        Raises OSError where the flash cannot be written.
        """
        if self.trial:
            self._append(b"g")
            self.trial = False
            if self._log().count(b"g") >= self._good:
                self._promote()

    async def receive(self, stream, on_piece=None, idle_s=10):
        """Receive a whole model from an asyncio stream: anything with `await stream.read(n)`. It is tried at the next start.

        on_piece(missing) is called when 16 bytes, and then each 512 or what is left, are on flash: who sends can wait for that.
        idle_s: behind the first bytes, the longest wait for others.
        Raises ValueError, OSError, or what the stream raises; then, or if it is cancelled, all stays as it was.
        """
        import asyncio

        self.begin()
        try:
            while self.missing:
                piece, want = b"", min(self.missing, _PIECE)
                while len(piece) < want:  # a stream gives what is there
                    coming = stream.read(want - len(piece))
                    part = await (asyncio.wait_for(coming, idle_s) if self._at or piece else coming)
                    if part == b"":
                        missing = self.missing - len(piece)
                        raise ValueError(f"the model ended too early, {missing} bytes are missing: send it again")
                    piece += part or b""
                    await asyncio.sleep(0)
                self.write(piece)
                if on_piece:
                    on_piece(self.missing)
            for _ in self._checking():
                await asyncio.sleep(0)
        except asyncio.TimeoutError:  # noqa: UP041  (MicroPython's own)
            raise ValueError(f"nothing came for {idle_s} s, {self.missing} bytes are missing: send the model again")  # noqa: B904
        finally:
            self.cancel()

    def begin(self):
        """As `receive`, by calls: `write` pieces until nothing is missing, then `commit`, or `cancel`."""
        if self._file is not None:
            raise ValueError("a model is being received already: wait for it, or call cancel")
        self.cancel()
        self._file, self._head, self._at, self.missing = open(self._part, "wb"), bytearray(16), 0, 16

    def write(self, piece):
        """Take the next bytes; returns how many are missing. Raises ValueError, OSError: this model is not taken then."""
        if self._file is None:
            raise ValueError("no model is being received: call begin")
        try:
            self._take(piece)
        except (OSError, ValueError) as error:
            self.cancel()
            raise _plain(error)  # noqa: B904  (MicroPython warns of "from")
        return self.missing

    def commit(self):
        """Check what has been written, and have the next start try it. Raises ValueError, OSError: it is not taken then."""
        try:
            for _ in self._checking():
                pass
        finally:
            self.cancel()

    def cancel(self):
        """Drop what has been received and was not committed."""
        file, self._file, self.missing = self._file, None, 0
        try:
            if file is not None:
                file.close()
        except OSError:
            pass  # it goes anyway
        _remove(self._part)

    def _take(self, piece):
        at, end = self._at, self._at + len(piece)
        if at < 16:
            self._head[at : min(end, 16)] = piece[: 16 - at]
            if end >= 16:
                self.missing = _check_head(self._head) - at
                self._check_space()
        if len(piece) > self.missing:
            raise ValueError(f"{len(piece) - self.missing} bytes too many behind the model")
        self._file.write(piece)
        self._at, self.missing = end, self.missing - len(piece)

    def _check_space(self):
        if hasattr(os, "statvfs"):
            disk = os.statvfs(self.path[: self.path.rfind("/") + 1] or ".")
            free, need = disk[1] * disk[4], self.missing + 2 * disk[1]  # and what the file system needs for itself
            if free < need:
                raise OSError(f"flash: {free} bytes free, {need} needed for the new model beside the old: remove other files")

    def _checking(self):
        """Check and commit, as a generator that yields between pieces."""
        if self._file is None or self.missing:
            raise ValueError(f"the model is not complete: {self.missing} bytes are missing")
        try:
            _sync(self._file)
            self._file.close()
        except OSError as error:
            raise _plain(error)  # noqa: B904
        checksum = 0
        with open(self._part, "rb") as f:
            same = f.read(16) == self._head
            for checksum in _checksums(f):  # noqa: B007  (the last one counts)
                yield
        if not same or checksum != u32(self._head, 12):
            raise ValueError("checksum is wrong: the model was damaged on its way, send it again")
        if not _there(self.path) and _there(self._new):
            _replace(self._new, self.path)  # it may be the only one that works
        _remove(self._starts)  # before: what another model's starts were must not count for this one
        _replace(self._part, self._new)
        self.trial = False

    def _log(self):
        try:
            with open(self._starts, "rb") as f:
                return f.read()
        except OSError:
            return b""

    def _append(self, letter):
        with open(self._starts, "ab") as f:
            f.write(letter)
            _sync(f)

    def _count_start(self):
        """Whether the new model may start; it is counted before, so that a start that ends in a crash counts too."""
        log = self._log()
        if len(log) - 1 - log.rfind(b"g") >= self._failed:
            self.refused = f"{self._failed} starts on end were not confirmed"
            return False
        try:
            self._append(b"s")
        except OSError as error:
            self.refused = f"its start could not be counted: {error}"
            return False
        return True

    def _settle(self, path, alone):
        """Bring the files in line with the model that is in use; `alone`: the other one has been tried and does not work."""
        try:
            if self._file is None:
                _remove(self._part)
            if path == self.path:
                self._discard()
                return
            self.trial, self.refused = True, None
            if alone or not _whole(self.path) or self._log().count(b"g") >= self._good:
                self._promote()
        except OSError:
            pass  # the next start tries again

    def _promote(self):
        _replace(self._new, self.path)
        self.trial = False
        _remove(self._starts)

    def _discard(self):
        try:
            _remove(self._new)
            _remove(self._starts)  # behind it: as long as it is there, its starts count
        except OSError:
            pass


def _load(path):
    """(Model, None), or (None, the reason why it does not work)."""
    gc.collect()
    try:
        model = Model(path)
        if model.self_test():
            return model, None
        reason = "its self-test gives other results than the file says"
    except OSError as error:
        reason = "there is no such file" if error.errno == 2 else f"it cannot be read ({error})"
    except (ValueError, MemoryError) as error:
        reason = str(error)
    return None, f"{path}: {reason}"


def _checksums(f):
    """The checksum of the rest of a file as it grows by each piece that is read."""
    piece, checksum = memoryview(bytearray(_PIECE)), 0
    n = f.readinto(piece)
    while n:
        checksum = crc32(piece[:n], checksum)
        yield checksum
        n = f.readinto(piece)


def _whole(path):
    """Whether a file has the format and the checksum of a model, found out in little RAM."""
    try:
        with open(path, "rb") as f:
            head, checksum = f.read(16), 0
            if len(head) < 16:
                return False
            _check_head(head)
            for checksum in _checksums(f):  # noqa: B007
                pass
        return checksum == u32(head, 12)
    except (OSError, ValueError):
        return False


def _there(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def _remove(path):
    if _there(path):
        os.remove(path)


def _replace(old, new):
    try:
        os.rename(old, new)
    except OSError as error:
        if error.errno != _EXISTS:
            raise
        os.remove(new)
        os.rename(old, new)


def _plain(error):
    """An exception for people: flash that is full has but a number for it."""
    if isinstance(error, OSError) and error.errno == _FULL:
        return OSError("flash is full: remove other files; the models in use are as they were")
    return error


def _sync(f):
    f.flush()
    if hasattr(os, "fsync"):
        os.fsync(f.fileno())
    elif hasattr(os, "sync"):
        os.sync()
