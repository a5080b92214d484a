"""Shards on the disk: a manifest that says what lies beside it, all of it or nothing."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from cloud_train.data import npz
from cloud_train.data.datasets import Dataset
from cloud_train.data.samples import load_samples
from cloud_train.data.shards import load_manifest, verify_shards, write_shards
from cloud_train.data.splitters import DIRICHLET, Deal
from host_cli import files
from host_cli.errors import Failed, WrongUsage
from tests.cloud_train.conftest import make_samples

LABELS = ("a", "b", "c", "d")


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


@pytest.mark.parametrize("name", ["examples", "label_counts"])
def test_a_manifest_that_counts_wrongly_is_refused(shard_folder, name):
    """What a shard says to hold is its weight in the average."""
    manifest = load_manifest(shard_folder)
    counts = manifest.shards[0].label_counts
    wrong = {"examples": 8100, "label_counts": (*counts[:2], counts[3], counts[2] + 1)}
    entry = replace(manifest.shards[0], **{name: wrong[name]})
    with pytest.raises(WrongUsage, match="counts other pictures"):
        verify_shards(shard_folder, replace(manifest, shards=(entry, manifest.shards[1])))


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


def small(count: int = 20) -> Dataset:
    return Dataset(make_samples(count), make_samples(8), LABELS, ("a.jpg: it is no picture",), "0" * 64)


def test_the_manifest_says_how_it_was_dealt(tmp_path):
    """Strategy, seed, labels of each shard, what was skipped, the hash of the source."""
    write_shards(small(), "quarters", Deal(3, 5, DIRICHLET, 0.5), tmp_path)
    manifest = load_manifest(tmp_path)
    assert (manifest.strategy, manifest.alpha, manifest.seed) == (DIRICHLET, 0.5, 5)
    assert (manifest.skipped, manifest.skipped_first) == (1, ("a.jpg: it is no picture",))
    assert manifest.source_sha256 == "0" * 64
    for entry in (*manifest.shards, manifest.test):
        labels = load_samples(tmp_path / entry.file.path).y
        assert entry.label_counts == tuple(np.bincount(labels, minlength=4).tolist())


def test_a_manifest_of_an_earlier_version_is_read(shard_folder):
    """Without the fields that came later."""
    path = shard_folder / "shards.json"
    document = json.loads(path.read_text())
    for name in ("strategy", "alpha", "classes_per_shard", "skipped", "skipped_first", "source_sha256"):
        del document[name]
    for entry in (*document["shards"], document["test"]):
        del entry["label_counts"]
    path.write_text(json.dumps(document))
    manifest = load_manifest(shard_folder)
    assert (manifest.strategy, manifest.skipped, manifest.shards[0].label_counts) == ("iid", 0, ())


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    """Of every file."""
    for name in ("a", "b"):
        write_shards(small(), "quarters", Deal(3, 5), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.fixture
def disk_full_at_second(monkeypatch):
    """The disk takes one file and a half."""
    written = []

    def write(path, content):
        written.append(path)
        path.write_bytes(b"half")
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return npz_write(path, content)

    npz_write = npz.write_arrays
    monkeypatch.setattr(npz, "write_arrays", write)


def test_a_full_disk_leaves_nothing_behind(tmp_path, disk_full_at_second):
    """No shard, no temporary file, no folder."""
    with pytest.raises(Failed, match="No space left") as caught:
        write_shards(small(), "quarters", Deal(3), tmp_path / "new")
    assert caught.value.where == str(tmp_path / "new") and not list(tmp_path.iterdir())


def test_an_interrupted_split_leaves_no_old_manifest(shard_folder, disk_full_at_second):
    """While new shards are being written, no manifest says that the old ones are there; other files stay."""
    (shard_folder / "notes.txt").write_text("mine")
    with pytest.raises(Failed):
        write_shards(small(), "quarters", Deal(2), shard_folder)
    assert not (shard_folder / "shards.json").exists()
    assert (shard_folder / "notes.txt").read_text() == "mine"


def test_the_old_manifest_goes_before_the_first_new_shard_comes(shard_folder, monkeypatch):
    """Not even SIGKILL leaves a manifest beside shards that it does not describe."""
    seen = []
    write = npz.write_arrays

    def look(path, content):
        seen.append((shard_folder / "shards.json").exists())
        write(path, content)

    monkeypatch.setattr(npz, "write_arrays", look)
    write_shards(small(), "quarters", Deal(2), shard_folder)
    assert seen == [False] * 3 and (shard_folder / "shards.json").exists()


def test_a_smaller_split_leaves_no_shard_of_a_larger_one(shard_folder):
    """Whoever takes shard-*.npz gets each picture once; files that are not ours stay."""
    (shard_folder / "shard-mine.npz").write_text("mine")
    write_shards(small(), "quarters", Deal(1), shard_folder)
    found = {path.name for path in shard_folder.iterdir()}
    assert found == {"shard-0.npz", "test.npz", "shards.json", "shard-mine.npz"}
