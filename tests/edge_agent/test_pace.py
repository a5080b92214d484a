"""Promises of updates.pace: the cap, and the floor below which a link is left alone."""

import pytest

from edge_agent.updates.pace import FLOOR_BYTES_PER_S, Pace

KIB = 1024


def test_without_a_cap_nothing_waits():
    """The whole window may be asked for at any time."""
    pace = Pace(0, 0.0)
    pace.arrived(10**9, 1.0)
    assert pace.may_ask(1.0) and pace.window_bytes(KIB * KIB) == KIB * KIB


def test_with_a_cap_the_mean_rate_is_the_cap():
    """An hour of asking whenever it may, 16 KiB each."""
    pace, received, now_s = Pace(50_000, 0.0), 0, 0.0
    while now_s < 3600:
        if pace.may_ask(now_s):
            received += 16 * KIB
            pace.arrived(16 * KIB, now_s)
        now_s += 0.02
    assert 0.9 <= received / (3600 * 50_000) <= 1.001
    assert pace.window_bytes(KIB * KIB) == 50_000


def test_a_link_below_the_floor_is_left_alone_for_longer_each_time():
    """Something comes, but too slowly: 1, 2, 4 ... minutes, an hour at most."""
    pace, now_s, pauses = Pace(0, 0.0), 0.0, []
    for _ in range(8):
        pace.rest(now_s)
        pace.arrived(3000, now_s + 30)
        now_s += 61
        assert pace.look(now_s, is_clogged=True) and pace.is_slow
        pause_s = next(pause for pause in range(4000) if pace.may_ask(now_s + pause))
        pauses.append(pause_s)
        now_s += pause_s
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_a_minute_above_the_floor_forgets_the_pauses():
    """The link has recovered."""
    pace = Pace(0, 0.0)
    assert pace.look(60.0, is_clogged=True)
    pace.arrived(int(FLOOR_BYTES_PER_S * 61), 150.0)
    assert not pace.look(120.5, is_clogged=True) and not pace.is_slow
    assert pace.look(180.6, is_clogged=True) and pace.may_ask(180.6 + 60)


@pytest.mark.parametrize("is_clogged", [True, False])
def test_when_little_comes_the_broker_is_asked_whether_the_link_is_to_blame(is_clogged):
    """If it answers, it does not have what is wanted; if it owes the answer, the link is full."""
    pace = Pace(0, 0.0)
    pace.arrived(3000, 30.0)
    assert pace.look(60.0, is_clogged) is is_clogged


def test_a_cap_below_the_floor_is_no_slow_link():
    """Somebody wants it so."""
    pace = Pace(100, 0.0)
    pace.arrived(3300, 30.0)
    assert not pace.look(60.0, is_clogged=True)
