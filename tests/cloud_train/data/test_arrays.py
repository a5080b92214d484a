"""Data sets that are arrays: IDX folders and .npz files, where they are looked for, damaged ones refused."""

import gzip
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from cloud_train.data import arrays
from cloud_train.data.arrays import FASHION_MNIST_LABELS, load_known, read_idx, read_npz
from cloud_train.data.samples import BadSamples, Samples
from host_cli.errors import Unreachable, WrongUsage
from tests.cloud_train.conftest import make_samples

X = make_samples(4).x


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


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """A computer without Debian's package, and a place for Keras' cache."""
    monkeypatch.setattr(arrays, "DEBIAN_FOLDER", tmp_path / "nothing")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    return tmp_path / "keras"


def test_idx_files_are_read_plain_and_gzipped(idx_folder):
    """Pictures and labels come out as they went in."""
    found = read_idx(idx_folder)
    np.testing.assert_array_equal(found.train.x, make_samples(20).x)
    np.testing.assert_array_equal(found.test.y, make_samples(8).y)
    assert found.labels == ("0", "1", "2", "3")


def test_a_named_folder_is_used_first(idx_folder):
    """And the labels of Fashion-MNIST have names, those of MNIST are digits."""
    assert len(load_known("fashion-mnist", idx_folder).train.y) == 20
    assert load_known("fashion-mnist", idx_folder).labels == FASHION_MNIST_LABELS
    assert load_known("mnist", idx_folder).labels == ("0", "1", "2", "3")


def test_kerass_cache_is_used_where_debians_package_is_not(keras_home):
    """MNIST lies there as one .npz, Fashion-MNIST as IDX files; nothing is downloaded."""
    samples = make_samples(9)
    cache = keras_home / "datasets"
    pixels = samples.x[..., 0]
    parts = {"x_train": pixels, "y_train": samples.y, "x_test": pixels, "y_test": samples.y}
    np.savez_compressed(cache / "mnist.npz", **parts)
    (cache / "fashion-mnist").mkdir()
    write_idx(cache / "fashion-mnist", make_samples(20), "train")
    write_idx(cache / "fashion-mnist", make_samples(8), "t10k")
    np.testing.assert_array_equal(load_known("mnist", None).train.x, samples.x)
    assert len(load_known("fashion-mnist", None).train.y) == 20


def test_what_cannot_be_downloaded_is_unreachable(keras_home, monkeypatch):
    """Keras says a bare Exception when the line is bad."""

    def load_data():
        raise Exception("URL fetch failure")

    stand_in = SimpleNamespace(datasets=SimpleNamespace(mnist=SimpleNamespace(load_data=load_data)))
    monkeypatch.setattr(arrays.backend, "keras", lambda: stand_in)
    with pytest.raises(Unreachable, match="mnist could not be downloaded: URL fetch failure"):
        load_known("mnist", None)


@pytest.mark.parametrize("keep", [0, 3, 10, 100])
def test_an_idx_file_cut_short_is_refused(idx_folder, keep):
    """It is named, wherever the cut is."""
    path = idx_folder / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[: min(keep, 27)])
    with pytest.raises(WrongUsage, match="not a whole IDX file") as caught:
        read_idx(idx_folder)
    assert caught.value.where == str(path)


def test_an_idx_file_that_claims_too_much_is_refused(idx_folder):
    """Before memory is asked for."""
    claims = struct.pack(">HBB3I", 0, 8, 3, 60_000, 1000, 1000)
    (idx_folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(claims))
    with pytest.raises(WrongUsage, match="takes more than"):
        read_idx(idx_folder)


def test_an_idx_file_of_another_length_or_kind_is_refused(idx_folder):
    """Too long, too short for what it says, or not of bytes."""
    path = idx_folder / "train-labels-idx1-ubyte"
    whole = path.read_bytes()
    claims = struct.pack(">HBBI", 0, 8, 1, 100)
    for content in (whole + b"x", claims, b"\0\0\x0d\1" + whole[4:]):
        path.write_bytes(content)
        with pytest.raises(WrongUsage, match="not a whole IDX file"):
            read_idx(idx_folder)


def test_a_missing_idx_file_is_named(idx_folder):
    """Three of four files are not a data set."""
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(WrongUsage, match="t10k-labels"):
        read_idx(idx_folder)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_read(tmp_path, save):
    """Grey pictures without a channel and small label types, as Keras ships MNIST."""
    samples = make_samples(12)
    parts = {"x_train": samples.x[..., 0], "y_train": samples.y.astype(np.uint8)}
    save(tmp_path / "d.npz", **parts, x_test=samples.x[..., 0], y_test=samples.y, labels=list("abcd"))
    found = read_npz(tmp_path / "d.npz")
    np.testing.assert_array_equal(found.train.x, samples.x)
    assert found.train.y.dtype == np.int64 and len(found.test.y) == 12 and found.labels == tuple("abcd")


@pytest.mark.parametrize("names", [("x", "y"), ("x_train", "y_train")])
def test_an_npz_may_hold_nothing_out(tmp_path, names):
    """Then x and y are enough."""
    samples = make_samples(12)
    np.savez(tmp_path / "d.npz", **dict(zip(names, (samples.x, samples.y), strict=True)))
    assert read_npz(tmp_path / "d.npz").test is None


def test_large_pictures_stay_in_the_file(tmp_path):
    """They are mapped, unless they are compressed."""
    samples = make_samples(20_000)
    np.savez(tmp_path / "d.npz", x=samples.x, y=samples.y)
    found = read_npz(tmp_path / "d.npz").train
    assert isinstance(found.x, np.memmap) and not found.x.flags.writeable
    np.testing.assert_array_equal(found.x, samples.x)


def test_float_pictures_are_refused(tmp_path):
    """Pictures that somebody scaled already would be scaled twice; the hint says how to store them."""
    samples = make_samples(4)
    np.savez(tmp_path / "d.npz", x=samples.x / 255, y=samples.y)
    with pytest.raises(BadSamples, match="must be uint8") as caught:
        read_npz(tmp_path / "d.npz")
    assert "* 255" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"x": X}, "no array 'y'"),
        ({"a": X}, "no array 'x'"),
        ({"x_train": X, "y_train": np.zeros(4, int), "x_test": X}, "'y_test'"),
    ],
)
def test_a_missing_array_is_named(tmp_path, content, reason):
    """The hint says which are wanted."""
    np.savez(tmp_path / "d.npz", **content)
    with pytest.raises(WrongUsage, match=reason):
        read_npz(tmp_path / "d.npz")


def test_a_label_out_of_all_bounds_is_refused(tmp_path):
    """It would need a name, as all below it."""
    samples = make_samples(4)
    np.savez(tmp_path / "d.npz", x=samples.x, y=samples.y + 2**60)
    with pytest.raises(BadSamples, match="at most 2000 labels"):
        read_npz(tmp_path / "d.npz")


def test_arrays_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    """A compressed file says beforehand how much it holds."""
    samples = make_samples(4)
    np.savez_compressed(tmp_path / "d.npz", x=samples.x, y=samples.y)
    monkeypatch.setattr("cloud_train.data.samples.MAX_UNPACKED_BYTES", 500)
    with pytest.raises(WrongUsage, match="bytes unpacked, at most 500"):
        read_npz(tmp_path / "d.npz")
