"""Weights files: what is written is read, and nothing else is taken for one."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cloud_train.training.weights import load_weights, save_weights
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import make_weights


def test_weights_come_back_as_they_were(tmp_path):
    """Tensors, counts and figures survive the file."""
    weights = replace(make_weights("shard-3", 77, 0.25), figures={"loss": 0.5})
    save_weights(weights, tmp_path / "w.npz")
    found = load_weights(tmp_path / "w.npz")
    assert found.digest() == weights.digest()
    assert (found.client, found.num_examples, found.passes, found.figures) == (
        "shard-3",
        77,
        1,
        {"loss": 0.5},
    )


def test_equal_weights_give_equal_bytes(tmp_path):
    """The file holds no clock, so its hash can be compared."""
    for name in ("a.npz", "b.npz"):
        save_weights(make_weights(), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_file_cut_short_is_refused(tmp_path, truncate):
    """Half an update is no update."""
    save_weights(make_weights(), tmp_path / "w.npz")
    with pytest.raises(WrongUsage, match="cut short"):
        load_weights(truncate(tmp_path / "w.npz"))


def test_tensors_that_were_exchanged_are_noticed(tmp_path):
    """The hash in the file is over the tensors."""
    save_weights(make_weights(value=1), tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as archive:
        arrays = dict(archive)
    arrays["tensor-001"] = arrays["tensor-001"] + 1
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(WrongUsage, match="not those that were written"):
        load_weights(tmp_path / "w.npz")


def test_another_npz_is_no_weights_file(tmp_path):
    """A shard given in place of an update is told apart."""
    np.savez(tmp_path / "w.npz", x=np.zeros(3))
    with pytest.raises(WrongUsage, match="no weights file"):
        load_weights(tmp_path / "w.npz")


def test_roles_come_back_and_old_files_have_weights_only(tmp_path):
    """A file that was written before roles existed reads as if all were learned."""
    roles = ("moving_mean", "moving_variance")
    save_weights(replace(make_weights(), roles=roles), tmp_path / "w.npz")
    assert load_weights(tmp_path / "w.npz").roles == roles
    with np.load(tmp_path / "w.npz") as archive:
        arrays = dict(archive)
    meta = json.loads(arrays["meta"].tobytes())
    del meta["roles"], meta["architecture"]["width"]
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(tmp_path / "old.npz", **arrays)
    old = load_weights(tmp_path / "old.npz")
    assert (old.roles, old.architecture.width) == (("weight", "weight"), 1.0)


def test_a_role_too_few_is_refused(tmp_path):
    """Nobody may take a variance for a weight."""
    save_weights(replace(make_weights(), roles=("weight",)), tmp_path / "w.npz")
    with pytest.raises(WrongUsage, match="2 tensors but 1 roles"):
        load_weights(tmp_path / "w.npz")
