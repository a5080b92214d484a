"""The rules that make one set of weights of many updates, block by block. Only numpy.

Whatever the order in which updates arrive, the result has the same bits: they are taken in the order of
their clients' names, every sum is in float64 and in that order, and is rounded to float32 once.
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from cloud_train.averaging.settings import FEDAVG, KRUM, MEDIAN, ROUNDING, Averaging
from cloud_train.averaging.updates import BLOCK_VALUES, Update, blocks
from cloud_train.data.samples import Array
from cloud_train.training.weights import MOVING_MEAN, MOVING_VARIANCE, WEIGHT, Weights

AVERAGE_CLIENT = "average"
# What a rule that looks at all updates of a coordinate may hold of them at once.
MATRIX_BYTES = 4 * 1024 * 1024


class TooFewUpdates(ValueError):
    """The rule needs more updates than there are; the text says how many."""


class Blend(Protocol):
    """Makes one block of values of the same block of every update."""

    @property
    def length(self) -> int:
        """How many values it takes at a time."""

    def __call__(self, rows: Iterable[Array], length: int) -> Array:
        """Return (length,) float64 of rows (length,), in the order of the updates."""


def average(updates: Sequence[Update], how: Averaging) -> Weights:
    """Return what the rule makes of the updates.

    BatchNorm's moving means are values as any other. A moving variance is that of all updates' pictures
    together, var_i + (mean_i - mean)^2 blended by the same rule: what FedAvg gives is then exactly the
    pooled variance, and an average of variances alone would miss what lies between the means.

    Args:
        updates: at least one, screened, each client once; tensors float32, of one architecture.
        how: rule and its parameters.

    Raises:
        TooFewUpdates: Krum needs more.
        BadUpdate: a file changed while it was read.
    """
    if not updates:
        raise TooFewUpdates("there is no update to average")
    chosen = sorted(updates, key=lambda update: update.header.client)
    if how.rule == KRUM:
        chosen = krum(chosen, how)
    blend = _blend_of(how, chosen)
    first = chosen[0].header
    tensors: list[Array] = []
    for index, role in enumerate(first.roles):
        means = mean_of_variance(first.roles, first.shapes, index) if role == MOVING_VARIANCE else None
        tensors.append(_combine(chosen, blend, index, (means, tensors[means]) if means is not None else None))
    return Weights(
        architecture=first.architecture,
        client=AVERAGE_CLIENT,
        num_examples=sum(update.header.num_examples for update in chosen),
        passes=statistics.median_low(update.header.passes for update in chosen),  # one liar moves no median
        tensors=tuple(tensors),
        figures={},
        roles=first.roles,
    )


class Mean:
    """sum(n_i * w_i) / sum(n_i), with n_i the weight of update i.

    Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017,
    arXiv:1602.05629, Algorithm 1 (FedAvg), where n_i is its number of examples.
    """

    length = BLOCK_VALUES

    def __init__(self, counts: Sequence[int]) -> None:
        total = sum(counts)
        self._shares = [count / total for count in counts]

    def __call__(self, rows: Iterable[Array], length: int) -> Array:
        """Add the rows up in their order."""
        total, scaled = np.zeros(length), np.empty(length)
        for row, share in zip(rows, self._shares, strict=True):
            scaled[:] = row  # first to float64, then the product: in one step numpy is a third slower
            scaled *= share
            total += scaled
        return total


class TrimmedMean:
    """In each coordinate the mean of the values that are left without the `trim` lowest and highest of them.

    Every update counts the same: who could raise the weight of a bad one would undo the trimming.

    Source: Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, 2018,
    arXiv:1803.01498, Definition 2; the coordinate-wise median is Definition 1.
    """

    def __init__(self, updates: int, cut: int) -> None:
        self._updates, self._cut = updates, cut
        self.length = rows_at_once(updates)

    @classmethod
    def of_share(cls, updates: int, trim: float) -> "TrimmedMean":
        """Leave out a share at each end, rounded down."""
        return cls(updates, int(trim * updates + ROUNDING))

    @classmethod
    def median(cls, updates: int) -> "TrimmedMean":
        """Leave out all but the middle value, or the two middle ones."""
        return cls(updates, (updates - 1) // 2)

    def __call__(self, rows: Iterable[Array], length: int) -> Array:
        """Sort each coordinate, and add up what is not cut off, from the lowest."""
        matrix = _matrix(rows, self._updates, length)
        matrix.sort(axis=1)
        total = np.zeros(length)
        for place in range(self._cut, self._updates - self._cut):
            total += matrix[:, place]
        return total / (self._updates - 2 * self._cut)


def krum(updates: Sequence[Update], how: Averaging) -> list[Update]:
    """Return the `krum_keep` updates that lie closest to their neighbours.

    The score of an update is the sum of its squared distances to the n - krum_f - 2 others nearest to it; the
    lowest scores win, the first client's name where they are equal. Only learned weights are compared.

    Args:
        updates: in the order of their clients.
        how: krum_f, how many of them may be bad; krum_keep, 1 is Krum, more is multi-Krum, whose chosen ones
            are averaged with equal weights.

    Raises:
        TooFewUpdates: there are less than 2 * krum_f + 3, or less than krum_keep.

    Source: Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, 2017,
    NIPS 30, section 4 (Krum) and section 5 (Multi-Krum).
    """
    if len(updates) < how.krum_needs():
        what = f"Krum that expects {how.krum_f} bad ones needs {how.krum_needs()} updates"
        raise TooFewUpdates(f"{what}, not {len(updates)}")
    distances = np.sort(squared_distances(updates), axis=1)
    # The first of each row is the update itself.
    scores = distances[:, 1 : len(updates) - how.krum_f - 1].sum(axis=1)
    best = sorted(np.argsort(scores, kind="stable")[: how.krum_keep])
    return [updates[place] for place in best]


def squared_distances(updates: Sequence[Update]) -> Array:
    """Return the squared Euclidean distances of the learned weights, (n, n) float64, 0 on the diagonal."""
    products = np.zeros((len(updates), len(updates)))
    header = updates[0].header
    for index, (role, shape) in enumerate(zip(header.roles, header.shapes, strict=True)):
        if role != WEIGHT:
            continue
        for start, stop in blocks(shape, rows_at_once(len(updates))):
            rows = (update.read(index, start, stop) for update in updates)
            matrix = _matrix(rows, len(updates), stop - start)
            # Products of small differences keep their digits. Not the mean: one update far out would pull all
            # others away from 0, and what is left of their digits would hide a second bad one.
            middle = len(updates) // 2
            matrix -= np.partition(matrix, middle, axis=1)[:, middle, None]
            products += matrix.T @ matrix
    squares = np.diag(products)
    found = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0)
    np.fill_diagonal(found, 0)
    return found


def mean_of_variance(roles: Sequence[str], shapes: Sequence[tuple[int, ...]], variance: int) -> int | None:
    """Return the place of the moving mean that belongs to a moving variance: the last one before it."""
    for place in range(variance - 1, -1, -1):
        if roles[place] == MOVING_MEAN:
            return place if shapes[place] == shapes[variance] else None
    return None


def rows_at_once(updates: int) -> int:
    """Return how many coordinates of all updates fit into MATRIX_BYTES, as float64."""
    return max(1, MATRIX_BYTES // (8 * updates))


def _blend_of(how: Averaging, updates: Sequence[Update]) -> Blend:
    if how.rule == FEDAVG:
        return Mean([update.header.num_examples for update in updates])
    if how.rule == KRUM:
        return Mean([1] * len(updates))
    if how.rule == MEDIAN:
        return TrimmedMean.median(len(updates))
    return TrimmedMean.of_share(len(updates), how.trim)


def _combine(updates: Sequence[Update], blend: Blend, index: int, means: tuple[int, Array] | None) -> Array:
    # means: place of the moving means and their average, when this tensor is a moving variance.
    shape = updates[0].header.shapes[index]
    found = np.empty(shape, np.float32)
    flat = found.reshape(-1)
    for start, stop in blocks(shape, blend.length):
        rows: Iterable[Array] = (update.read(index, start, stop) for update in updates)
        if means:
            place, mean = means[0], means[1].reshape(-1)[start:stop].astype(np.float64)
            rows = (
                row + (update.read(place, start, stop) - mean) ** 2
                for row, update in zip(rows, updates, strict=True)
            )
        flat[start:stop] = blend(rows, stop - start)
    return found


def _matrix(rows: Iterable[Array], count: int, length: int) -> Array:
    # (length, count): the values of a coordinate lie together, so that sorting is fast.
    found = np.empty((length, count))
    for place, row in enumerate(rows):
        found[:, place] = row
    return found
