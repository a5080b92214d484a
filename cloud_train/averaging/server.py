"""What the server does with an average: momentum, or Adam, on the step from the round's start. Only numpy.

Only learned weights are moved: BatchNorm statistics are measured, not learned, and are taken as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cloud_train.averaging.settings import ADAM, Averaging
from cloud_train.data.samples import Array
from cloud_train.training.weights import WEIGHT, Weights

# What a server remembers from round to round, by the name of the file it is saved in; nothing in the first.
State = Mapping[str, Weights]

VELOCITY = "velocity"
FIRST_MOMENT = "first-moment"
SECOND_MOMENT = "second-moment"

# As in the experiments of the paper that `_adam` cites.
BETA_1 = 0.9
BETA_2 = 0.99
TAU = 1e-3

# With what each begins, in every coordinate.
INITIAL = {VELOCITY: 0.0, FIRST_MOMENT: 0.0, SECOND_MOMENT: TAU**2}


@dataclass(frozen=True)
class Moved:
    """What a server makes of an average; float32, so that files carry the same bits.

    Attributes:
        model: what the round leaves: the average itself, or where Adam went.
        start: what the next round starts from; with momentum it lies ahead of the average.
        state: what the server remembers.
    """

    model: Weights
    start: Weights
    state: State


def advance(before: Weights, averaged: Weights, state: State, how: Averaging) -> Moved:
    """Go from where a round started towards, or past, the average of its updates.

    Args:
        before: what the round started from.
        averaged: the average of its updates.
        state: as the last round left it, empty in the first.
        how: which server, and its parameters.
    """
    names = state_names(how)
    held = [state[name].tensors if name in state else _filled(before, INITIAL[name]) for name in names]
    step = _adam if how.server == ADAM else _momentum
    weights: list[Array] = []
    kept: list[list[Array]] = [[] for _ in names]
    for index, (role, old, new) in enumerate(
        zip(before.roles, before.tensors, averaged.tensors, strict=True)
    ):
        moments = [tensors[index] for tensors in held]
        moved, moments = step(old, new, moments, how) if role == WEIGHT else (new, moments)
        weights.append(moved)
        for place, moment in zip(kept, moments, strict=True):
            place.append(moment)
    start = replace(averaged, tensors=tuple(weights))
    remembered = {
        name: replace(averaged, client=name, tensors=tuple(place))
        for name, place in zip(names, kept, strict=True)
    }
    return Moved(start if how.server == ADAM else averaged, start, remembered)


def state_names(how: Averaging) -> tuple[str, ...]:
    """Return what a server of this kind remembers."""
    return (FIRST_MOMENT, SECOND_MOMENT) if how.server == ADAM else (VELOCITY,)


def _momentum(old: Array, new: Array, moments: list[Array], how: Averaging) -> tuple[Array, list[Array]]:
    """velocity' = momentum * velocity + (new - old); start' = new + momentum * velocity'.

    Momentum 0 leaves the average as it is. What is measured and kept is `new`: the point ahead is a good
    place to learn from, and no good model (docs/decisions/0018-warm-up-and-momentum.md).

    Source: Hsu et al., Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification, 2019, arXiv:1909.06335 (FedAvgM), here with Nesterov's look ahead.
    """
    speed = how.momentum * moments[0].astype(np.float64) + (new.astype(np.float64) - old)
    # Not old + (new - old): without momentum the average must come out to the last bit.
    return (new + how.momentum * speed).astype(np.float32), [speed.astype(np.float32)]


def _adam(old: Array, new: Array, moments: list[Array], how: Averaging) -> tuple[Array, list[Array]]:
    """m' = b1 m + (1 - b1) d, v' = b2 v + (1 - b2) d^2, w' = old + rate m' / (sqrt(v') + tau), d = new - old.

    Source: Reddi et al., Adaptive Federated Optimization, 2020, arXiv:2003.00295, Algorithm 2 (FedAdam),
    without bias correction, and with v starting at tau^2.
    """
    first, second = [moment.astype(np.float64) for moment in moments]
    delta = new.astype(np.float64) - old
    first = BETA_1 * first + (1 - BETA_1) * delta
    second = BETA_2 * second + (1 - BETA_2) * delta**2
    moved = old + how.server_rate * first / (np.sqrt(second) + TAU)
    return moved.astype(np.float32), [first.astype(np.float32), second.astype(np.float32)]


def _filled(like: Weights, value: float) -> tuple[Array, ...]:
    return tuple(np.full_like(tensor, value) for tensor in like.tensors)
