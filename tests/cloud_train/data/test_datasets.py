"""Data sets: IDX folders and .npz files are read, damaged ones refused."""

import gzip
import struct

import numpy as np
import pytest

from cloud_train.data.datasets import FASHION_MNIST_LABELS, load_dataset
from cloud_train.data.samples import Samples
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import make_samples


def write_idx(folder, samples: Samples, part: str) -> None:
    """Write a part of MNIST as its authors do, images gzipped, labels plain."""
    count, height, width, _ = samples.x.shape
    images = struct.pack(">HBB3I", 0, 8, 3, count, height, width) + samples.x.tobytes()
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    labels = struct.pack(">HBBI", 0, 8, 1, count) + samples.y.astype(np.uint8).tobytes()
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


@pytest.fixture
def idx_folder(tmp_path):
    write_idx(tmp_path, make_samples(20), "train")
    write_idx(tmp_path, make_samples(8), "t10k")
    return tmp_path


def test_idx_files_are_read_plain_and_gzipped(idx_folder):
    """Pictures and labels come out as they went in."""
    found = load_dataset(str(idx_folder))
    np.testing.assert_array_equal(found.train.x, make_samples(20).x)
    np.testing.assert_array_equal(found.test.y, make_samples(8).y)
    assert found.labels == ("0", "1", "2", "3")


def test_a_named_folder_is_used_for_fashion_mnist(idx_folder):
    """--data-dir comes before every other place, and the labels have names."""
    found = load_dataset("fashion-mnist", idx_folder)
    assert len(found.train.y) == 20
    assert found.labels == FASHION_MNIST_LABELS


@pytest.mark.parametrize("keep", [0, 3, 10, 100])
def test_an_idx_file_cut_short_is_refused(idx_folder, keep):
    """It is named, wherever the cut is."""
    path = idx_folder / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[: min(keep, 27)])
    with pytest.raises(WrongUsage, match="not a whole IDX file") as caught:
        load_dataset(str(idx_folder))
    assert caught.value.where == str(path)


def test_a_missing_idx_file_is_named(idx_folder):
    """Three of four files are not a data set."""
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(WrongUsage, match="t10k-labels"):
        load_dataset(str(idx_folder))


def test_an_npz_is_read(tmp_path):
    """Grey pictures without a channel and small label types, as Keras ships MNIST."""
    samples = make_samples(12)
    arrays = {"x_train": samples.x[..., 0], "y_train": samples.y.astype(np.uint8)}
    np.savez(tmp_path / "d.npz", **arrays, x_test=samples.x[..., 0], y_test=samples.y)
    found = load_dataset(str(tmp_path / "d.npz"))
    np.testing.assert_array_equal(found.train.x, samples.x)
    assert found.train.y.dtype == np.int64


def test_float_pictures_are_refused(tmp_path):
    """Pictures that somebody scaled already would be scaled twice."""
    samples = make_samples(4)
    scaled = samples.x / 255
    np.savez(tmp_path / "d.npz", x_train=scaled, y_train=samples.y, x_test=scaled, y_test=samples.y)
    with pytest.raises(WrongUsage, match="must be uint8"):
        load_dataset(str(tmp_path / "d.npz"))


def test_an_unknown_data_set_is_refused():
    """The error names what can be given."""
    with pytest.raises(WrongUsage, match="no such data set") as caught:
        load_dataset("fashion-mist")
    assert "fashion-mnist" in caught.value.hint
