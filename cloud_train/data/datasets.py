"""Where a data set comes from: a name, a folder, an archive or an .npz, and what is taken of it."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud_train.data import archives, folders, idx
from cloud_train.data.arrays import FASHION_MNIST, MNIST, NPZ_HINT, Arrays, load_known, read_idx, read_npz
from cloud_train.data.pictures import Shape
from cloud_train.data.reading import decode_files, gather
from cloud_train.data.samples import Array, BadSamples, Samples, blocks
from cloud_train.data.selection import Choice, Size, select
from contract.artifacts import LABELS, Preprocessing
from contract.errors import MessageError
from host_cli.errors import WrongUsage

CALTECH101 = "caltech101"
# What MobileNetV2 was made for.
DEFAULT_SIZE = Size(224, 224, 3)
WHAT_THERE_IS = (
    f"{FASHION_MNIST}, {MNIST}, {CALTECH101}, FILE.npz, a folder of class folders (or a .zip or .tar.gz "
    "of it), or a folder with IDX files"
)
_FOLDER_HINT = "a folder of class folders with pictures in them: FOLDER/cat/1.jpg, FOLDER/dog/2.png"


@dataclass(frozen=True)
class Dataset:
    """A data set with its held-out part, and what its labels are called.

    Attributes:
        train: what is dealt out.
        test: what is held out.
        labels: what the labels are called, in the order of their numbers.
        skipped: `name: reason` of the pictures that could not be read.
        source_sha256: over the arrays as they were found, or over names and bytes of the picture files that
            were read, in the order of their names; 64 hex digits.
    """

    train: Samples
    test: Samples
    labels: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    source_sha256: str | None = None

    def __post_init__(self) -> None:
        for part in (self.train, self.test):
            part.check_fits(self.train.image_shape, len(self.labels))
        _check_contract(self.labels, self.train.image_shape)


def load_dataset(
    source: str, data_dir: Path | None = None, choice: Choice | None = None, near: Path | None = None
) -> Dataset:
    """Read a data set; what does not fit in memory stays on the disk.

    Args:
        source: one of WHAT_THERE_IS.
        data_dir: where the files of `fashion-mnist`, `mnist` or `caltech101` lie, before any other place.
        choice: what is wanted of it; None: everything, as it is.
        near: a folder on the disk that takes decoded pictures; None: the system's temporary folder.

    Raises:
        WrongUsage: there is no such data set, its files are damaged, or it is not what `choice` needs.
        Unreachable: it is not on this computer and could not be downloaded.
        Failed: the disk is full.
    """
    path = _path_of(source, data_dir)
    try:
        if source in (FASHION_MNIST, MNIST):
            return _from_arrays(load_known(source, data_dir), choice or Choice(), near)
        return _open(path, choice or Choice(), near)
    except BadSamples as error:
        hint = NPZ_HINT if path.suffix == ".npz" else _FOLDER_HINT
        raise WrongUsage(str(error), str(path), error.hint or hint) from error


def _check_contract(labels: tuple[str, ...], shape: Shape) -> None:
    # What the manifest, the run and the board have room for.
    try:
        Preprocessing(*shape)
        LABELS.check(labels, "labels")
    except MessageError as error:
        raise BadSamples(str(error)) from error


def _path_of(source: str, data_dir: Path | None) -> Path:
    if source == CALTECH101 and data_dir is None:
        hint = "name its folder or .zip by --data-dir"
        raise WrongUsage("this data set is not downloaded", source, hint)
    if source not in (FASHION_MNIST, MNIST, CALTECH101) and data_dir is not None:
        raise WrongUsage("a path needs no --data-dir", source, "leave it out")
    return data_dir if source == CALTECH101 and data_dir is not None else Path(source)


def _open(path: Path, choice: Choice, near: Path | None) -> Dataset:
    if path.is_dir() and idx.is_idx_folder(path):
        return _from_arrays(read_idx(path), choice, near)
    if path.is_dir():
        return _from_pictures(folders.walk(path), choice, near)
    if path.is_file() and path.suffix == ".npz":
        return _from_arrays(read_npz(path), choice, near)
    if path.is_file() and archives.is_archive(path.name):
        return _from_pictures(archives.open_archive(path, near), choice, near)
    raise WrongUsage("there is no such data set", str(path), WHAT_THERE_IS)


def _from_arrays(found: Arrays, choice: Choice, near: Path | None) -> Dataset:
    pool = found.test or found.train
    places = select(found.train.y, None if found.test is None else found.test.y, choice)
    height, width, channels = found.train.image_shape
    if choice.size is not None:
        height, width, channels = choice.size.height, choice.size.width, choice.size.channels or channels
    shape = (height, width, channels)
    train = _part(found.train, places[0], shape, near, "pictures to train on")
    test = _part(pool, places[1], shape, near, "pictures to test on")
    return Dataset(train, test, found.labels, source_sha256=_digest(found))


def _part(samples: Samples, places: Array, shape: Shape, near: Path | None, title: str) -> Samples:
    if shape == samples.image_shape and np.array_equal(places, np.arange(len(samples.y))):
        return samples
    return gather(samples, places, shape, near, title)


def _digest(found: Arrays) -> str:
    sha256 = hashlib.sha256()
    for part in (found.train, *([found.test] if found.test else [])):
        for block in blocks(np.arange(len(part.y)), part.x.shape):
            sha256.update(np.ascontiguousarray(part.x[block[0] : block[-1] + 1]).data)
        sha256.update(part.y.data)
    return sha256.hexdigest()


def _from_pictures(found: folders.Found, choice: Choice, near: Path | None) -> Dataset:
    tree = folders.arrange(found)
    for left_out in tree.left_out:
        print(f"left out: {left_out}", file=sys.stderr)
    size = choice.size or DEFAULT_SIZE
    shape = (size.height, size.width, size.channels or 3)
    _check_contract(tree.labels, shape)  # before anything is decoded
    pool = tree.train if tree.test is None else tree.test
    places = select(_labels_of(tree.train), None if tree.test is None else _labels_of(tree.test), choice)
    train, test = (
        decode_files([files[place] for place in chosen], shape, near, title)
        for files, chosen, title in (
            (tree.train, places[0], "pictures to train on"),
            (pool, places[1], "pictures to test on"),
        )
    )
    for label in np.setdiff1d(_labels_of(tree.train)[places[0]], train.samples.y):
        what = f"no picture of the class {tree.labels[label]!r} can be read"
        raise BadSamples(f"{what}; {len(train.skipped)} were skipped, as {train.skipped[0]}")
    sha256 = hashlib.sha256((train.sha256 + test.sha256).encode()).hexdigest()
    skipped = (*tree.skipped, *train.skipped, *test.skipped)
    return Dataset(train.samples, test.samples, tree.labels, skipped, sha256)


def _labels_of(files: tuple[folders.Labelled, ...]) -> Array:
    return np.array([each.label for each in files], np.int64)
