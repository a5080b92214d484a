"""Picks the pictures that set the activation ranges: class-balanced, seeded, without repeats."""

import numpy as np

from quantize.data import Indices


def pick_balanced(labels: Indices, count: int, seed: int) -> Indices:
    """Pick about equally many samples of each class, in a reproducible way.

    Args:
        labels: class of each sample, (N,).
        count: how many to pick; at most N are picked.
        seed: same seed, same samples.

    Returns:
        Indices into `labels`, ascending, (min(count, N),). Small classes are used up, larger ones fill in.
    """
    return np.sort(deal_by_class(labels, seed)[:count])


def deal_by_class(labels: Indices, seed: int) -> Indices:
    """Shuffle the samples and deal one of each class in turn, for as long as a class has any left.

    Returns:
        A permutation of 0..N-1 of which every beginning is balanced.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = labels[shuffled] == label
        turn[own] = np.arange(np.count_nonzero(own))
    return shuffled[np.argsort(turn, kind="stable")].astype(np.int64)
