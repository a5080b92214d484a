"""What the tests of `cloud_train` share: small pictures that can be learned, and weights made by hand."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cloud_train.data.datasets import Dataset
from cloud_train.data.samples import Samples
from cloud_train.data.shards import write_shards
from cloud_train.data.splitters import Deal
from cloud_train.training.weights import Architecture, Weights
from tests.fakes.object_store import ObjectStore

SIDE = 8
CLASSES = 4
ARCHITECTURE = Architecture("cnn3", (SIDE, SIDE, 1), CLASSES)


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # numpy 2 asks Keras' variables for a keyword that they do not know yet.
    config.addinivalue_line(
        "filterwarnings", "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    )
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:tensorflow.*")
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:keras.*")
    config.addinivalue_line("filterwarnings", "ignore::FutureWarning:keras.*")


def make_samples(count: int, seed: int = 0) -> Samples:
    """Pictures whose label says which quarter is bright; a small model learns them at once."""
    random = np.random.default_rng(seed)
    y = np.arange(count, dtype=np.int64) % CLASSES
    x = random.integers(0, 100, (count, SIDE, SIDE, 1)).astype(np.uint8)
    half = SIDE // 2
    for index, label in enumerate(y):
        row, column = divmod(int(label), 2)
        x[index, row * half : (row + 1) * half, column * half : (column + 1) * half] += 120
    return Samples(x, y)


def make_weights(client: str = "shard-0", num_examples: int = 10, value: float = 1.0) -> Weights:
    """Two small tensors, filled with one value."""
    tensors = (np.full((2, 3), value, np.float32), np.full((3,), value, np.float32))
    return Weights(ARCHITECTURE, client, num_examples, 1, tensors, {})


@pytest.fixture
def shard_folder(tmp_path: Path) -> Path:
    """A folder as `cloud-train split` leaves it: two shards of unequal size."""
    labels = tuple(f"quarter {number}" for number in range(CLASSES))
    write_shards(
        Dataset(make_samples(161), make_samples(40, seed=9), labels), "quarters", Deal(2), tmp_path / "data"
    )
    return tmp_path / "data"


@pytest.fixture
def truncate() -> Callable[[Path], Path]:
    """Cut the second half of a file off."""

    def cut(path: Path) -> Path:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return cut


@pytest.fixture(scope="session")
def s3_server() -> Iterator[ObjectStore]:
    """An S3 server on loopback, shared by all tests."""
    server = ObjectStore()
    yield server
    server.close()


@pytest.fixture
def object_store(s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The S3 server with one empty bucket; this process finds it by its environment."""
    from s3fs import S3FileSystem

    s3_server.empty()
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # it remembers the address of the first one
    yield s3_server
    S3FileSystem.clear_instance_cache()
