"""The rules of the data bus: every part once and in order, and nobody is sent what he did not ask for."""

import random

import pytest

from cloud_train.bus.rules import WINDOW_PARTS, Requests, Window
from contract.training import DataPosition

STREAM = "ab" * 32


def position(model: str, next_: int, until: int, again: bool = False) -> DataPosition:
    return DataPosition("run", model, STREAM, next_, until, again)


def take_all(requests: Requests) -> list[int]:
    found = []
    while (number := requests.take()) is not None:
        found.append(number)
    return found


def test_parts_come_out_in_order_whatever_order_they_came_in():
    """Each once, and none before the one before it."""
    window: Window[str] = Window(3, 8, size=6)
    assert list(window.widen()) == [3, 4, 5, 6, 7, 8]
    for number in (5, 4, 8, 7):
        window.put(number, f"part {number}")
    assert window.pop() is None and window.has_gap
    window.put(3, "part 3")
    window.put(6, "part 6")
    assert [window.pop() for _ in range(6)] == [f"part {number}" for number in range(3, 9)]
    assert window.is_over and not window.has_gap


def test_what_is_not_wanted_is_dropped_and_counted():
    """A part that is learned already, one that is held already, one that nobody asked for."""
    window: Window[str] = Window(1, 100, size=4)
    window.widen()
    window.put(1, "first")
    window.put(1, "again")
    assert window.pop() == "first"
    window.put(1, "late")
    window.put(50, "far")
    assert window.duplicates == 3 and window.pop() is None


def test_a_follower_asks_for_more_when_half_of_its_window_is_learned():
    """Not for each part, and never for more than the window."""
    window: Window[int] = Window(1, 20, size=8)
    asked = [list(window.widen())]
    while not window.is_over:
        window.put(window.next, 0)
        window.pop()
        if added := list(window.widen()):
            asked.append(added)
        assert window.until - window.next < 8
    assert asked == [list(range(1, 9)), [9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20]]


def test_nothing_is_sent_that_nobody_asked_for():
    """Not before somebody follows, and no more than its window, whatever it asks for."""
    requests = Requests(parts=1000, wanted=1, silence_s=9)
    assert requests.take() is None
    requests.hear(position("a", 11, 1000), 0)
    assert take_all(requests) == list(range(11, 11 + WINDOW_PARTS))


def test_what_was_sent_is_sent_again_only_when_it_was_lost():
    """A follower that goes on is owed the new parts only; one that says `again` all that it wants."""
    requests = Requests(parts=100, wanted=1, silence_s=9)
    requests.hear(position("a", 1, 8), 0)
    assert take_all(requests) == [1, 2, 3, 4, 5, 6, 7, 8]
    requests.hear(position("a", 5, 12), 1)
    assert take_all(requests) == [9, 10, 11, 12]
    requests.hear(position("a", 7, 12, again=True), 2)
    assert take_all(requests) == [7, 8, 9, 10, 11, 12]


def test_followers_that_want_the_same_share_one_message():
    """What waits to be sent is sent once for all; a late one is owed the beginning."""
    requests = Requests(parts=100, wanted=1, silence_s=9)
    for name in ("a", "b", "c"):
        requests.hear(position(name, 1, 4), 0)
    assert take_all(requests) == [1, 2, 3, 4]
    requests.hear(position("late", 1, 2), 1)
    assert take_all(requests) == [1, 2]


def test_a_stream_is_over_when_all_that_were_wanted_are_through_or_silent():
    """Not without followers; who is silent is named, with the part that it wants."""
    requests = Requests(parts=10, wanted=2, silence_s=5)
    assert not requests.is_over(100)
    requests.hear(position("a", 11, 10), 100)
    assert not requests.is_over(100)
    requests.hear(position("b", 4, 10), 101)
    assert not requests.is_over(106) and requests.is_over(106.1)
    assert requests.left_behind() == {"run/b": 4}
    requests.hear(position("b", 11, 10), 107)
    assert requests.is_over(107) and requests.left_behind() == {}


@pytest.mark.parametrize("seed", range(20))
def test_every_part_arrives_once_and_in_order_over_a_bad_wire(seed):
    """Three followers, one of them late, a wire that loses, doubles and reorders: the same for each."""
    chance, parts = random.Random(seed), 60
    requests = Requests(parts, wanted=1, silence_s=1e9)
    windows = {name: Window(1, parts, size=WINDOW_PARTS) for name in "abc"}
    learned: dict[str, list[int]] = {name: [] for name in windows}
    for turn in range(100_000):
        for name, window in windows.items():
            if window.is_over or (name == "c" and turn < 200):
                continue
            if window.widen() or chance.random() < 0.1:
                requests.hear(position(name, window.next, window.until, again=chance.random() < 0.5), turn)
        number = requests.take()
        copies = chance.choice((0, 1, 1, 2)) if number else 0
        for name in list(windows) * copies:
            if chance.random() < 0.8:
                windows[name].put(number, number)
        for name, window in windows.items():
            while (content := window.pop()) is not None:
                learned[name].append(content)
        if all(window.is_over for window in windows.values()):
            break
    assert all(one == list(range(1, parts + 1)) for one in learned.values())
