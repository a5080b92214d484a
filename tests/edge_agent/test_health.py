"""Promises of recovery.health: a fault shows by the answers, not by one of them."""

from contract.messages import Candidate, Problem
from edge_agent.events import Classified
from edge_agent.recovery.health import Health
from edge_agent.recovery.ladder import Kind

NAN = Problem("model_not_finite", "NaN")


def found(inference_ms: float) -> Classified:
    return Classified((Candidate("a", 0, 1.0),), 0.0, inference_ms, 0.0)


def test_three_errors_in_a_row_are_a_fault() -> None:
    """One good answer between them starts the count anew; a client's mistake does not count."""
    health = Health()
    results = [NAN, NAN, found(1), NAN, Problem("bad_image", "no"), NAN]
    assert [health.observe(result, 10, False) for result in results] == [None] * 6
    fault = health.observe(NAN, 10, False)
    assert fault is not None and (fault.kind, fault.why) == (Kind.WRONG, NAN)


def test_the_median_of_twenty_must_keep_to_the_gate() -> None:
    """A few slow ones are none; twenty of which more than half are slow, are."""
    health = Health()
    assert [health.observe(found(1), 10, False) for _ in range(10)] == [None] * 10
    told = [health.observe(found(11), 10, False) for _ in range(11)]
    assert told[:10] == [None] * 10
    assert told[10] is not None and (told[10].kind, told[10].why.code) == (Kind.SLOW, "model_slow")


def test_a_hot_chip_may_be_slow() -> None:
    """Its driver has lowered the clock."""
    health = Health()
    assert [health.observe(found(50), 10, True) for _ in range(30)] == [None] * 30


def test_what_was_before_a_recovery_is_forgotten() -> None:
    """Errors and latencies of the old interpreter say nothing about the new one."""
    health = Health()
    for result in [NAN, NAN, *[found(50)] * 19]:
        health.observe(result, 10, False)
    health.forget()
    assert health.observe(found(50), 10, False) is None and health.observe(NAN, 10, False) is None
