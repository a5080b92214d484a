"""Updates made by hand, in memory and in files."""

from dataclasses import replace

import numpy as np

from cloud_train.averaging.updates import HeldUpdate, open_update
from cloud_train.training.weights import MOVING_MEAN, MOVING_VARIANCE, WEIGHT, save_weights
from tests.cloud_train.conftest import make_weights


def held(weights):
    """The same updates as a rule sees them."""
    return [HeldUpdate(one) for one in weights]


def updates_of(values, counts=None):
    """Updates `client-0` ...; every weight of one is the same value, or a tensor of them."""
    counts = counts or [10] * len(values)
    return [
        replace(
            make_weights(f"client-{index}", count),
            tensors=(np.asarray(value, np.float32),),
            roles=(),
        )
        for index, (value, count) in enumerate(zip(values, counts, strict=True))
    ]


def random_updates(count, seed=0, shape=(40, 7)):
    """Updates that differ everywhere, with counts that differ too."""
    random = np.random.default_rng(seed)
    return updates_of(
        [random.normal(size=shape) for _ in range(count)], [int(n) for n in random.integers(1, 1000, count)]
    )


def batch_norm_update(client, count, mean, variance):
    """A weight, a moving mean and a moving variance."""
    tensors = tuple(np.asarray([value], np.float32) for value in (1.0, mean, variance))
    roles = (WEIGHT, MOVING_MEAN, MOVING_VARIANCE)
    return replace(make_weights(client, count), tensors=tensors, roles=roles)


def stored(weights, folder):
    """The same updates in files."""
    found = []
    for one in weights:
        save_weights(one, folder / f"{one.client}.npz")
        found.append(open_update(folder / f"{one.client}.npz", one.client))
    return found
