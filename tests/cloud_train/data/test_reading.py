"""Decoding many: in order, damaged ones by name, and never more in memory than a window."""

import hashlib
import resource
import subprocess
import sys

import numpy as np
import pytest

from cloud_train.data import reading
from cloud_train.data.folders import Labelled
from cloud_train.data.pictures import decode, resize
from cloud_train.data.reading import decode_files, gather
from cloud_train.data.samples import BadSamples
from host_cli.errors import Failed
from tests.cloud_train.conftest import make_samples
from tests.cloud_train.data.conftest import picture_bytes

SHAPE = (12, 10, 3)
NAMES = ("ant", "watch")


def files_of(*payloads: bytes) -> list[Labelled]:
    """Picture files; every second one is a watch."""
    return [
        Labelled(f"{NAMES[index % 2]}/{index}.jpg", index % 2, lambda payload=payload: payload)
        for index, payload in enumerate(payloads)
    ]


def test_pictures_come_out_in_the_order_of_their_files(tmp_path, monkeypatch):
    """However many threads and windows there are; and nothing stays in the folder."""
    monkeypatch.setattr(reading, "MAX_WINDOW_PICTURES", 3)
    payloads = [picture_bytes(seed) for seed in range(20)]
    found = decode_files(files_of(*payloads), SHAPE, tmp_path, "pictures")
    np.testing.assert_array_equal(found.samples.x, [decode(payload, SHAPE) for payload in payloads])
    assert found.samples.y.tolist() == [0, 1] * 10 and found.skipped == ()
    assert isinstance(found.samples.x, np.memmap) and not list(tmp_path.iterdir())


def test_a_damaged_picture_in_the_middle_is_named_and_skipped(tmp_path):
    """The others are used, and keep their labels."""
    payloads = [picture_bytes(seed) for seed in range(6)]
    payloads[2], payloads[3] = b"nonsense", payloads[3][:300]
    found = decode_files(files_of(*payloads), SHAPE, tmp_path, "pictures")
    assert [each.split(":")[0] for each in found.skipped] == ["ant/2.jpg", "watch/3.jpg"]
    assert found.samples.y.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(found.samples.x[2], decode(payloads[4], SHAPE))


def test_when_no_picture_can_be_read_the_first_reason_is_said(tmp_path):
    """An empty array would be no data set."""
    with pytest.raises(BadSamples, match=r"no picture can be read, as ant/0\.jpg: it is no picture"):
        decode_files(files_of(b"x", b"y"), SHAPE, tmp_path, "pictures")


def test_the_hash_is_of_names_and_files(tmp_path):
    """Another byte, another name or another order is another data set."""
    one, two = picture_bytes(1), picture_bytes(2)
    hashes = {
        decode_files(files, SHAPE, tmp_path, "pictures").sha256
        for files in (
            files_of(one, two),
            files_of(two, one),
            files_of(one, two + b"x"),
            [Labelled("ant/7.jpg", 0, lambda: one), *files_of(one, two)[1:]],
        )
    }
    assert len(hashes) == 4
    again = decode_files(files_of(one, two), SHAPE, tmp_path, "pictures").sha256
    assert again in hashes and len(again) == hashlib.sha256().digest_size * 2


def test_arrays_are_gathered_and_resized(tmp_path):
    """The chosen ones in the order they are asked for."""
    samples, places = make_samples(10), np.array([7, 2, 2])
    found = gather(samples, places, (4, 6, 3), tmp_path, "pictures")
    assert found.y.tolist() == samples.y[places].tolist()
    np.testing.assert_array_equal(found.x[1], resize(samples.x[2], (4, 6, 3)))
    np.testing.assert_array_equal(gather(samples, places, (8, 8, 1), tmp_path, "x").x, samples.x[places])


def test_a_full_disk_ends_it_with_the_folder(tmp_path):
    """What, where, what to try; the system says no name of its own. Nothing stays behind."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(Failed, match="File too large") as caught:
            decode_files(files_of(*[picture_bytes(1)] * 4), SHAPE, tmp_path, "pictures")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.where == str(tmp_path) and not list(tmp_path.iterdir())


# 300 pictures of 512 x 512 are 236 MB decoded; a child that may have a third of that splits them.
BIG = """
import resource, sys
from pathlib import Path
import numpy, PIL.Image, cloud_train.cli
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 80_000_000,) * 2)
try:
    numpy.ones((300, 512, 512, 3), numpy.uint8)
    sys.exit("the limit does not hold")
except MemoryError:
    pass
split = ["split", "--dataset", sys.argv[1], "--size", "512x512", "--shards", "2", "--out", sys.argv[2]]
code = cloud_train.cli.main(split)
from cloud_train.data.shards import load_manifest, verify_shards
verify_shards(Path(sys.argv[2]), load_manifest(Path(sys.argv[2])))
sys.exit(code)
"""


def test_a_data_set_larger_than_memory_is_split_and_verified(tmp_path):
    """Decoding, dealing, writing and verifying never hold more than a window of it."""
    for index in range(300):
        path = tmp_path / "data" / str(index % 2) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_bytes(index % 5, (16, 16), "PNG"))
    command = [sys.executable, "-c", BIG, str(tmp_path / "data"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "shard-0.npz").stat().st_size > 90_000_000
