"""Samples: every kind of bad shard is refused with its reason."""

import struct
import zipfile

import numpy as np
import pytest

from cloud_train.data.samples import BadSamples, load_samples, save_samples
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import make_samples

X = np.zeros((3, 8, 8, 1), np.uint8)
Y = np.zeros(3, np.int64)
BAD = {
    "float32 .* with NaN": (np.full((3, 8, 8, 1), np.nan, np.float32), Y),
    "x must be uint8 of shape": (X[0], Y),
    "height, width, 1 or 3": (np.zeros((3, 8, 8, 2), np.uint8), Y),
    "y must be int64": (X, Y.astype(np.float32)),
    "y must be int64 of shape": (X, Y[:, np.newaxis]),
    "3 pictures but y has 2": (X, Y[:2]),
    "no pictures": (X[:0], Y[:0]),
    "a label is -1": (X, Y - 1),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_shard_is_refused_with_its_reason(reason, tmp_path):
    """NaN, wrong shapes and dtypes, no pictures and negative labels stop at the file."""
    x, y = BAD[reason]
    np.savez(tmp_path / "shard.npz", x=x, y=y)
    with pytest.raises(WrongUsage, match=reason) as caught:
        load_samples(tmp_path / "shard.npz")
    assert caught.value.where.endswith("shard.npz")


def test_samples_come_back_as_they_were(tmp_path):
    """Pictures and labels survive the file, and equal ones give equal bytes."""
    for name in ("a.npz", "b.npz"):
        save_samples(make_samples(8), tmp_path / name)
    found = load_samples(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.x, make_samples(8).x)
    np.testing.assert_array_equal(found.y, make_samples(8).y)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_shard_is_what_numpy_writes(tmp_path, monkeypatch):
    """Byte for byte, whatever the blocks; so shards of earlier versions have the hashes they had."""
    monkeypatch.setattr("cloud_train.data.samples.BLOCK_BYTES", 200)
    samples = make_samples(50)
    places = np.array([4, 49, 0, 7])
    save_samples(samples, tmp_path / "a.npz", places)
    np.savez(tmp_path / "b.npz", x=samples.x[places], y=samples.y[places])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_large_shard_stays_in_its_file(tmp_path):
    """Its pictures are read when they are needed, and cannot be changed."""
    save_samples(make_samples(20_000), tmp_path / "shard.npz")
    found = load_samples(tmp_path / "shard.npz")
    assert isinstance(found.x, np.memmap) and not found.x.flags.writeable
    np.testing.assert_array_equal(found.x, make_samples(20_000).x)


def test_a_flipped_bit_is_found(tmp_path):
    """By the checksum, though the pictures stay in the file."""
    save_samples(make_samples(20_000), tmp_path / "shard.npz")
    data = bytearray((tmp_path / "shard.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "shard.npz").write_bytes(data)
    with pytest.raises(WrongUsage, match="cut short"):
        load_samples(tmp_path / "shard.npz")


@pytest.mark.parametrize("header", [b"{'descr': (", b"{'descr': 7}", b"(((((", b"{1: 2}", b"\0", b"[]"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_that_is_nonsense_is_refused(tmp_path, header, compression):
    """numpy's reader says it in many ways, one of them the tokenizer's."""
    with zipfile.ZipFile(tmp_path / "shard.npz", "w", compression) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
    with pytest.raises(WrongUsage, match=r"no \.npz file"):
        load_samples(tmp_path / "shard.npz")


def test_a_shard_cut_short_is_refused(tmp_path, truncate):
    """Half a download is not read as a smaller shard."""
    save_samples(make_samples(50), tmp_path / "shard.npz")
    with pytest.raises(WrongUsage, match="cut short"):
        load_samples(truncate(tmp_path / "shard.npz"))


def test_pickled_objects_are_never_loaded(tmp_path):
    """A pickle could run a stranger's code."""
    np.savez(tmp_path / "shard.npz", x=np.array([{"a": 1}], object), y=Y)
    with pytest.raises(WrongUsage, match="pickled objects"):
        load_samples(tmp_path / "shard.npz")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no such file"), (b"", "no .npz file"), (b"hello", "no .npz file")]
)
def test_what_is_no_npz_is_refused(tmp_path, content, reason):
    """A missing, an empty and a foreign file are three ordinary mistakes."""
    if content is not None:
        (tmp_path / "shard.npz").write_bytes(content)
    with pytest.raises(WrongUsage, match=reason):
        load_samples(tmp_path / "shard.npz")


def test_a_bare_array_is_no_npz(tmp_path):
    """numpy reads an .npy file under any name; we do not."""
    with (tmp_path / "shard.npz").open("wb") as stream:
        np.save(stream, X)
    with pytest.raises(WrongUsage, match=r"no \.npz file"):
        load_samples(tmp_path / "shard.npz")


def test_labels_must_have_a_name():
    """With four classes, label 4 is out of range."""
    with pytest.raises(BadSamples, match="a label is 3, with 3 classes the last one is 2"):
        make_samples(8).check_fits((8, 8, 1), 3)
