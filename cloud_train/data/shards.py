"""Splits a data set into shards, and the manifest (`shards.json`) that says what lies beside it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud_train.data.datasets import Dataset
from cloud_train.data.samples import Array, BadSamples, Samples, load_samples, save_samples
from contract.artifacts import LABELS, FileEntry, Preprocessing
from contract.codec import decode, encode
from contract.errors import MessageError
from contract.records import Integer, Items, Nested, Record, Text, rule
from host_cli import files
from host_cli.errors import WrongUsage

MANIFEST_FILE = "shards.json"
TEST_FILE = "test.npz"
MAX_SHARDS = 1000
MIN_TEST_SAMPLES = 500
# A quick run holds out a tenth of what it trains on.
TRAIN_PER_TEST_SAMPLE = 10
PIXEL_SCALE = 1 / 255


@dataclass(frozen=True)
class ShardEntry(Record):
    """A file of samples, and how many there are in it."""

    file: FileEntry = rule(Nested(FileEntry))
    examples: int = rule(Integer(1))


@dataclass(frozen=True)
class ShardManifest(Record):
    """`shards.json`: the shards of a data set, its held-out part, and how pictures become model input."""

    dataset: str = rule(Text(max_length=4096))
    seed: int = rule(Integer())
    shards: tuple[ShardEntry, ...] = rule(Items(Nested(ShardEntry), max_items=MAX_SHARDS, min_items=1))
    test: ShardEntry = rule(Nested(ShardEntry))
    labels: tuple[str, ...] = rule(LABELS)
    preprocessing: Preprocessing = rule(Nested(Preprocessing))


def split(samples: Samples, count: int, seed: int) -> list[Samples]:
    """Deal samples out at random (IID): sizes differ by at most one, nothing is dropped or given twice.

    Raises:
        BadSamples: there are fewer samples than shards.
    """
    if len(samples.y) < count:
        raise BadSamples(f"{len(samples.y)} pictures cannot fill {count} shards")
    order = np.random.default_rng(seed).permutation(len(samples.y))
    return [samples.take(places) for places in np.array_split(order, count)]


def choose(samples: Samples, count: int, seed: int) -> Samples:
    """Draw `count` samples, as many of every class as there are, or all when there are not more."""
    if count >= len(samples.y):
        return samples
    order = np.random.default_rng(seed).permutation(len(samples.y))
    turn = _turn_in_class(samples.y[order])
    return samples.take(order[np.argsort(turn, kind="stable")[:count]])


def limit(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Return a smaller data set for quick runs: `count` pictures to train, a tenth (at least 500) to test."""
    test_count = max(MIN_TEST_SAMPLES, count // TRAIN_PER_TEST_SAMPLE)
    return Dataset(choose(dataset.train, count, seed), choose(dataset.test, test_count, seed), dataset.labels)


def write_shards(dataset: Dataset, name: str, count: int, seed: int, folder: Path) -> ShardManifest:
    """Write shard-0.npz ..., test.npz and, when all of them are complete, the manifest.

    Args:
        dataset: what to split.
        name: what the data set is called, for the manifest.
        count: how many shards, 1 to MAX_SHARDS.
        seed: >= 0; the same seed deals the same shards.
        folder: made when it is not there.
    """
    parts = split(dataset.train, count, seed)
    # The old manifest must not describe new shards when this is interrupted.
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    height, width, channels = dataset.train.image_shape
    manifest = ShardManifest(
        dataset=name,
        seed=seed,
        shards=tuple(_write(part, folder / f"shard-{index}.npz") for index, part in enumerate(parts)),
        test=_write(dataset.test, folder / TEST_FILE),
        labels=dataset.labels,
        preprocessing=Preprocessing(height, width, channels, scale=PIXEL_SCALE, offset=0.0),
    )
    files.write_bytes(folder / MANIFEST_FILE, encode(manifest))
    return manifest


def load_manifest(folder: Path) -> ShardManifest:
    """Read `shards.json`.

    Raises:
        WrongUsage: it is not there, or not a shard manifest.
    """
    path = folder / MANIFEST_FILE
    try:
        return decode(ShardManifest, path.read_bytes())
    except OSError as error:
        raise WrongUsage(f"there is no {MANIFEST_FILE}", str(folder), _split_again(folder)) from error
    except MessageError as error:
        raise WrongUsage(str(error), str(path), _split_again(folder)) from error


def verify_shards(folder: Path, manifest: ShardManifest) -> None:
    """Check that the files are those of the manifest, and that every label has a name.

    Raises:
        WrongUsage: a file is missing, was changed, or holds what no model for this data set can learn.
    """
    for entry in (*manifest.shards, manifest.test):
        path = folder / entry.file.path
        if not path.is_file():
            raise WrongUsage("there is no such file", str(path), _split_again(folder))
        if files.sha256_of(path) != entry.file.sha256:
            raise WrongUsage(f"it was changed after {MANIFEST_FILE}", str(path), _split_again(folder))
        try:
            load_samples(path).check_fits(image_shape(manifest), len(manifest.labels))
        except BadSamples as error:
            raise WrongUsage(str(error), str(path), _split_again(folder)) from error


def image_shape(manifest: ShardManifest) -> tuple[int, int, int]:
    """Return height, width and channels of the pictures."""
    prepared = manifest.preprocessing
    return prepared.height, prepared.width, prepared.channels


def _write(samples: Samples, path: Path) -> ShardEntry:
    save_samples(samples, path)
    return ShardEntry(file=files.describe(path), examples=len(samples.y))


def _turn_in_class(labels: Array) -> Array:
    # (N,) int64: how many of the same label stand before each one.
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        turn[places] = np.arange(len(places))
    return turn


def _split_again(folder: Path) -> str:
    return f"cloud-train split --dataset ... --out {folder}"
