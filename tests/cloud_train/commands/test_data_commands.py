"""`cloud-train split`: what it prints, what it refuses, and where it writes to."""

import json
from typing import get_args, get_type_hints

import numpy as np
import pytest

from cloud_train import cli
from cloud_train.commands import data_commands
from cloud_train.data.shards import load_manifest, verify_shards
from cloud_train.data.splitters import STRATEGIES
from contract.artifacts import MAX_SHARDS
from tests.cloud_train.conftest import make_samples
from tests.cloud_train.data.conftest import write_classes


@pytest.fixture
def npz(tmp_path):
    """200 pictures of four labels."""
    samples = make_samples(200)
    np.savez(tmp_path / "d.npz", x=samples.x, y=samples.y)
    return tmp_path / "d.npz"


def split(capsys, dataset, out, *options):
    """Run `cloud-train split`; return its exit code, stdout and stderr."""
    code = cli.main(["split", "--dataset", str(dataset), "--out", str(out), *options])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_options_are_those_of_the_rules():
    """The command's module may not import numpy, so it spells them itself."""
    hints = get_type_hints(data_commands.split, include_extras=True)
    assert get_args(get_args(hints["strategy"])[0]) == STRATEGIES
    assert hints["shards"].__metadata__[0].max == MAX_SHARDS


def test_a_table_shows_who_got_what(npz, tmp_path, capsys):
    """A column for each label where they fit into 80 columns; a plain deal needs none."""
    code, out, _ = split(capsys, npz, tmp_path / "o", "--strategy", "label-skew", "--shards", "2")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["label", "0", "1", "2", "3"]
    counts = [[int(each) for each in line.split()[1:]] for line in lines[1:3]]
    assert [sorted(row) for row in counts] == [[0, 0, 40, 40]] * 2
    assert lines[3] == f"{tmp_path / 'o'}: 2 shards of 80 to 80 pictures, 40 held out"
    assert len(split(capsys, npz, tmp_path / "o")[1].splitlines()) == 1


def test_many_labels_are_told_in_80_columns(tmp_path, capsys):
    """Those that a shard has most of."""
    samples = make_samples(400)
    labels = [f"a rather long name of a class {number}" for number in range(100)]
    np.savez(tmp_path / "d.npz", x=samples.x, y=np.arange(400) % 100, labels=labels)
    _, out, _ = split(capsys, tmp_path / "d.npz", tmp_path / "o", "--strategy", "dirichlet", "--shards", "3")
    lines = out.splitlines()
    assert len(lines) == 4 and all(len(line) <= 80 for line in lines[:3])
    assert lines[0].startswith("shard-0 ") and " labels: a rather long name" in lines[0]


def test_skipped_pictures_are_counted_and_the_first_are_named(tmp_path, capsys):
    """On stderr, in the result, in the manifest; a long list is cut."""
    root = write_classes(tmp_path / "d", ("a", "b"), 12)
    for path in sorted(root.rglob("*.jpg"))[:8]:
        path.write_bytes(b"x")
    code, out, err = split(capsys, root, tmp_path / "o", "--size", "8x8", "--shards", "1", "--json")
    result = json.loads(out)
    assert code == 0 and result["skipped"]["count"] == 8 and len(result["skipped"]["first"]) == 8
    assert err.count("skipped: a/image_") == 5 and "skipped: 3 more, see shards.json" in err
    assert load_manifest(tmp_path / "o").skipped == 8


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--alpha", "0.5"], "--alpha belongs to --strategy dirichlet"),
        (["--strategy", "dirichlet", "--alpha", "0"], "--alpha goes from 0.001 to 1e+06"),
        (["--strategy", "dirichlet", "--alpha", "nan"], "--alpha goes from"),
        (["--strategy", "dirichlet", "--classes-per-shard", "2"], "belongs to --strategy label-skew"),
        (["--strategy", "label-skew", "--shards", "1"], "leave some of 4 labels out"),
        (["--strategy", "label-skew", "--classes-per-shard", "0"], "greater than or equal to 1"),
        (["--size", "96"], "a size is HxW"),
        (["--test-share", "1.5"], "a share is between 0 and 1"),
        (["--shards", "161"], "160 pictures cannot fill 161 shards"),
        (["--data-dir", "x"], "a path needs no --data-dir"),
        (["--strategy", "fair"], "fair"),
    ],
)
def test_a_wrong_option_is_refused_in_three_lines(npz, tmp_path, capsys, options, reason):
    """Exit code 2, and nothing is written."""
    code, out, err = split(capsys, npz, tmp_path / "o", *options)
    lines = [line for line in err.splitlines() if "pictures in" not in line]
    assert code == 2 and out == "" and reason in lines[0]
    assert len(lines) == 3 and lines[1].startswith("   at: ") and lines[2].startswith("  try: ")
    assert not (tmp_path / "o").exists()


def test_shards_go_to_a_store_and_data_come_from_one(npz, tmp_path, capsys, object_store):
    """The same files as on the disk, the manifest last."""
    from cloud_train import store

    store.put(npz, "s3://reef/in/d.npz")
    code, out, err = split(capsys, "s3://reef/in/d.npz", "s3://reef/out", "--shards", "2")
    assert code == 0, err
    assert out.startswith("s3://reef/out: 2 shards")
    names = ["shard-0.npz", "shard-1.npz", "shards.json", "test.npz"]
    assert store.names("s3://reef/out") == names
    for name in names:
        store.fetch(store.join("s3://reef/out", name), tmp_path / "back")
    verify_shards(tmp_path / "back", load_manifest(tmp_path / "back"))


def test_a_bucket_that_is_not_there_is_unreachable(npz, tmp_path, capsys, object_store):
    """Exit code 3, three lines, before anything is read."""
    code, _, err = split(capsys, npz, "s3://nowhere/out")
    assert code == 3 and err.startswith("error: there is no bucket nowhere") and err.count("\n") == 3
