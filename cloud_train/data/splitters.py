"""Who gets which picture: at random, or unevenly as in the field. Rules on labels only, seeded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cloud_train.data.samples import Array, BadSamples

IID, DIRICHLET, LABEL_SKEW = "iid", "dirichlet", "label-skew"
STRATEGIES = (IID, DIRICHLET, LABEL_SKEW)
# From almost one label for each shard to almost the same mix in all.
MIN_ALPHA, MAX_ALPHA = 1e-3, 1e6
DEFAULT_ALPHA = 0.5
DEFAULT_CLASSES_PER_SHARD = 2


@dataclass(frozen=True)
class Deal:
    """How pictures are dealt out.

    Attributes:
        count: how many shards, 1 to MAX_SHARDS.
        seed: >= 0; the same seed deals the same shards.
        strategy: one of STRATEGIES.
        alpha: of `dirichlet`, MIN_ALPHA to MAX_ALPHA: the smaller, the less alike the shards; else None.
        classes_per_shard: of `label-skew`: how many labels a shard knows; else None.
    """

    count: int
    seed: int = 0
    strategy: str = IID
    alpha: float | None = None
    classes_per_shard: int | None = None


def deal(labels: Array, plan: Deal) -> list[Array]:
    """Deal pictures out: none is dropped or given twice, and no shard is empty.

    Args:
        labels: (N,) int64, of all pictures.
        plan: how.

    Returns:
        For each shard the places of its pictures, (K,) int64, in the order they are written.

    Raises:
        BadSamples: there are too few pictures, or too few labels for a shard.
    """
    if len(labels) < plan.count:
        raise BadSamples(f"{len(labels)} pictures cannot fill {plan.count} shards")
    random = np.random.default_rng(plan.seed)
    if plan.strategy == IID:
        return np.array_split(random.permutation(len(labels)), plan.count)
    rules: dict[str, Callable[[], list[list[Array]]]] = {
        DIRICHLET: lambda: _dirichlet(labels, plan.count, plan.alpha or DEFAULT_ALPHA, random),
        LABEL_SKEW: lambda: _label_skew(
            labels, plan.count, plan.classes_per_shard or DEFAULT_CLASSES_PER_SHARD, random
        ),
    }
    parts = _filled([np.concatenate(pieces) for pieces in rules[plan.strategy]()])
    # By now a shard is sorted by label, and nothing learns well from that.
    return [random.permutation(part) for part in parts]


def _dirichlet(labels: Array, count: int, alpha: float, random: np.random.Generator) -> list[list[Array]]:
    # Each label is cut by shares of its own. Source: Hsu, Qi, Brown, arXiv 1909.06335, section 3.
    shards: list[list[Array]] = [[_nothing()] for _ in range(count)]
    for places in _by_label(labels, random):
        shares = random.dirichlet(np.full(count, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(places)).astype(np.int64)
        for shard, piece in zip(shards, np.split(places, cuts), strict=True):
            shard.append(piece)
    return shards


def _label_skew(
    labels: Array, count: int, classes_per_shard: int, random: np.random.Generator
) -> list[list[Array]]:
    # Shard after shard takes the next labels of a shuffled ring, so each label has about as many takers.
    # Source of the idea: McMahan et al., arXiv 1602.05629, section 3 (each client has two digits).
    pieces = _by_label(labels, random)
    if not 1 <= classes_per_shard <= len(pieces):
        raise BadSamples(f"a shard cannot have {classes_per_shard} of {len(pieces)} labels")
    if count * classes_per_shard < len(pieces):
        what = f"{count} shards of {classes_per_shard} labels leave some of {len(pieces)} labels out"
        raise BadSamples(what)
    ring = random.permutation(len(pieces))
    takers: list[list[int]] = [[] for _ in pieces]
    for slot in range(count * classes_per_shard):
        takers[ring[slot % len(ring)]].append(slot // classes_per_shard)
    shards: list[list[Array]] = [[_nothing()] for _ in range(count)]
    for places, takes in zip(pieces, takers, strict=True):
        for shard, piece in zip(takes, np.array_split(places, len(takes)), strict=True):
            shards[shard].append(piece)
    return shards


def _by_label(labels: Array, random: np.random.Generator) -> list[Array]:
    _, counts = np.unique(labels, return_counts=True)
    sorted_places = np.argsort(labels, kind="stable")
    return [random.permutation(places) for places in np.split(sorted_places, np.cumsum(counts)[:-1])]


def _filled(parts: Sequence[Array]) -> list[Array]:
    # A shard without any picture could not train: the largest gives one up.
    found = list(parts)
    for index in range(len(found)):
        if not len(found[index]):
            richest = max(range(len(found)), key=lambda each: len(found[each]))
            found[index], found[richest] = found[richest][-1:], found[richest][:-1]
    return found


def _nothing() -> Array:
    return np.empty(0, np.int64)
