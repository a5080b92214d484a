"""The gate of a stage: every rule of docs/rollouts.md, as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from deploy.rollouts.rollout_rules import Gate, Move, Plan, Stage, Tally, decide

GATE = Gate(max_failures=2.0, min_success=90.0, min_executed=1, soak_s=10.0, timeout_s=100.0)
WAIT, HOLD, ADVANCE, ABORT = Move.WAIT, Move.HOLD, Move.ADVANCE, Move.ABORT


@pytest.mark.parametrize(
    "good, failed, devices, elapsed_s, held_s, expected",
    [
        (0, 0, 100, 0, None, WAIT),
        (89, 0, 100, 50, None, WAIT),  # not enough run it
        (90, 0, 100, 50, None, HOLD),  # exactly enough
        (90, 2, 100, 50, None, HOLD),  # exactly at the limit of failures
        (90, 2, 100, 50, 9.9, HOLD),  # soaking
        (90, 2, 100, 50, 10.0, ADVANCE),
        (97, 3, 100, 50, 10.0, ABORT),  # above the limit, however many run it
        (0, 3, 100, 1, None, ABORT),  # can no longer stay within the limit: nobody waits
        (0, 2, 100, 99.9, None, WAIT),
        (98, 0, 100, 100, None, HOLD),  # two silent ones are two failures, exactly at the limit
        (97, 0, 100, 100, None, ABORT),  # three are too many
        (97, 0, 100, 100, 5.0, HOLD),  # the gate was met in time: the silent ones are carried on
        (89, 2, 100, 101, None, ABORT),  # one came back while it soaked, and the time is over
        (0, 0, 5, 99.9, None, WAIT),  # all offline: waits until the timeout
        (0, 0, 5, 100, None, ABORT),
        (0, 0, 0, 0, None, ADVANCE),  # nobody falls into the ring
        (1, 0, 1, 0, 10.0, ADVANCE),
        (0, 1, 1, 0, None, ABORT),
    ],
)
def test_the_gate(good, failed, devices, elapsed_s, held_s, expected):
    """2 % may fail, 90 % must run it, it must stay so for 10 s, who is silent for 100 s has failed."""
    assert decide(GATE, Tally(devices, good, failed), elapsed_s, held_s).move is expected


@pytest.mark.parametrize(
    "good, busy, elapsed_s, held_s, expected",
    [
        (95, 5, 50, None, WAIT),  # they may still fail
        (95, 0, 50, None, HOLD),  # the others have not begun
        (95, 5, 50, 3.0, HOLD),  # who comes later does not begin the soak anew
        (95, 5, 50, 10.0, ADVANCE),
        (98, 2, 100, None, HOLD),  # not ended in time is failed, exactly at the limit
        (97, 3, 100, None, ABORT),
    ],
)
def test_who_has_begun_is_heard_before_the_gate_is_met(good, busy, elapsed_s, held_s, expected):
    """Those that fail may need longer than those that do not."""
    assert decide(GATE, Tally(100, good, 0, busy), elapsed_s, held_s).move is expected


def test_the_reason_says_what_was_seen_and_what_was_allowed():
    """It ends up in the ledger, on the screen and on the broker."""
    assert decide(GATE, Tally(100, 97, 3), 5, 10).reason == "3 of 100 devices failed; at most 2 % may"
    silent = decide(GATE, Tally(100, 90, 2), 100, None).reason
    assert silent == "10 of 100 devices failed, 8 of them said nothing in 100 s; at most 2 % may"
    assert "nobody" in decide(GATE, Tally(0, 0, 0), 0, None).reason
    lax = Gate(max_failures=50.0, min_success=90.0)
    assert decide(lax, Tally(10, 0, 2), 5, None).reason == "2 of 10 devices failed; at least 90 % must run it"


def test_a_gate_needs_some_devices_that_have_ended():
    """Of a ring that is smaller, all of them."""
    gate = Gate(min_success=0.0, min_executed=3, soak_s=0.0)
    assert decide(gate, Tally(10, 2, 0), 0, None).move is WAIT
    assert decide(gate, Tally(10, 3, 0), 0, None).move is ADVANCE
    assert decide(gate, Tally(2, 2, 0), 0, None).move is ADVANCE


@pytest.mark.parametrize("percent, devices, failed", [(29, 100, 29), (0.1, 3000, 3), (2.9, 1000, 29)])
def test_exactly_at_the_threshold_passes_whatever_the_arithmetic(percent, devices, failed):
    """29 % of 100 is 28.999999999999996 in floating point."""
    gate = Gate(max_failures=percent, min_success=0.0, soak_s=0.0)
    assert decide(gate, Tally(devices, devices - failed, failed), 0, None).move is ADVANCE
    assert decide(gate, Tally(devices, devices - failed - 1, failed + 1), 0, None).move is ABORT


@given(
    some.integers(1, 500), some.data(), some.floats(0, 100).map(lambda one: round(one, 3)), some.booleans()
)
def test_no_gate_lets_too_many_failures_through(devices, data, limit, late):
    """Whatever the counts: who advances is within both limits, who aborts could not have met them."""
    failed = data.draw(some.integers(0, devices))
    good = data.draw(some.integers(0, devices - failed))
    gate = Gate(limit, 100 - limit, 1, 0.0, 100.0)
    decision = decide(gate, Tally(devices, good, failed), 100.0 if late else 0.0, None)
    if decision.move is ADVANCE:
        assert failed * 100 <= limit * devices + 1e-6 and good * 100 >= (100 - limit) * devices - 1e-6
    if decision.move is ABORT:
        assert (devices - good if late else failed) * 100 > limit * devices - 1e-6
    assert not (late and decision.move is WAIT)


def test_a_plan_begins_with_its_canaries():
    """Then the rings; it survives the ledger."""
    plan = Plan(("a", "b"), (5.0, 100.0), GATE, 3.0)
    assert plan.stages == (Stage(("a", "b")), Stage((), 5.0), Stage((), 100.0))
    assert [str(stage) for stage in plan.stages] == ["2 canaries", "5 %", "100 %"]
    assert str(Stage(("a",))) == "1 canary"
    assert Plan.from_json(plan.as_json()) == plan
