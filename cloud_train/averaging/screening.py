"""Who may take part in an average: every update is looked at once, and who is left out is told why."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cloud_train.averaging.updates import BadUpdate, Header, Update, blocks
from cloud_train.data.samples import Array
from cloud_train.training.weights import MOVING_VARIANCE, Digest
from host_cli.progress import Advance

# An update this many times as far from the round's start as the median update is an outlier.
OUTLIER_FACTOR = 10.0
# Of two updates nobody can say which is the outlier.
OUTLIER_MIN_UPDATES = 3
# More pictures than any shard holds: who says so wants to be the whole average.
MAX_EXAMPLES = 1_000_000_000
SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class LeftOut:
    """A client that takes no part in a round, and why.

    Attributes:
        client: who.
        reason: one line.
        num_examples: what its update said, when it could be read.
        sha256: of its weights, when they could be read.
    """

    client: str
    reason: str
    num_examples: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Inspected:
    """What reading an update to its end has shown.

    Attributes:
        update: the update.
        sha256: the digest of its weights.
        distances: Euclidean distance from the round's start, by role of the tensors.
    """

    update: Update
    sha256: str
    distances: Mapping[str, float]

    @property
    def header(self) -> Header:
        """What the update says of itself."""
        return self.update.header


@dataclass(frozen=True)
class Screened:
    """Who takes part and who does not, each in the order of their names."""

    kept: tuple[Inspected, ...]
    left_out: tuple[LeftOut, ...]


def screen(updates: Sequence[Update], start: Update | None, advance: Advance = lambda _: None) -> Screened:
    """Look at every update; none of them is ever in memory as a whole.

    Args:
        updates: in any order.
        start: what the round started from; without it nothing is known of distances, and the shapes are
            those that most updates have.
        advance: called with 1 after each update.
    """
    left_out: list[LeftOut] = []
    expected = _kind(start.header) if start else _most_common_kind(updates)
    inspected = []
    for update in sorted(updates, key=lambda one: one.header.client):
        try:
            _check_header(update.header, expected)
            if start and not follows(update.header, start.header.sha256):
                raise BadUpdate(
                    update.header.client, "it was trained from other weights than the round's start"
                )
            inspected.append(inspect(update, start))
        except BadUpdate as error:
            left_out.append(LeftOut(error.client, error.reason, update.header.num_examples))
        advance(1)
    single = _without_doubles(inspected, left_out)
    kept = _without_outliers(single, left_out)
    return Screened(tuple(kept), tuple(sorted(left_out, key=lambda one: one.client)))


def inspect(update: Update, start: Update | None) -> Inspected:
    """Read an update to its end.

    Args:
        update: what to read.
        start: what its distance is taken from; of the same shapes.

    Raises:
        BadUpdate: NaN, infinity, a negative variance, or other tensors than those that were written.
    """
    header, digest = update.header, Digest()
    squares: dict[str, float] = {}
    for index, (role, dtype, shape) in enumerate(
        zip(header.roles, header.dtypes, header.shapes, strict=True)
    ):
        digest.begin(dtype, shape)
        for first, last in blocks(shape):
            block = update.read(index, first, last)
            digest.add(block)
            _check_values(block, role, index, header.client)
            if start:
                step = block.astype(np.float64) - start.read(index, first, last)
                squares[role] = squares.get(role, 0.0) + float(np.einsum("i,i", step, step))
    if header.sha256 not in (None, digest.hex()):
        raise BadUpdate(header.client, "its tensors are not those that were written")
    return Inspected(update, digest.hex(), {role: total**0.5 for role, total in squares.items()})


def follows(header: Header, start: str | None) -> bool:
    """Say whether an update was trained from the weights with the digest `start`, as far as that is known."""
    return None in (header.start, start) or header.start == start


def _check_header(header: Header, expected: tuple[object, ...]) -> None:
    if _kind(header) != expected:
        raise BadUpdate(header.client, _other_kind(_kind(header), expected))
    others = set(header.dtypes) - {"float32"}
    if others:
        raise BadUpdate(header.client, f"it has tensors of {', '.join(sorted(others))}, not float32")
    if header.num_examples <= 0:
        raise BadUpdate(header.client, f"it says that it was trained on {header.num_examples} examples")
    if header.num_examples > MAX_EXAMPLES:
        what = f"it says that it was trained on {header.num_examples} examples, more than {MAX_EXAMPLES}"
        raise BadUpdate(header.client, what)


def _check_values(block: Array, role: str, index: int, client: str) -> None:
    if not np.isfinite(block).all():
        raise BadUpdate(client, f"tensor {index} has NaN or infinite values")
    if role == MOVING_VARIANCE and block.size and block.min() < 0:
        raise BadUpdate(client, f"tensor {index} has a negative variance")


def _without_doubles(found: Sequence[Inspected], left_out: list[LeftOut]) -> list[Inspected]:
    # Of two different updates nobody knows which one the client means.
    by_client: dict[str, dict[str, Inspected]] = {}
    for one in found:
        by_client.setdefault(one.header.client, {})[one.sha256] = one
    kept: list[Inspected] = []
    for client, different in by_client.items():
        if len(different) == 1:
            kept += different.values()
        else:
            left_out.append(LeftOut(client, f"it sent {len(different)} different updates"))
    return kept


def _without_outliers(found: Sequence[Inspected], left_out: list[LeftOut]) -> list[Inspected]:
    if len(found) < OUTLIER_MIN_UPDATES:
        return list(found)
    kept = []
    examples = statistics.median(one.header.num_examples for one in found)
    for one in found:
        # A larger shard goes further: its trainer takes more steps.
        allowed = OUTLIER_FACTOR * max(1.0, one.header.num_examples / examples)
        reason = _why_outlier(one, found, allowed)
        if reason:
            left_out.append(LeftOut(one.header.client, reason, one.header.num_examples, one.sha256))
        else:
            kept.append(one)
    return kept


def _why_outlier(one: Inspected, found: Sequence[Inspected], allowed: float) -> str | None:
    for role, distance in one.distances.items():
        median = statistics.median(other.distances[role] for other in found)
        if 0 < allowed * median < distance:
            return (
                f"it is {distance / median:.0f} times as far from the round's start as the median update "
                f"({role}), at most {allowed:.0f} times is allowed"
            )
    return None


def _kind(header: Header) -> tuple[object, ...]:
    return header.architecture, header.shapes, header.roles


def _most_common_kind(updates: Sequence[Update]) -> tuple[object, ...]:
    kinds = Counter(_kind(update.header) for update in sorted(updates, key=lambda one: one.header.client))
    return kinds.most_common(1)[0][0] if kinds else ()


def _other_kind(found: tuple[object, ...], expected: tuple[object, ...]) -> str:
    names = ("is for", "has layers of the shapes", "has tensors in the roles")
    what = next(place for place, one in enumerate(found) if one != expected[place])
    return f"it {names[what]} {_short(found[what])}, not {_short(expected[what])}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
