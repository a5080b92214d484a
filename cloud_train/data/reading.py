"""Brings pictures to one size, a few threads at a time, into a nameless file: memory holds only a window."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud_train.data import pictures
from cloud_train.data.folders import Labelled
from cloud_train.data.pictures import BadPicture, Shape
from cloud_train.data.samples import BLOCK_BYTES, Array, BadSamples, Samples
from cloud_train.data.spool import Spool
from host_cli.progress import Advance, progress

# Pillow lets other threads run while it decodes; beyond a few the disk is the limit.
MAX_WORKERS = 8
# So many pictures are decoded before the progress moves, or fewer when they are large.
MAX_WINDOW_PICTURES = 512

Make = Callable[[int], tuple[Array, bytes]]


@dataclass(frozen=True)
class Decoded:
    """Pictures that could be read.

    Attributes:
        samples: in the order of the files; x lies in a nameless file.
        skipped: `name: reason` of the others.
        sha256: over the names and the bytes of the files in `samples`, 64 hex digits.
    """

    samples: Samples
    skipped: tuple[str, ...]
    sha256: str


def decode_files(files: Sequence[Labelled], shape: Shape, near: Path | None, title: str) -> Decoded:
    """Decode picture files.

    Args:
        files: at least one.
        shape: height, width and channels that all are brought to.
        near: a folder on the disk to use, as in `Spool`.
        title: of the progress on stderr.

    Raises:
        BadSamples: no picture could be read.
        Failed: the disk is full.
    """

    def make(place: int) -> tuple[Array, bytes]:
        payload = files[place].read()
        return pictures.decode(payload, shape), hashlib.sha256(payload).digest()

    spool, good, skipped, sha256 = Spool(near), [], [], hashlib.sha256()
    with progress(title, len(files), "pictures") as done:
        for place, outcome in _in_threads(make, len(files), shape, done):
            if isinstance(outcome, BadPicture):
                skipped.append(f"{files[place].name}: {outcome}")
                continue
            pixels, digest = outcome
            spool.append(pixels.data)
            sha256.update(files[place].name.encode(errors="surrogateescape") + b"\0" + digest)
            good.append(files[place].label)
    if not good:
        raise BadSamples(f"no picture can be read, as {skipped[0]}")
    samples = Samples(spool.map((len(good), *shape)), np.array(good, np.int64))
    return Decoded(samples, tuple(skipped), sha256.hexdigest())


def gather(samples: Samples, places: Array, shape: Shape, near: Path | None, title: str) -> Samples:
    """Return the samples at `places`, (K,) integers, in that order, brought to `shape`.

    Raises:
        Failed: the disk is full.
    """

    def make(place: int) -> tuple[Array, bytes]:
        pixels = samples.x[places[place]]
        return (pixels if pixels.shape == shape else pictures.resize(pixels, shape)), b""

    spool = Spool(near)
    with progress(title, len(places), "pictures") as done:
        for _, outcome in _in_threads(make, len(places), shape, done):
            assert not isinstance(outcome, BadPicture)  # they are decoded already
            spool.append(np.ascontiguousarray(outcome[0]).data)
    return Samples(spool.map((len(places), *shape)), samples.y[places])


def _in_threads(
    make: Make, count: int, shape: Shape, done: Advance
) -> Iterator[tuple[int, tuple[Array, bytes] | BadPicture]]:
    def attempt(place: int) -> tuple[Array, bytes] | BadPicture:
        try:
            return make(place)
        except BadPicture as error:
            return error

    workers = min(MAX_WORKERS, os.cpu_count() or 1)
    window = max(workers, min(MAX_WINDOW_PICTURES, BLOCK_BYTES // int(np.prod(shape))))
    with ThreadPoolExecutor(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damaged EXIF data and the like
        for start in range(0, count, window):
            places = range(start, min(start + window, count))
            yield from zip(places, pool.map(attempt, places), strict=True)
            done(len(places))
