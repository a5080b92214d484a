"""Counts right answers of two models on the same samples, over all and class by class, and gates the loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantize.data import Indices
from quantize.runtime import Array

Counts = NDArray[np.int64]

# A class has lost more than it may only if chance alone would hardly ever do that: of seven samples that
# changed sides, all seven got worse.
CHANCE_ONE_IN = 100


@dataclass(frozen=True)
class ClassChange:
    """One class: `before` and `after` of its samples are right; `lost` got wrong, `won` got right."""

    label: int
    samples: int
    before: int
    after: int
    lost: int
    won: int

    @property
    def drop(self) -> float:
        """Return what the class lost, as a share of its samples; below zero if it won."""
        return (self.before - self.after) / self.samples

    @property
    def is_beyond_chance(self) -> bool:
        """Say whether so many losses against so few wins are hardly chance.

        Were both models equally good, a sample would be lost as often as won, like heads and tails.

        Source: McNemar's test for paired answers, in its exact, one-sided form.
        """
        changed = self.lost + self.won
        ways = sum(math.comb(changed, wins) for wins in range(self.won + 1))
        return ways * CHANCE_ONE_IN < 1 << changed


@dataclass(frozen=True)
class Comparison:
    """Two models on the same samples; their confusion matrices count [true class, answer].

    `agreement` is the share of samples that both answer alike, rightly or not.
    """

    confusion_before: Counts
    confusion_after: Counts
    agreement: float
    per_class: tuple[ClassChange, ...]

    @property
    def samples(self) -> int:
        """Count the samples."""
        return int(self.confusion_before.sum())

    @property
    def before(self) -> float:
        """Return the first model's share of right answers; in a bundle the float model's."""
        return float(np.trace(self.confusion_before) / self.samples)

    @property
    def after(self) -> float:
        """Return the second model's share of right answers; in a bundle the int8 model's."""
        return float(np.trace(self.confusion_after) / self.samples)

    @property
    def drop(self) -> float:
        """Return what the second one lost; below zero if it happens to be better."""
        return self.before - self.after


def compare(labels: Indices, before: Array, after: Array) -> Comparison:
    """Compare two sets of scores, each (N, classes), against the true classes (N,)."""
    classes = before.shape[1]
    answers, others = before.argmax(axis=1), after.argmax(axis=1)
    right, other_right = answers == labels, others == labels
    return Comparison(
        confusion_before=_confusion(labels, answers, classes),
        confusion_after=_confusion(labels, others, classes),
        agreement=float((answers == others).mean()),
        per_class=tuple(
            _change(int(label), right[labels == label], other_right[labels == label])
            for label in np.unique(labels)
        ),
    )


def _change(label: int, right: NDArray[np.bool_], other_right: NDArray[np.bool_]) -> ClassChange:
    return ClassChange(
        label=label,
        samples=len(right),
        before=int(right.sum()),
        after=int(other_right.sum()),
        lost=int((right & ~other_right).sum()),
        won=int((~right & other_right).sum()),
    )


def _confusion(labels: Indices, answers: Indices, classes: int) -> Counts:
    counts = np.bincount(labels * classes + answers, minlength=classes * classes)
    return counts.reshape(classes, classes)


def find_loss(found: Comparison, max_drop: float, max_class_drop: float, names: Sequence[str]) -> str | None:
    """Say what was lost that must not be, or None.

    Args:
        found: float against int8.
        max_drop: what all samples together may lose, 0 to 1.
        max_class_drop: what a class may lose, 0 to 1. It may lose more as long as that may be chance (see
            ClassChange.is_beyond_chance): two of three wrong say nothing, seven of seven do.
        names: what each class is called.
    """
    if found.drop > max_drop:
        return f"accuracy fell from {found.before:.4f} to {found.after:.4f}, by more than {max_drop:g}"
    failed = [one for one in found.per_class if one.drop > max_class_drop and one.is_beyond_chance]
    if not failed:
        return None
    worst = max(failed, key=lambda one: one.drop)
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return (
        f"class {names[worst.label][:40]!r}{others} fell from {worst.before / worst.samples:.4f} to "
        f"{worst.after / worst.samples:.4f}, by more than {max_class_drop:g}"
    )
