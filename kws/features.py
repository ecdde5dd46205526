"""Features for training: every clip augmented several times, once, by all processor cores, kept in a cache.

    train = FeatureSet.build(waveforms, front_end, noises, variants=30, seed=0)
    train.features      # (variant, clip, frame, band) int8

A variant is a function of (seed, variant, clip) alone, so that a cache can be continued after an interruption
and a teacher that wants audio can have the very same waveforms again.
"""

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from export.format import FrontEnd, write_atomically
from kws.augment import AugmentConfig, augment
from kws.data import cache_folder
from kws.frontend import extract

_work: dict = {}  # what a worker process inherits: inputs of one build


def augmented(waveforms: np.ndarray, noises: list[np.ndarray], config: AugmentConfig, seed: int, variant: int) -> np.ndarray:
    """One variant (clip, sample) int16 of the waveforms (clip, sample) int16."""
    out = np.empty_like(waveforms)
    for i, clip in enumerate(waveforms):
        out[i] = augment(clip, np.random.default_rng([seed, variant, i]), noises, config)
    return out


class FeatureSet:
    """Augmented features (variant, clip, frame, band) int8, mapped from a file, and how to make their waveforms again."""

    def __init__(
        self, features: np.ndarray, digest: str, waveforms: np.ndarray, noises: list[np.ndarray], config: AugmentConfig, seed: int
    ):
        self.features, self.digest = features, digest  # the digest names all that the features were made from
        self._inputs, self._config, self._seed = (waveforms, noises), config, seed

    def waveforms(self, variant: int) -> np.ndarray:
        """The augmented audio (clip, sample) int16 that a variant's features came from."""
        return augmented(*self._inputs, self._config, self._seed, variant)

    @classmethod
    def build(
        cls, waveforms: np.ndarray, front_end: FrontEnd, noises: list[np.ndarray], config: AugmentConfig, variants: int, seed: int
    ) -> "FeatureSet":
        """Compute what the cache does not hold yet, with progress on standard error."""
        shape = (variants, len(waveforms), waveforms.shape[1] // front_end.hop, front_end.bands)
        digest = _digest(waveforms, front_end, noises, config, shape, seed)
        path = cache_folder() / f"features-{digest}.npy"
        done = path.with_suffix(".done")
        if not (path.exists() and done.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            done.unlink(missing_ok=True)
            _reserve(path, shape)
            done.write_text("[]")
        finished = json.loads(done.read_text())
        todo = [v for v in range(variants) if v not in finished]
        if todo:
            _work.update(waveforms=waveforms, front_end=front_end, noises=noises, config=config, seed=seed, path=path)
            console = Console(stderr=True)
            with closing(_in_processes(_one_variant, todo)) as results:  # forks before the progress bar has its thread
                for v in track(results, "augmenting", len(todo), console=console):
                    finished.append(v)
                    write_atomically(done, json.dumps(finished).encode())
            _work.clear()
        return cls(np.load(path, mmap_mode="r"), digest, waveforms, noises, config, seed)


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    """Make the file whole at once: a disk that is too full says so here, not where a worker writes to a mapping."""
    try:
        np.lib.format.open_memmap(path, "w+", np.int8, shape).flush()
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def _in_processes(function: Callable, items: list) -> Iterator:
    """Results in any order, from forked workers that share the inputs; close the iterator to stop them."""
    interrupts = {signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, interrupts)  # the workers inherit this: Ctrl-C is the parent's business
    try:
        executor = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork"))
        futures = [executor.submit(function, item) for item in items]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts)
    return _results(executor, futures)


def _results(executor: ProcessPoolExecutor, futures: list[Future]) -> Iterator:
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def _one_variant(variant: int) -> int:
    w = _work
    audio = augmented(w["waveforms"], w["noises"], w["config"], w["seed"], variant)
    target = np.load(w["path"], mmap_mode="r+")
    target[variant] = extract(audio, w["front_end"])
    target.flush()
    return variant


def _digest(waveforms, front_end, noises, config, shape, seed) -> str:
    """A digest of all that the features follow from; a short probe stands for the front end's code."""
    h = hashlib.sha256(repr((front_end, config, shape, seed)).encode())
    probe = np.random.default_rng(0).integers(-9000, 9000, (1, 3200)).astype(np.int16)
    for array in (extract(probe, front_end), waveforms, *noises):
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()[:24]
