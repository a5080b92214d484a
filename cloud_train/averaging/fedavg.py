"""FedAvg: the average of shard updates by number of examples, and the server's momentum. Only numpy."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cloud_train.data.samples import Array
from cloud_train.training.weights import Weights

AVERAGE_CLIENT = "average"
VELOCITY_CLIENT = "velocity"


class BadUpdate(ValueError):
    """An update that must not be averaged.

    Attributes:
        client: whose update it is.
        reason: why it is refused.
    """

    def __init__(self, client: str, reason: str) -> None:
        super().__init__(f"{client}: {reason}")
        self.client, self.reason = client, reason


def average(updates: Sequence[Weights]) -> Weights:
    """Return sum(n_i * w_i) / sum(n_i), with n_i the number of examples of update i.

    The result does not depend on the order of `updates`, down to the last bit: floating-point addition is
    not associative, so they are added up in an order of their own, in float64, and rounded to float32 once.

    Args:
        updates: at least one, of one architecture.

    Raises:
        BadUpdate: an update has no examples, other shapes than the first, or values that are not finite.

    Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017,
    arXiv:1602.05629, Algorithm 1.
    """
    ordered = sorted(updates, key=lambda update: (update.client, update.digest()))
    if not ordered:
        raise BadUpdate("nobody", "there are no updates to average")
    for update in ordered:
        _check(update, ordered[0])
    total = sum(update.num_examples for update in ordered)
    tensors = zip(*(update.tensors for update in ordered), strict=True)
    shares = [update.num_examples / total for update in ordered]
    return Weights(
        architecture=ordered[0].architecture,
        client=AVERAGE_CLIENT,
        num_examples=total,
        passes=max(update.passes for update in ordered),
        tensors=tuple(_blend(same, shares) for same in tensors),
        figures={},
    )


def advance(
    before: Weights, averaged: Weights, velocity: Weights | None, momentum: float
) -> tuple[Weights, Weights]:
    """Go from the last round's weights past the new average, in the direction that held over the rounds.

    With step = averaged - before: velocity' = momentum * velocity + step, and
    weights' = before + step + momentum * velocity'. Momentum 0 leaves the average as it is.

    Args:
        before: what the round started from.
        averaged: the average of its updates.
        velocity: as the last round returned it, None in the first.
        momentum: 0 to 1, without 1.

    Returns:
        The weights the next round starts from, and the velocity.

    Source: Hsu et al., Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification, 2019, arXiv:1909.06335 (FedAvgM), here with Nesterov's look ahead.
    """
    held = velocity.tensors if velocity else tuple(np.zeros_like(tensor) for tensor in before.tensors)
    weights, velocities = [], []
    for old, new, speed in zip(before.tensors, averaged.tensors, held, strict=True):
        speed64 = momentum * speed.astype(np.float64) + (new.astype(np.float64) - old)
        velocities.append(speed64.astype(np.float32))
        # Not old + (new - old): without momentum the average must come out to the last bit.
        weights.append((new + momentum * speed64).astype(np.float32))
    moved = replace(averaged, tensors=tuple(weights))
    return moved, replace(averaged, client=VELOCITY_CLIENT, tensors=tuple(velocities))


def _blend(tensors: Sequence[Array], shares: Sequence[float]) -> Array:
    total = np.zeros(tensors[0].shape, np.float64)
    for tensor, share in zip(tensors, shares, strict=True):
        total += share * tensor.astype(np.float64)
    return total.astype(np.float32)


def _check(update: Weights, first: Weights) -> None:
    if update.num_examples <= 0:
        raise BadUpdate(update.client, f"it was trained on {update.num_examples} examples")
    if update.architecture != first.architecture:
        raise BadUpdate(update.client, f"it is for {update.architecture}, not {first.architecture}")
    shapes, expected = [[tensor.shape for tensor in one.tensors] for one in (update, first)]
    if shapes != expected:
        raise BadUpdate(
            update.client, f"its layers have the shapes {shapes}, those of {first.client} {expected}"
        )
    for index, tensor in enumerate(update.tensors):
        if tensor.dtype != np.float32:
            raise BadUpdate(update.client, f"tensor {index} is {tensor.dtype}, not float32")
        if not np.isfinite(tensor).all():
            raise BadUpdate(update.client, f"tensor {index} has NaN or infinite values")
