"""Which pictures of a data set are used: a part held out to test on, and fewer of all for a quick run."""

import re
from dataclasses import dataclass

import numpy as np

from cloud_train.data.samples import Array, BadSamples

DEFAULT_TEST_SHARE = 0.2
MIN_TEST_SAMPLES = 500
# A quick run holds out a tenth of what it trains on.
TRAIN_PER_TEST_SAMPLE = 10
MAX_SIDE_PIXELS = 4096

# Who holds out must not draw the same numbers as who deals.
_HOLD_OUT = 1
_SIZE = re.compile(r"(\d{1,4})x(\d{1,4})(?:x([13]))?")


@dataclass(frozen=True)
class Size:
    """What pictures are brought to, in pixels; channels 1 is grey, 3 RGB, None as they are."""

    height: int
    width: int
    channels: int | None = None


@dataclass(frozen=True)
class Choice:
    """What is wanted of a data set.

    Attributes:
        size: what pictures are brought to; None: as they are, or DEFAULT_SIZE of `folders`.
        test_share: how much of every label is held out of a data set that holds nothing out itself, between
            0 and 1; None: DEFAULT_TEST_SHARE.
        limit: take only so many pictures to train on, and a tenth (at least 500) to test on.
        seed: >= 0; the same seed takes the same pictures.
    """

    size: Size | None = None
    test_share: float | None = None
    limit: int | None = None
    seed: int = 0


def parse_size(text: str) -> Size:
    """Read `HxW`, or `HxWxC` with 1 or 3 channels.

    Raises:
        BadSamples: it is neither, or a side is 0 or above MAX_SIDE_PIXELS.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None or not all(1 <= int(side) <= MAX_SIDE_PIXELS for side in found.groups()[:2]):
        raise BadSamples(f"a size is HxW or HxWx1 or HxWx3, with sides of 1 to {MAX_SIDE_PIXELS}")
    height, width, channels = found.groups()
    return Size(int(height), int(width), int(channels) if channels else None)


def select(train: Array, test: Array | None, choice: Choice) -> tuple[Array, Array]:
    """Return the places of the pictures to train on and of those to test on.

    Args:
        train: labels, (N,) int64.
        test: labels of the held-out part, (M,) int64, or None: then some of `train` are held out, and both
            results are places in it.
        choice: how many, and by which seed.

    Raises:
        BadSamples: there are too few pictures, or something is to be held out that is so already.
    """
    if test is None:
        places = hold_out(train, choice.test_share or DEFAULT_TEST_SHARE, choice.seed)
    elif choice.test_share is not None:
        raise BadSamples("it has a held-out part of its own, so there is no share to choose")
    else:
        places = np.arange(len(train)), np.arange(len(test))
    if choice.limit is None:
        return places
    test_limit = max(MIN_TEST_SAMPLES, choice.limit // TRAIN_PER_TEST_SAMPLE)
    test_labels = train if test is None else test
    return (
        places[0][choose(train[places[0]], choice.limit, choice.seed)],
        places[1][choose(test_labels[places[1]], test_limit, choice.seed)],
    )


def hold_out(labels: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Split places in two, label by label; every label with two pictures or more is in both.

    Args:
        labels: (N,) int64.
        share: how much of each label goes into the second part, between 0 and 1.
        seed: >= 0.

    Raises:
        BadSamples: it is no such share, or no label has two pictures.
    """
    if not 0 < share < 1:
        raise BadSamples(f"a share is above 0 and below 1, not {share:g}")
    random = np.random.default_rng((seed, _HOLD_OUT))
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places = random.permutation(np.flatnonzero(labels == label))
        wanted = min(max(1, round(share * len(places))), len(places) - 1)
        held[places[:wanted]] = True
    if not held.any():
        what = f"with {len(labels)} picture(s), none can be held out to test on: a label needs two"
        raise BadSamples(what)
    return np.flatnonzero(~held), np.flatnonzero(held)


def choose(labels: Array, count: int, seed: int) -> Array:
    """Draw `count` places, as many of every label as there are, or all when there are not more."""
    if count >= len(labels):
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = _turn_in_class(labels[order])
    return order[np.argsort(turn, kind="stable")[:count]]


def _turn_in_class(labels: Array) -> Array:
    # (N,) int64: how many of the same label stand before each one.
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        turn[places] = np.arange(len(places))
    return turn
