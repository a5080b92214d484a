"""One model that learns as samples come, and its checkpoint."""

from pathlib import Path

import numpy as np
import pytest

from cloud_train.bus.choices import ModelChoice
from cloud_train.bus.online import Learner, Position, load_position
from cloud_train.training.weights import Architecture
from host_cli.errors import Failed, WrongUsage
from tests.cloud_train.conftest import ARCHITECTURE, make_samples

CHOICE = ModelChoice("fast", "cnn3", 0.01, seed=3)
POSITION = Position(CHOICE, "ab" * 32, 7, 48, 1.5, ({"step": 6, "accuracy": 0.5},))


@pytest.fixture(scope="module")
def learner() -> Learner:
    return Learner(ARCHITECTURE, CHOICE)


def test_a_checkpoint_continues_as_if_nothing_had_happened(tmp_path: Path):
    """Weights, moments and steps of the optimizer: the same bits as a model that was never stopped."""
    parts = [make_samples(8, seed) for seed in range(8)]
    never, stopped = Learner(ARCHITECTURE, CHOICE), Learner(ARCHITECTURE, CHOICE)
    for part in parts:
        never.learn(part)
    for part in parts[:5]:
        stopped.learn(part)
    stopped.save(POSITION, tmp_path / "checkpoint.npz")
    position, arrays = load_position(tmp_path / "checkpoint.npz") or (None, {})
    again = Learner(ARCHITECTURE, CHOICE)
    again.load(arrays, tmp_path)
    for part in parts[5:]:
        again.learn(part)
    assert position == POSITION
    assert again.weights(POSITION, 1).digest() == never.weights(POSITION, 1).digest()
    assert again.measure(parts[0]) == never.measure(parts[0])


def test_it_learns(learner):
    """From chance to nearly all, and the figures are those of the samples."""
    held = make_samples(40, seed=99)
    before = learner.measure(held)
    for seed in range(60):
        learner.learn(make_samples(8, seed))
    after = learner.measure(held)
    assert before["accuracy"] < 0.6 < 0.9 < after["accuracy"] and after["loss"] < before["loss"]


def test_weights_that_are_no_numbers_end_it(learner, tmp_path):
    """Before they are told or kept."""
    learner.save(POSITION, tmp_path / "good.npz")
    _, arrays = load_position(tmp_path / "good.npz")
    learner.load(
        {name: value * np.nan if value.dtype.kind == "f" else value for name, value in arrays.items()},
        tmp_path,
    )
    with pytest.raises(Failed, match="no longer numbers"):
        learner.measure(make_samples(8))


def test_a_checkpoint_of_another_model_is_refused(learner, tmp_path):
    """By its shapes; a damaged one and one that is none by what they are."""
    path = tmp_path / "checkpoint.npz"
    assert load_position(path) is None
    learner.save(POSITION, path)
    _, arrays = load_position(path)
    other = Learner(Architecture("cnn3", (16, 16, 1), 4), CHOICE)
    with pytest.raises(WrongUsage, match="other layers"):
        other.load(arrays, path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(WrongUsage, match="no checkpoint of a follower"):
        load_position(path)
    path.write_bytes(b"cut")
    with pytest.raises(WrongUsage):
        load_position(path)


def test_pictures_that_a_model_cannot_take_are_refused():
    """With the size that it needs."""
    with pytest.raises(WrongUsage, match="too small"):
        Learner(Architecture("cnn3", (4, 4, 1), 4), CHOICE)
