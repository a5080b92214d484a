"""What the server does with an average: momentum and Adam as their papers say, statistics as they are."""

from dataclasses import replace

import numpy as np
import pytest

from cloud_train.averaging.server import BETA_1, BETA_2, TAU, advance
from cloud_train.averaging.settings import Averaging
from cloud_train.training.weights import load_weights, save_weights
from tests.cloud_train.averaging.conftest import batch_norm_update
from tests.cloud_train.conftest import make_weights

MOMENTUM = Averaging(momentum=0.5)
ADAM = Averaging(server="adam", server_rate=0.1)


def value_of(weights):
    return float(weights.tensors[0][0, 0])


def test_without_momentum_the_average_stays_as_it_is():
    """Momentum 0 is the plain rule, to the last bit."""
    before, averaged = make_weights(value=0.1), make_weights(value=0.7)
    moved = advance(before, averaged, {}, Averaging(momentum=0.0))
    assert moved.start.digest() == moved.model.digest() == averaged.digest()


def test_momentum_goes_on_in_the_direction_of_the_rounds():
    """Steps of 1 from 0: with momentum 0.5 the next round starts at 1.5, the one after at 3.25."""
    first = advance(make_weights(value=0), make_weights(value=1), {}, MOMENTUM)
    assert (value_of(first.model), value_of(first.start)) == (1.0, 1.5)
    second = advance(first.start, make_weights(value=2.5), first.state, MOMENTUM)
    assert (value_of(second.model), value_of(second.start)) == (2.5, 3.25)


def test_adam_follows_its_paper():
    """Three rounds, forth and back, computed by hand from Algorithm 2 with the paper's betas and tau."""
    weights, state, m, v, x = make_weights(value=0), {}, 0.0, TAU**2, 0.0
    for target in (0.5, 0.2, -0.7):
        averaged = make_weights(value=target)
        delta = np.float32(target) - np.float32(x)
        m, v = BETA_1 * m + (1 - BETA_1) * delta, BETA_2 * v + (1 - BETA_2) * delta**2
        x = x + 0.1 * m / (v**0.5 + TAU)
        moved = advance(weights, averaged, state, ADAM)
        weights, state = moved.start, moved.state
        assert value_of(weights) == value_of(moved.model) == pytest.approx(x, rel=1e-5)
    assert set(state) == {"first-moment", "second-moment"}


@pytest.mark.parametrize("how", [MOMENTUM, ADAM], ids=["momentum", "adam"])
def test_a_server_that_is_continued_from_files_has_the_same_bits(how, tmp_path):
    """Nothing of its memory is lost on the way to the disk."""
    rounds = [make_weights(value=value) for value in (0.3, 0.7, 0.1)]
    weights, state = make_weights(value=0), {}
    resumed, files = weights, {}
    for averaged in rounds:
        moved = advance(weights, averaged, state, how)
        weights, state = moved.start, moved.state
        again = advance(resumed, averaged, files, how)
        for name, kept in {"start": again.start, **again.state}.items():
            save_weights(kept, tmp_path / f"{name}.npz")
        resumed = load_weights(tmp_path / "start.npz")
        files = {name: load_weights(tmp_path / f"{name}.npz") for name in again.state}
    assert resumed.digest() == weights.digest()


@pytest.mark.parametrize("how", [MOMENTUM, ADAM], ids=["momentum", "adam"])
def test_statistics_are_measured_and_never_pushed_on(how):
    """A variance that momentum carries below zero would be NaN on every board."""
    before = batch_norm_update("before", 0, mean=5.0, variance=10.0)
    averaged = replace(batch_norm_update("average", 10, mean=1.0, variance=0.1), client="average")
    moved = advance(before, averaged, {}, how)
    for weights in (moved.model, moved.start):
        assert [float(tensor[0]) for tensor in weights.tensors[1:]] == pytest.approx([1.0, 0.1])
    assert all(one.roles == averaged.roles for one in (moved.start, *moved.state.values()))
