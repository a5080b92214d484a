"""Live predictions, as somebody wants to see them."""

import pytest

from deploy.fleets.live import Interest, as_line, watch
from tests.deploy.fake_device import FakeDevice, make_prediction


def seen(link, topics, interest: Interest, count: int) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for one in watch(link, topics, interest, lambda: len(found) >= count):
        found.append((one.device, one.seq))
    return found


@pytest.fixture
def two(address, base):
    """A board in the lab, and one elsewhere; what they say is retained, so that no test has to hurry."""
    with (
        FakeDevice(address, base, "reef-1", tags=("lab",)) as first,
        FakeDevice(address, base, "reef-2") as second,
    ):
        for board in (first, second):
            board.send(f"{base}/{board.name}/prediction/camera", board.prediction(1))
            board.send(f"{base}/{board.name}/prediction/door", board.prediction(2, "door", score=0.5))
        yield first, second


@pytest.mark.parametrize(
    "interest, expected",
    [
        (Interest(), {("reef-1", 1), ("reef-1", 2), ("reef-2", 1), ("reef-2", 2)}),
        (Interest(name="reef-2"), {("reef-2", 1), ("reef-2", 2)}),
        (Interest(tag="lab"), {("reef-1", 1), ("reef-1", 2)}),
        (Interest(label="cat", min_score=0.9), {("reef-1", 1), ("reef-2", 1)}),
    ],
)
def test_only_what_is_of_interest(two, link, topics, interest, expected):
    """By name, tag, label and score."""
    assert set(seen(link, topics, interest, len(expected))) == expected


def test_what_is_no_prediction_is_left_out(two, link, topics, base):
    """Also one that speaks for another device."""
    first, second = two
    first.send(f"{base}/reef-1/prediction/camera", b"{")
    first.send(f"{base}/reef-1/prediction/door", second.prediction(9))
    assert set(seen(link, topics, Interest(), 2)) == {("reef-2", 1), ("reef-2", 2)}


def test_a_line_says_who_saw_what():
    """At a glance."""
    assert as_line(make_prediction("reef-1", 1)) == "08:00:00 reef-1 camera: cat 0.90 (1.0 ms, cpu)"
