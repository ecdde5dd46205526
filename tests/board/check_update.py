"""Updates: whatever the files are after a reset between or within any two steps, the next start has a working model.

The file system is a dictionary that shows its contents at every step as a reset would leave them: the data of a write there,
there in half, or lost because the file was not flushed yet. From each of these contents a board starts, updates again, and
is reset again at every step of that, until no new contents turn up: so any number of resets is covered. (Emulated chips take
one reset, on the file system that boards have.)
"""

import binascii
import struct
import sys

import signwave.update
from signwave import backend
from signwave.model import VERSION, Model
from signwave.update import Store

PATH, EXISTS, FULL = "/model.swm", 17, 28
QUICK = sys.platform in ("linux", "darwin", "win32")


class Probe(Model):
    def scores(self):
        self.got = super().scores()
        return self.got


def swm(name, golden=None):
    """A model file: a dense layer of 4 inputs and 2 outputs, and a window. A version is known by its name."""
    record = struct.pack("<HHIHHHHBBH", 3, 0, 60, 4, 2, 1, 1, 4, 2, 0)
    record += struct.pack("<4h4i2i8b", 9, -7, 30, 2, 5, 900, -70, 3, -50, 60, 9, -8, 7, 100, -3, 5, 120, -90)
    graph = struct.pack("<I", 2) + record + struct.pack("<HHIHHHHI", 4, 0, 20, 2, 2, 3, 1, 0)
    sections = ((1, b"name=" + name), (2, struct.pack("<HHii", 2, 0, 0, 50) + b"\2no\3yes"), (4, graph),
                (5, golden or struct.pack("<4I", 1, 4, 0, 0)))  # fmt: skip
    body = b"".join([struct.pack("<II", kind, len(data)) for kind, data in sections])
    body += b"".join([data + bytes(-len(data) % 4) for _, data in sections])
    data = struct.pack("<4sHHII", b"SWM\x1a", VERSION, len(sections), 16 + len(body), binascii.crc32(body)) + body
    if golden:
        return data
    probe = Probe(bytearray(data))
    assert not probe.self_test() and probe.got[0] and probe.got[0] != probe.got[1], probe.got
    return swm(name, struct.pack("<IIii", 1, 4, *probe.got))


class File:
    def __init__(self, flash, name, mode):
        self.flash, self.name, self.at, self.writes = flash, name, 0, mode != "rb"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def read(self, n=-1):
        data = self.flash.files[self.name]
        data = data[self.at :] if n < 0 else data[self.at : self.at + n]
        self.at += len(data)
        return data

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data):
        data, flash = bytes(data), self.flash
        before = flash.pending[self.name]
        flash.step()
        if flash.used() + len(data) > flash.size:
            raise OSError(FULL, "no space")
        flash.pending[self.name] = before + data[: len(data) // 2]
        flash.step()
        flash.pending[self.name] = before + data

    def flush(self):
        self.flash.step()
        if self.name in self.flash.pending:
            self.flash.files[self.name] = self.flash.pending[self.name]

    def close(self):
        if self.writes:
            self.flush()
            self.writes = False
            self.flash.pending.pop(self.name, None)


class Flash:
    """Stands in for `os` and `open`, and for `gc` to save time.

    `watch` gets the files as they would be found after a reset, at each step.
    """

    def __init__(self, files, renaming="replaces", watch=None, size=1 << 20):
        self.files, self.pending, self.renaming, self.watch, self.size = files, {}, renaming, watch, size
        self.readonly = False
        signwave.update.os = signwave.update.gc = self
        signwave.update.open = signwave.model.open = self.open

    def collect(self):
        pass

    def step(self):
        if self.readonly:
            raise OSError(30, "read only")
        if self.watch:
            self.watch(self.files)
            if self.pending:
                kept = dict(self.files)
                kept.update(self.pending)
                self.watch(kept)

    def used(self):
        return sum([len(data) for data in self.files.values()]) + sum([len(data) for data in self.pending.values()])

    def stat(self, path):
        if path not in self.files:
            raise OSError(2, "no entry")
        return (0x8000, 0, 0, 0, 0, 0, len(self.files[path]), 0, 0, 0)

    def statvfs(self, path):
        assert path == "/"
        free = (self.size - self.used()) // 16
        return (16, 16, self.size // 16, free, free, 0, 0, 0, 0, 255)

    def open(self, path, mode):
        if mode == "rb":
            self.stat(path)
        else:
            self.step()
            before = b"" if mode == "wb" else self.files.get(path, b"")
            self.files[path] = self.pending[path] = before
        return File(self, path, mode)

    def remove(self, path):
        self.step()
        self.stat(path)
        del self.files[path]

    def rename(self, old, new):
        self.step()
        self.stat(old)
        if new in self.files and self.renaming != "replaces":
            if self.renaming == "refuses":
                raise OSError(EXISTS, "exists")
            self.remove(new)  # as MicroPython does on FAT
            self.step()
        self.files[new] = self.files.pop(old)


def send(store, data):
    store.begin()
    for at in range(0, len(data), 120):
        assert store.write(data[at : at + 120]) == max(0, len(data) - at - 120)
    store.commit()


def start():
    """A start of the board: (Store, name of the model that it runs)."""
    store = Store(PATH, 2, 2)
    return store, store.open().metadata["name"]


def refusal(function, *arguments):
    try:
        function(*arguments)
    except (ValueError, OSError) as error:
        return str(error)
    raise AssertionError("nothing was refused")


FIRST, SECOND, THIRD, LAST = (swm(name + b"\n") for name in (b"first", b"second", b"third", b"last"))
UNSOUND = swm(b"unsound\n", struct.pack("<4I", 1, 4, 5, 6))


class Search:
    """All contents that resets can leave behind, and the models that are right to run from there."""

    def __init__(self, renaming):
        self.renaming, self.seen, self.open, self.right = renaming, set(), [], ()

    def watch(self, files):
        key = (self.right, tuple(sorted(files.items())))
        if key not in self.seen:
            self.seen.add(key)
            self.open.append((self.right, dict(files)))

    def begin(self, files, right, watched=True):
        self.right = right
        return Flash(files, self.renaming, self.watch if watched else None)

    def a_life(self):
        """First to second, confirmed; one whose self-test fails; third, superseded on trial by last, which fails to start."""
        flash = self.begin({PATH: FIRST}, ("first",))
        store, name = start()
        assert name == "first" and not store.trial
        self.right = ("first", "second")
        send(store, SECOND)
        for _ in range(2):
            store, name = start()
            assert name == "second" and store.trial
            store.confirm()
        assert flash.files == {PATH: SECOND}
        self.right = ("second",)
        send(store, UNSOUND)
        store, name = start()
        assert name == "second" and "self-test" in store.refused and flash.files == {PATH: SECOND}
        self.right = ("second", "third", "last")
        send(store, THIRD)
        store, name = start()
        assert name == "third" and store.trial
        send(store, LAST)
        store.confirm()  # third goes on running, but is on trial no more
        assert PATH + ".starts" not in flash.files
        for wanted in ("last", "last", "second"):
            store, name = start()
            assert name == wanted, (name, wanted)
        assert "2 starts on end" in store.refused and flash.files == {PATH: SECOND}

    def recover(self, right, files):
        flash = self.begin(files, right, QUICK)
        store, name = start()
        assert name in right, (name, right, files)
        self.right = right + (() if "last" in right else ("last",))
        send(store, LAST)
        for _ in range(2):
            store, name = start()
            assert name == "last", (name, files)
            store.confirm()
        assert flash.files == {PATH: LAST}, flash.files
        self.right = ("last",)
        assert start()[1] == "last"


def check_every_reset():
    counts = []
    for renaming in ("replaces", "refuses", "removes") if QUICK else ("replaces",):
        search = Search(renaming)
        search.a_life()
        while search.open:
            right, files = search.open.pop()
            search.recover(right, files)
        counts.append(len(search.seen))
    return counts


def check_first_model():
    """A board without a model takes one, for good, with the first start."""
    flash = Flash({})
    store = Store(PATH)
    assert "no such file" in refusal(store.open)
    send(store, FIRST)
    assert Store(PATH).open().metadata["name"] == "first" and flash.files == {PATH: FIRST}


def check_either_alone():
    """Whichever model works is used: beside damage of the other, of the count, and of both names' absence."""
    torn, new, starts = SECOND[:100], PATH + ".new", PATH + ".starts"
    for files, wanted, settled in (
        ({PATH: torn, new: SECOND}, "second", True),
        ({PATH: b"SWM", new: SECOND}, "second", True),
        ({PATH: FIRST[:4] + b"\0" + FIRST[5:], new: SECOND}, "second", True),
        ({PATH: torn, new: SECOND, starts: b"ssss"}, "second", True),
        ({PATH: UNSOUND, new: SECOND, starts: b"ssss"}, "second", True),
        ({new: SECOND, starts: b"ssss"}, "second", True),
        ({PATH: FIRST, new: SECOND, starts: b"ssgs"}, "second", False),
        ({PATH: FIRST, new: SECOND, starts: b"sgsg"}, "second", True),
        ({PATH: FIRST, new: SECOND, starts: b"\xff\0\xff"}, "first", True),
        ({PATH: FIRST, new: torn, PATH + ".part": torn}, "first", True),
        ({PATH: FIRST, new: UNSOUND}, "first", True),
        ({PATH: FIRST, new: b""}, "first", True),
        ({PATH: FIRST, starts: b"ss"}, "first", True),
        ({PATH: FIRST, PATH + ".part": SECOND}, "first", True),
    ):
        flash = Flash(dict(files))
        store, name = start()
        assert name == wanted, (files, name)
        assert store.trial != settled
        assert not settled or flash.files == {PATH: FIRST if wanted == "first" else SECOND}, (files, flash.files)
        assert (store.refused is None) == (wanted == "second" or new not in files), store.refused
    flash = Flash({PATH: torn, new: SECOND})
    flash.readonly = True
    assert start()[1] == "second"
    Flash({PATH: torn, new: UNSOUND})
    message = refusal(Store(PATH).open)
    assert "truncated" in message and "self-test" in message, message
    flash = Flash({new: UNSOUND})
    assert "self-test" in refusal(Store(PATH).open) and new in flash.files
    flash = Flash({new: SECOND}, "refuses")  # a program that receives without having asked for a model
    send(Store(PATH), LAST)
    assert flash.files == {PATH: SECOND, new: LAST}


def check_refusals():
    """What is refused on arrival, and that nothing has changed then."""
    newer = bytearray(SECOND)
    newer[4] = VERSION + 1
    damaged = bytearray(SECOND)
    damaged[-30] ^= 4
    for data, part in (
        (newer, f"format version {VERSION + 1} is newer than {VERSION}: update signwave"),
        (damaged, "checksum is wrong"),
        (SECOND[:-1], "1 bytes are missing"),
        (SECOND[:10], "6 bytes are missing"),
        (b"", "16 bytes are missing"),
        (SECOND + b"\0", "1 bytes too many"),
        (b"GIF89a" + SECOND, "not a signwave model"),
    ):
        for step in (1, 7, 16, 500):
            flash, store = Flash({PATH: FIRST}), Store(PATH)
            store.open()
            store.begin()

            def arrive(store=store, data=data, step=step):
                for at in range(0, len(data), step):
                    store.write(data[at : at + step])
                store.commit()

            message = refusal(arrive)
            assert part in message, (part, message)
            assert flash.files == {PATH: FIRST} and not store.missing, flash.files
            assert "begin" in refusal(store.write, b"x") and "not complete" in refusal(store.commit)
    store.begin()
    store.write(SECOND)
    flash.pending[PATH + ".part"] = b"T" + SECOND[1:]  # damaged on its way to flash
    assert "checksum" in refusal(store.commit)
    store.begin()
    assert "already" in refusal(store.begin)
    store.cancel()
    assert flash.files == {PATH: FIRST}
    for starts in ((0, 1), (1, 0)):
        assert "at least 1" in refusal(Store, PATH, *starts)


def check_space():
    """Flash that is too small is named before anything is written, or when the file system has no more after all."""
    room = len(FIRST) + len(SECOND)
    for size, lies, part in ((room, False, "bytes free"), (room - 32, True, "flash is full")):
        flash, store = Flash({PATH: FIRST}, size=size), Store(PATH)
        store.open()
        if lies:
            flash.statvfs = lambda path: (16, 16, 99, 99, 99, 0, 0, 0, 0, 255)
        message = refusal(send, store, SECOND)
        assert part in message, message
        assert flash.files == {PATH: FIRST}, flash.files
        assert start()[1] == "first"
    flash = Flash({PATH: FIRST, PATH + ".new": SECOND}, size=room)  # a start that cannot be counted is none
    store, name = start()
    assert name == "first" and "counted" in store.refused
    flash = Flash({PATH: FIRST, PATH + ".new": SECOND, PATH + ".starts": b"sgsg"})
    flash.readonly = True
    assert start()[1] == "first"


def check_starts_are_counted():
    """Three starts on end without confirm and the old one is back; a good one between them begins the count anew."""
    Flash({PATH: FIRST})
    store = Store(PATH)
    store.open()
    send(store, SECOND)
    for confirmed in (False, False, True, False, False, True):
        store = Store(PATH)
        assert store.open().metadata["name"] == "second" and store.trial
        if confirmed:
            store.confirm()
            store.confirm()
            assert not store.trial
    for wanted in ("second", "second", "second", "first"):
        store = Store(PATH)
        assert store.open().metadata["name"] == wanted, wanted
    assert "3 starts on end were not confirmed" == store.refused


def check_receive():
    """By asyncio, beside a task that goes on meanwhile; cut short, or cancelled, it leaves nothing."""
    try:
        import asyncio
    except ImportError:
        return
    signwave.update._PIECE = 70  # more than a read gives, less than a model has

    class Stream:
        def __init__(self, data):
            self.data = data

        async def read(self, n):
            await asyncio.sleep(0)
            part, self.data = self.data[: min(n, 50)], self.data[min(n, 50) :]
            return part

    frames = 0

    async def listen():
        nonlocal frames
        while True:
            frames += 1
            await asyncio.sleep(0)

    async def run(data, pieces, end_after=None):
        task = asyncio.create_task(listen())
        receiving = asyncio.create_task(Store(PATH).receive(Stream(data), pieces.append))
        if end_after is not None:
            while len(pieces) < end_after:
                await asyncio.sleep(0)
            receiving.cancel()
        try:
            await receiving
        except asyncio.CancelledError:
            assert end_after is not None
        finally:
            task.cancel()

    flash, pieces = Flash({PATH: FIRST}), []
    asyncio.run(run(SECOND, pieces, 2))
    assert flash.files == {PATH: FIRST}
    assert "ended too early" in refusal(lambda: asyncio.run(run(SECOND[:-4], pieces)))
    assert "checksum" in refusal(lambda: asyncio.run(run(SECOND[:-1] + bytes([SECOND[-1] ^ 1]), pieces)))
    assert flash.files == {PATH: FIRST}
    del pieces[:]
    frames = 0
    asyncio.run(run(SECOND + b"what comes behind stays in the stream", pieces))
    assert flash.files == {PATH: FIRST, PATH + ".new": SECOND}
    assert pieces[-1] == 0 and len(pieces) == 1 + -(-(len(SECOND) - 16) // 70) > 3 and frames > 2 * len(pieces), (pieces, frames)


check_first_model()
check_either_alone()
check_refusals()
check_space()
check_starts_are_counted()
check_receive()
print("checked updates after resets, contents:", check_every_reset(), backend.name)
