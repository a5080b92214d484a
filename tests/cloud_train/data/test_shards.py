"""Splitting: nothing dropped, nothing twice, the same shards from the same seed."""

import numpy as np
import pytest

from cloud_train.data.datasets import Dataset
from cloud_train.data.samples import BadSamples, Samples
from cloud_train.data.shards import choose, limit, load_manifest, split, verify_shards, write_shards
from host_cli import files
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import CLASSES, make_samples

LABELS = ("a", "b", "c", "d")


def numbered(count):
    """Samples that can be told apart: the label is the place."""
    return Samples(np.zeros((count, 8, 8, 1), np.uint8), np.arange(count, dtype=np.int64))


def test_nothing_is_dropped_and_sizes_differ_by_at_most_one():
    """103 samples in 4 shards: 26, 26, 26, 25, every one exactly once."""
    parts = split(numbered(103), 4, seed=0)
    assert sorted(len(part.y) for part in parts) == [25, 26, 26, 26]
    assert sorted(np.concatenate([part.y for part in parts])) == list(range(103))


def test_the_seed_decides_the_shards():
    """The same seed deals the same samples, another seed others."""
    first, again, other = (split(numbered(50), 3, seed) for seed in (5, 5, 6))
    assert all(np.array_equal(a.y, b.y) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].y, other[0].y)


def test_more_shards_than_samples_are_refused():
    """No shard may be empty."""
    with pytest.raises(BadSamples, match="cannot fill 3 shards"):
        split(numbered(2), 3, seed=0)


def test_a_choice_is_balanced_over_classes():
    """20 of 400 samples are 5 of each of the 4 classes, the same ones for the same seed."""
    samples = make_samples(400)
    chosen = choose(samples, 20, seed=1)
    assert np.bincount(chosen.y).tolist() == [20 // CLASSES] * CLASSES
    np.testing.assert_array_equal(chosen.x, choose(samples, 20, seed=1).x)
    assert not np.array_equal(chosen.x, choose(samples, 20, seed=2).x)


@pytest.mark.parametrize(
    ("count", "trained", "tested"), [(100, 100, 500), (6000, 6000, 600), (99999, 8000, 700)]
)
def test_a_limit_keeps_enough_to_test_on(count, trained, tested):
    """A tenth, but at least 500 and at most all there are."""
    found = limit(Dataset(make_samples(8000), make_samples(700), LABELS), count, seed=0)
    assert (len(found.train.y), len(found.test.y)) == (trained, tested)


def test_the_manifest_says_what_lies_beside_it(shard_folder):
    """Counts, hashes, labels and preprocessing are those of the files."""
    manifest = load_manifest(shard_folder)
    assert [entry.examples for entry in manifest.shards] == [81, 80]
    assert manifest.shards[0].file == files.describe(shard_folder / "shard-0.npz")
    assert (manifest.preprocessing.height, manifest.preprocessing.scale) == (8, 1 / 255)
    verify_shards(shard_folder, manifest)


def test_a_shard_that_was_changed_is_refused(shard_folder):
    """One flipped bit is enough."""
    path = shard_folder / "shard-1.npz"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WrongUsage, match="changed after"):
        verify_shards(shard_folder, load_manifest(shard_folder))


def test_a_folder_without_manifest_is_refused(tmp_path):
    """The error says how to make one."""
    with pytest.raises(WrongUsage, match=r"no shards\.json") as caught:
        load_manifest(tmp_path)
    assert "cloud-train split" in caught.value.hint


def test_a_damaged_manifest_is_refused(shard_folder, truncate):
    """Half a manifest is not read as a small one."""
    truncate(shard_folder / "shards.json")
    with pytest.raises(WrongUsage, match="not valid JSON"):
        load_manifest(shard_folder)


def test_an_interrupted_split_leaves_no_old_manifest(shard_folder, monkeypatch):
    """While new shards are being written, no manifest says that the old ones are there."""
    monkeypatch.setattr("cloud_train.data.shards.save_samples", lambda samples, path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_shards(Dataset(make_samples(20), make_samples(8), LABELS), "quarters", 2, 0, shard_folder)
    assert not (shard_folder / "shards.json").exists()
