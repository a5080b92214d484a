"""Writes a data set as shards, and the manifest (`shards.json`) that says what lies beside it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud_train.data.datasets import Dataset
from cloud_train.data.samples import Array, BadSamples, Samples, load_samples, save_samples
from cloud_train.data.splitters import IID, MAX_ALPHA, MIN_ALPHA, STRATEGIES, Deal, deal
from cloud_train.data.spool import disk_errors
from contract.artifacts import LABELS, MAX_CLASSES, MAX_SHARDS, SHA256_PATTERN, FileEntry, Preprocessing
from contract.codec import encode
from contract.records import Integer, Items, Maybe, Nested, Number, Record, Text, rule
from host_cli import files
from host_cli.documents import read_document
from host_cli.errors import WrongUsage
from host_cli.progress import Advance, progress

MANIFEST_FILE = "shards.json"
TEST_FILE = "test.npz"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
MAX_SKIPPED_SHOWN = 20
MAX_NAME_CHARACTERS = 1024
PIXEL_SCALE = 1 / 255


@dataclass(frozen=True)
class ShardEntry(Record):
    """A file of samples, how many there are in it, and how many of each label."""

    file: FileEntry = rule(Nested(FileEntry))
    examples: int = rule(Integer(1))
    label_counts: tuple[int, ...] = rule(Items(Integer(), max_items=MAX_CLASSES), default=())


@dataclass(frozen=True)
class ShardManifest(Record):
    """`shards.json`: the shards of a data set, its held-out part, and how pictures become model input.

    `strategy`, `alpha`, `classes_per_shard` and `seed` are the `Deal`; `skipped` is how many pictures could
    not be read, `skipped_first` names some with the reason; `source_sha256` is that of `Dataset`.
    """

    dataset: str = rule(Text(max_length=4096))
    seed: int = rule(Integer())
    shards: tuple[ShardEntry, ...] = rule(Items(Nested(ShardEntry), max_items=MAX_SHARDS, min_items=1))
    test: ShardEntry = rule(Nested(ShardEntry))
    labels: tuple[str, ...] = rule(LABELS)
    preprocessing: Preprocessing = rule(Nested(Preprocessing))
    strategy: str = rule(Text(choices=STRATEGIES), default=IID)
    alpha: float | None = rule(Maybe(Number(MIN_ALPHA, MAX_ALPHA)), default=None)
    classes_per_shard: int | None = rule(Maybe(Integer(1, MAX_CLASSES)), default=None)
    skipped: int = rule(Integer(), default=0)
    skipped_first: tuple[str, ...] = rule(
        Items(Text(max_length=MAX_NAME_CHARACTERS), max_items=MAX_SKIPPED_SHOWN), default=()
    )
    source_sha256: str | None = rule(Maybe(Text(SHA256_PATTERN)), default=None)


def write_shards(dataset: Dataset, name: str, plan: Deal, folder: Path) -> ShardManifest:
    """Write shard-0.npz ..., test.npz and, when all of them are complete, the manifest.

    Args:
        dataset: what to split.
        name: what the data set is called, for the manifest.
        plan: how many shards, and how pictures are dealt out.
        folder: made when it is not there; when this fails, it holds no new file.

    Raises:
        BadSamples: the pictures cannot be dealt out so.
        Failed: the disk is full.
    """
    parts = deal(dataset.train.y, plan)
    targets = [folder / f"shard-{index}.npz" for index in range(len(parts))]
    with _all_or_nothing([*targets, folder / TEST_FILE, folder / MANIFEST_FILE]):
        total = len(dataset.train.y) + len(dataset.test.y)
        with progress("writing shards", total, "pictures") as done:
            entries = [
                _write(dataset, dataset.train, path, done, places)
                for path, places in zip(targets, parts, strict=True)
            ]
            test = _write(dataset, dataset.test, folder / TEST_FILE, done)
        manifest = _describe(dataset, name, plan, tuple(entries), test)
        files.write_bytes(folder / MANIFEST_FILE, encode(manifest))
    return manifest


def load_manifest(folder: Path) -> ShardManifest:
    """Read `shards.json`.

    Raises:
        WrongUsage: it is not there, or not a shard manifest.
    """
    path, hint = folder / MANIFEST_FILE, _split_again(folder)
    return read_document(ShardManifest, path, hint, max_bytes=MAX_MANIFEST_BYTES)


def verify_shards(folder: Path, manifest: ShardManifest) -> None:
    """Check that the files are those of the manifest, hold what it says, and that every label has a name.

    Raises:
        WrongUsage: a file is missing, was changed, or holds what no model for this data set can learn.
    """
    entries = (*manifest.shards, manifest.test)
    with progress("checking shards", sum(entry.file.size for entry in entries), "bytes") as done:
        for entry in entries:
            path = folder / entry.file.path
            if not path.is_file():
                raise WrongUsage("there is no such file", str(path), _split_again(folder))
            if files.sha256_of(path) != entry.file.sha256:
                raise WrongUsage(f"it was changed after {MANIFEST_FILE}", str(path), _split_again(folder))
            try:
                _check_entry(load_samples(path), entry, manifest)
            except BadSamples as error:
                raise WrongUsage(str(error), str(path), _split_again(folder)) from error
            done(entry.file.size)


def _check_entry(samples: Samples, entry: ShardEntry, manifest: ShardManifest) -> None:
    samples.check_fits(manifest.preprocessing.shape, len(manifest.labels))
    counts = _label_counts(samples.y, manifest.labels)
    if len(samples.y) != entry.examples or entry.label_counts not in ((), counts):
        # Averages are weighted by these numbers.
        raise BadSamples(f"{MANIFEST_FILE} counts other pictures than are in it")


def _label_counts(labels: Array, names: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(count) for count in np.bincount(labels, minlength=len(names)))


@contextmanager
def _all_or_nothing(targets: Sequence[Path]) -> Iterator[None]:
    folder = targets[-1].parent
    was_there = folder.is_dir()
    _remove_old(folder)
    try:
        with disk_errors(str(folder)):
            yield
    except BaseException:
        for path in targets:
            path.unlink(missing_ok=True)
        if not was_there and folder.is_dir():
            folder.rmdir()
        raise


def _remove_old(folder: Path) -> None:
    if not (folder / MANIFEST_FILE).is_file():
        return
    try:
        old = load_manifest(folder).shards
    except WrongUsage:
        old = ()
    # The old manifest must not describe new shards when this is interrupted; an earlier split, perhaps into
    # more shards, leaves none that a pattern like shard-*.npz would take for ours.
    (folder / MANIFEST_FILE).unlink()
    for entry in old:
        (folder / entry.file.path).unlink(missing_ok=True)


def _write(
    dataset: Dataset, samples: Samples, path: Path, done: Advance, places: Array | None = None
) -> ShardEntry:
    save_samples(samples, path, places)
    labels = samples.y if places is None else samples.y[places]
    done(len(labels))
    return ShardEntry(files.describe(path), len(labels), _label_counts(labels, dataset.labels))


def _describe(
    dataset: Dataset, name: str, plan: Deal, entries: tuple[ShardEntry, ...], test: ShardEntry
) -> ShardManifest:
    height, width, channels = dataset.train.image_shape
    return ShardManifest(
        dataset=_shown(name),
        seed=plan.seed,
        shards=entries,
        test=test,
        labels=dataset.labels,
        preprocessing=Preprocessing(height, width, channels, scale=PIXEL_SCALE, offset=0.0),
        strategy=plan.strategy,
        alpha=plan.alpha,
        classes_per_shard=plan.classes_per_shard,
        skipped=len(dataset.skipped),
        skipped_first=tuple(_shown(each) for each in dataset.skipped[:MAX_SKIPPED_SHOWN]),
        source_sha256=dataset.source_sha256,
    )


def _shown(text: str) -> str:
    # File names may be any bytes.
    return text.encode(errors="replace").decode()[:MAX_NAME_CHARACTERS]


def _split_again(folder: Path) -> str:
    return f"cloud-train split --dataset ... --out {folder}"
