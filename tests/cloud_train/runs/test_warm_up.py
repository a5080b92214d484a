"""The common initialisation after it has learned from a few pictures."""

import numpy as np
import pytest

from cloud_train.runs import warm_up as module
from cloud_train.runs.warm_up import warm_up
from cloud_train.training.examiner import Examiner
from cloud_train.training.models import initial_weights
from cloud_train.training.recipe import Recipe
from tests.cloud_train.conftest import ARCHITECTURE, CLASSES, make_samples


@pytest.fixture(scope="module")
def initial():
    return initial_weights(ARCHITECTURE, 0)


def test_it_has_learned_and_counts_as_fresh(initial):
    """Better than before on new pictures; no passes and no examples: nothing is decayed, nothing averaged."""
    warm = warm_up(initial, [make_samples(60), make_samples(68, seed=1)], Recipe(), 0.5)
    examiner = Examiner(make_samples(80, seed=9))
    assert examiner.measure(warm, "warm")["loss"] < examiner.measure(initial, "initial")["loss"]
    assert (warm.client, warm.passes, warm.num_examples) == (initial.client, 0, 0)


def test_without_it_the_initialisation_stays_as_it_is(initial):
    """A share of 0, or one that is no picture."""
    assert warm_up(initial, [make_samples(20)], Recipe(), 0.0) is initial
    assert warm_up(initial, [make_samples(20)], Recipe(), 0.01) is initial


def test_it_hears_of_every_label_and_knows_its_limit(initial, monkeypatch):
    """Shards of one label each; as many of every label, and no more than the limit."""
    samples, seen = make_samples(40), []
    shards = [samples.take(np.flatnonzero(samples.y == label)) for label in range(CLASSES)]
    monkeypatch.setattr(module, "MAX_WARM_UP_PICTURES", 8)
    monkeypatch.setattr(
        module.trainer, "fit", lambda pictures, start, *_, **__: seen.append(pictures.y) or start
    )
    warm_up(initial, shards, Recipe(), 1.0)
    assert sorted(seen[0]) == sorted([*range(CLASSES)] * 2)
