"""Opens a data set as a stream: by its name or file, or as a folder of shards."""

import re
from dataclasses import dataclass
from pathlib import Path

from cloud_train import store
from cloud_train.bus.stream import SampleStream, StreamPlan
from cloud_train.data.datasets import load_dataset
from cloud_train.data.samples import Pictures, Samples, load_samples
from cloud_train.data.selection import Choice, choose
from cloud_train.data.shards import MANIFEST_FILE, load_manifest, verify_shards
from cloud_train.data.views import Chain, Chosen
from contract.artifacts import Preprocessing
from contract.errors import MessageError
from contract.topics import NAME_PATTERN
from host_cli.errors import WrongUsage


@dataclass(frozen=True)
class Source:
    """What `cloud-train publish` is asked for.

    Attributes:
        dataset: as for `cloud-train split`; None: the shards in `folder`.
        folder: path or URL of a folder with `shards.json`; None: `dataset`.
        name: of the stream; None: as the data set is called.
        part_samples: pictures of a part, which is a step of training.
        passes: how often all is streamed.
        test: how many held-out pictures are set aside to test on.
        limit: take only so many training pictures; None: all.
        seed: of every order.
    """

    dataset: str | None
    folder: str | None
    name: str | None
    part_samples: int
    passes: int
    test: int
    limit: int | None
    seed: int


@dataclass(frozen=True)
class _Found:
    """A data set with its held-out part, wherever it came from."""

    called: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    train: Pictures
    test: Samples


def open_stream(source: Source, publisher: str, room_bytes: int, work: Path) -> SampleStream:
    """Read what is to be streamed; of large shards only what is needed for each part.

    Args:
        source: what to open.
        publisher: ULID of this start of the program.
        room_bytes: how much one message of the broker may hold.
        work: a folder for copies of remote files, and for what is too large for memory.

    Raises:
        WrongUsage: there is no such data set, or no topic can have its name.
        Unreachable: the store where it lies does not answer.
    """
    if (source.dataset is None) == (source.folder is None):
        raise WrongUsage("one thing is streamed", "command line", "either --dataset NAME or --data FOLDER")
    if source.folder is None:
        found = _from_dataset(str(source.dataset), source, work)
    else:
        found = _from_shards(source.folder, source, work)
    plan = StreamPlan(
        dataset=_name(source.name or _slug(found.called), found.called),
        labels=found.labels,
        preprocessing=found.preprocessing,
        part_samples=source.part_samples,
        passes=source.passes,
        seed=source.seed,
    )
    test = Chosen(found.test, choose(found.test.y, source.test, source.seed))
    try:
        return SampleStream(plan, found.train, test, publisher, room_bytes)
    except MessageError as error:
        hint = "another data set, or smaller pictures"
        raise WrongUsage(f"it cannot be streamed: {error}", found.called, hint) from error


def _from_dataset(dataset: str, source: Source, work: Path) -> _Found:
    place = str(store.fetch(dataset, work)) if "://" in dataset else dataset
    found = load_dataset(place, choice=Choice(limit=source.limit, seed=source.seed), near=work)
    height, width, channels = found.train.image_shape
    return _Found(dataset, found.labels, Preprocessing(height, width, channels), found.train, found.test)


def _from_shards(place: str, source: Source, work: Path) -> _Found:
    folder = store.fetch(store.join(place, MANIFEST_FILE), work).parent
    manifest = load_manifest(folder)
    for entry in (*manifest.shards, manifest.test):
        store.fetch(store.join(place, entry.file.path), work)
    verify_shards(folder, manifest)
    shards = Chain([load_samples(folder / entry.file.path) for entry in manifest.shards])
    count = len(shards.y) if source.limit is None else source.limit
    train = Chosen(shards, choose(shards.y, count, source.seed))
    test = load_samples(folder / manifest.test.file.path)
    return _Found(manifest.dataset, manifest.labels, manifest.preprocessing, train, test)


def _slug(called: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", Path(called).stem.lower()).strip("-_")


def _name(name: str, called: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise WrongUsage(f"no stream can be called {name!r}", called, "--stream NAME: a-z, 0-9, - and _")
    return name
