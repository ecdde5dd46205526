"""Features for training by all processor cores: several variants of every clip made once and kept, or new ones as training goes.

    train = FeatureSet.build(waveforms, front_end, noises, config, variants=30, seed=0)
    train.features                                  # (variant, clip, frame, band) int8
    train.tokens(ear)                               # (variant, clip, token, 96) float16: what kws.embedding hears in the same
    fresh = FreshFeatures(waveforms, front_end, noises, config, seed=0)
    for features, _ in fresh.batches(epoch, picks): ...

A variant is a function of (seed, variant, clip) alone, so that a cache can be continued after an interruption
and a teacher that wants audio can have the very same waveforms again. What FreshFeatures makes in an epoch is the variant
of that number.
"""

import collections
import fcntl
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from bnn.training import TrainingError, digest_of
from export import native
from export.format import FrontEnd, write_atomically
from kws.augment import AugmentConfig, augment
from kws.data import cache_folder
from kws.embedding import SpeechEmbedding, tokens_of
from kws.frontend import extract

_work: dict = {}  # what a worker process inherits: inputs of one build
_PART = 256  # clips made at a time where a whole variant is heard


def varied(clip: np.ndarray, seed: int, variant: int, i: int, noises: list[np.ndarray], config: AugmentConfig) -> np.ndarray:
    """Variant (sample,) of clip number `i`."""
    return augment(clip, np.random.default_rng([seed, variant, i]), noises, config)


class FeatureSet:
    """Augmented features (variant, clip, frame, band) int8, mapped from a file, and how to make their waveforms again."""

    def __init__(self, features: np.ndarray, digest: str, fresh: "FreshFeatures"):
        self.features, self.digest = features, digest  # the digest names all that the features were made from
        self._fresh = fresh

    def sample(self, count: int) -> np.ndarray:
        """Features (clip, frame, band) of the first `count` clips in one variant."""
        return np.array(self.features[0, :count])

    def waveforms(self, variant: int) -> Iterator[tuple[slice, np.ndarray]]:
        """The augmented audio that a variant's features came from, in parts: which clips, and (clip, sample) int16."""
        clips = np.arange(self.features.shape[1])
        parts = [clips[i : i + _PART] for i in range(0, len(clips), _PART)]
        for part, audio in zip(parts, self._fresh.waveforms(variant, parts), strict=True):
            yield slice(part[0], part[-1] + 1), audio

    def tokens(self, ear: SpeechEmbedding) -> np.ndarray:
        """What an ear hears in every variant, (variant, clip, token, 96) float16; computed once and kept like the features."""
        shape = (*self.features.shape[:2], *tokens_of(ear, torch.zeros(1, self._fresh.samples)).shape[1:])
        path = cache_folder() / f"tokens-{self.digest}-{digest_of(ear)}.npy"
        with unfinished(path, shape, np.float16) as (todo, finish):
            target = np.load(path, mmap_mode="r+")
            for v in track(todo, "listening", console=Console(stderr=True)):
                for part, audio in self.waveforms(v):
                    target[v, part] = tokens_of(ear, torch.from_numpy(audio)).cpu().numpy()
                target.flush()
                finish(v)
        return np.load(path, mmap_mode="r")

    @classmethod
    def build(
        cls, waveforms: np.ndarray, front_end: FrontEnd, noises: list[np.ndarray], config: AugmentConfig, variants: int, seed: int
    ) -> "FeatureSet":
        """Compute what the cache does not hold yet, with progress on standard error."""
        shape = (variants, len(waveforms), waveforms.shape[1] // front_end.hop, front_end.bands)
        digest = _digest(waveforms, front_end, noises, config, shape, seed)
        path = cache_folder() / f"features-{digest}.npy"
        with unfinished(path, shape, np.int8) as (todo, finish):
            if todo:
                _work.update(waveforms=waveforms, front_end=front_end, noises=noises, config=config, seed=seed, path=path)
                console = Console(stderr=True)
                with closing(_in_processes(_one_variant, todo)) as results:  # forks before the progress bar has its thread
                    for v in track(results, "augmenting", len(todo), console=console):
                        finish(v)
                _work.clear()
        fresh = FreshFeatures(waveforms, front_end, noises, config, seed)
        return cls(np.load(path, mmap_mode="r"), digest, fresh)


@contextmanager
def unfinished(path: Path, shape: tuple[int, ...], dtype: type) -> Iterator[tuple[list[int], Callable[[int], None]]]:
    """The variants that a kept array lacks, and what to call when one of them is there. One process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_suffix(".lock")):
        done = path.with_suffix(".done")
        if not (path.exists() and done.exists()):
            done.unlink(missing_ok=True)
            _reserve(path, shape, dtype)
            done.write_text("[]")
        finished = json.loads(done.read_text())

        def finish(variant: int) -> None:
            finished.append(variant)
            write_atomically(done, json.dumps(finished).encode())

        yield [v for v in range(shape[0]) if v not in finished], finish


class FreshFeatures:
    """Features that worker processes compute while training goes on, a few batches ahead of it.

    For data too large to keep in many variants, and where processors are many.
    """

    def __init__(
        self, waveforms: np.ndarray, front_end: FrontEnd, noises: list[np.ndarray], config: AugmentConfig, seed: int
    ):
        self.digest = _digest(waveforms, front_end, noises, config, (len(waveforms),), seed)
        self._inputs = {"waveforms": waveforms, "front_end": front_end, "noises": noises, "config": config, "seed": seed}
        self.samples = waveforms.shape[1]  # of a clip
        self._workers = len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def sample(self, count: int) -> np.ndarray:
        """Features (clip, frame, band) of the first `count` clips, as epoch 0 has them."""
        clips = np.arange(min(count, len(self._inputs["waveforms"])))
        return next(self.batches(0, [clips]))[0]

    def batches(
        self, epoch: int, picks: list[np.ndarray], audio: bool = False
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """For every array of clip numbers features (clip, frame, band) int8 and, on demand, waveforms (clip, sample) int16."""
        return self._ahead(_one_batch, [(epoch, pick, audio) for pick in picks])

    def waveforms(self, epoch: int, picks: list[np.ndarray]) -> Iterator[np.ndarray]:
        """For every array of clip numbers their waveforms (clip, sample) int16 alone."""
        return self._ahead(_one_hearing, [(epoch, pick) for pick in picks])

    def _ahead(self, function: Callable, tasks: list[tuple]) -> Iterator:
        """Results in the order of the tasks, computed a few ahead of what is asked for."""
        if self._pool is None:
            with _without_interrupts():
                self._pool = ProcessPoolExecutor(
                    self._workers, multiprocessing.get_context("fork"), initializer=_work.update, initargs=(self._inputs,)
                )
                self._pool.submit(os.getpid).result()  # now all of them run
        coming = (self._pool.submit(function, *task) for task in tasks)
        ahead = collections.deque(itertools.islice(coming, 3 * self._workers))
        try:
            while ahead:
                made = ahead.popleft().result()
                ahead.extend(itertools.islice(coming, 1))
                yield made
        except BrokenProcessPool:
            self._pool = None
            raise TrainingError("a worker that augments clips was ended from outside, perhaps for want of memory") from None
        finally:
            for future in ahead:
                future.cancel()


def _one_batch(epoch: int, pick: np.ndarray, audio: bool) -> tuple[np.ndarray, np.ndarray | None]:
    clips = _one_hearing(epoch, pick)
    return native.FrontEnd(_work["front_end"].encode()).log_mel_batch(clips), clips if audio else None


def _one_hearing(epoch: int, pick: np.ndarray) -> np.ndarray:
    w = _work
    return np.stack([varied(w["waveforms"][i], w["seed"], epoch, i, w["noises"], w["config"]) for i in pick])


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock file, so that of several trainings that want the same features one computes them and the others wait."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:  # workers that were begun meanwhile hold the file open too
            fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes begun in here never see Ctrl-C: it is their parent's business."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _reserve(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """Make the file whole at once: a disk that is too full says so here, not where a worker writes to a mapping."""
    try:
        np.lib.format.open_memmap(path, "w+", dtype, shape).flush()
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def _in_processes(function: Callable, items: list) -> Iterator:
    """Results in any order, from forked workers that share the inputs; close the iterator to stop them."""
    with _without_interrupts():
        executor = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork"))
        futures = [executor.submit(function, item) for item in items]
    return _results(executor, futures)


def _results(executor: ProcessPoolExecutor, futures: list[Future]) -> Iterator:
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def _one_variant(variant: int) -> int:
    audio = _one_hearing(variant, np.arange(len(_work["waveforms"])))
    target = np.load(_work["path"], mmap_mode="r+")
    target[variant] = extract(audio, _work["front_end"])
    target.flush()
    return variant


def _digest(waveforms, front_end, noises, config, shape, seed) -> str:
    """A digest of all that the features follow from; a short probe stands for the front end's code."""
    h = hashlib.sha256(repr((front_end, config, shape, seed)).encode())
    probe = np.random.default_rng(0).integers(-9000, 9000, (1, 3200)).astype(np.int16)
    for array in (extract(probe, front_end), waveforms, *noises):
        h.update(memoryview(np.ascontiguousarray(array)).cast("B"))
    return h.hexdigest()[:24]
