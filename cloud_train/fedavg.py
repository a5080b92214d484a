"""FedAvg: the average of shard updates, each weighted by its number of examples. Only numpy.

Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017,
arXiv:1602.05629, Algorithm 1.
"""

from collections.abc import Sequence

import numpy as np

from cloud_train.samples import Array
from cloud_train.weights import Weights

AVERAGE_CLIENT = "average"


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
        raise BadUpdate(update.client, f"its layers have the shapes {shapes}, those of {first.client} {expected}")
    for index, tensor in enumerate(update.tensors):
        if tensor.dtype != np.float32:
            raise BadUpdate(update.client, f"tensor {index} is {tensor.dtype}, not float32")
        if not np.isfinite(tensor).all():
            raise BadUpdate(update.client, f"tensor {index} has NaN or infinite values")
