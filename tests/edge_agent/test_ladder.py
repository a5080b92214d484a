"""Promises of recovery.ladder: each step in its turn, within its budget, at its time."""

import pytest

from contract.messages import Problem
from edge_agent.recovery.ladder import BUDGETS, Kind, Ladder, Rung

HUNG = Problem("worker_hung", "it hangs")


def climb(ladder: Ladder, kind: Kind, times: int, why: Problem = HUNG, has_edgetpu: bool = True):
    """Return the steps after this many faults in the same second."""
    return [ladder.next(kind, why, 1000.0, has_edgetpu) for _ in range(times)]


def rungs_of(steps):
    return list(dict.fromkeys(step.rung for step in steps))


def test_nonsense_climbs_every_rung() -> None:
    """From the one that disturbs least to the one that stops everything; then it waits."""
    ladder = Ladder()
    ladder.worked()
    assert rungs_of(climb(ladder, Kind.WRONG, 10)) == list(Rung)


def test_a_lost_process_is_replaced_first() -> None:
    """There is nothing left in which something could be loaded again."""
    ladder = Ladder()
    ladder.worked()
    assert rungs_of(climb(ladder, Kind.LOST, 10)) == list(Rung)[2:]


def test_without_an_edge_tpu_there_is_neither_delegate_nor_device() -> None:
    """Those steps are left out."""
    ladder = Ladder()
    ladder.worked()
    left_out = {Rung.RELOAD_DELEGATE, Rung.RESET_DEVICE}
    assert set(rungs_of(climb(ladder, Kind.WRONG, 10, has_edgetpu=False))) == set(Rung) - left_out


def test_what_is_only_slow_never_stops_the_service() -> None:
    """Slow answers are answers."""
    ladder = Ladder()
    ladder.worked()
    assert Rung.RESTART_SERVICE not in rungs_of(climb(ladder, Kind.SLOW, 10))


def test_a_service_in_which_it_never_worked_is_not_restarted() -> None:
    """It would start into the same again."""
    assert Rung.RESTART_SERVICE not in rungs_of(climb(Ladder(), Kind.LOST, 10))


def test_what_a_request_did_is_forgiven() -> None:
    """It uses up no try; with nothing tried there is nothing to forgive."""
    ladder = Ladder()
    ladder.worked()
    ladder.forgive()
    for _ in range(20):
        assert ladder.next(Kind.LOST, HUNG, 1000.0, True).rung is Rung.RESTART_WORKER
        ladder.forgive()


def test_a_model_on_probation_does_not_restart_the_service() -> None:
    """The others would stop with it."""
    ladder = Ladder(may_restart_service=False)
    ladder.worked()
    assert Rung.RESTART_SERVICE not in rungs_of(climb(ladder, Kind.LOST, 10))


def test_the_service_is_not_restarted_twice_in_an_hour() -> None:
    """Also not by the next process."""
    ladder = Ladder(service_restarted_s=999.0)
    ladder.worked()
    assert Rung.RESTART_SERVICE not in rungs_of(climb(ladder, Kind.LOST, 10))
    later = Ladder(service_restarted_s=1000.0 - BUDGETS[Rung.RESTART_SERVICE].window_s)
    later.worked()
    assert Rung.RESTART_SERVICE in rungs_of(climb(later, Kind.LOST, 10))


def test_a_fault_that_comes_back_late_starts_at_the_bottom() -> None:
    """A budget is full again when its window has passed."""
    ladder = Ladder()
    first = ladder.next(Kind.WRONG, HUNG, 0.0, True)
    second = ladder.next(Kind.WRONG, HUNG, BUDGETS[Rung.RELOAD_MODEL].window_s, True)
    assert first.rung is second.rung is Rung.RELOAD_MODEL


def test_pauses_grow_until_it_works() -> None:
    """The first restart is immediate, so is the first after a success."""
    ladder = Ladder()
    pauses = [step.due_s - step.seen_s for step in climb(ladder, Kind.LOST, 3)]
    assert pauses == [0.0, 0.5, 1.5]
    ladder.worked()
    step = climb(ladder, Kind.LOST, 1)[0]
    assert step.due_s == step.seen_s and step.why is HUNG


@pytest.mark.parametrize("code", ["edgetpu_absent", "edgetpu_owned", "edgetpu_no_right"])
def test_what_a_person_must_mend_is_only_looked_at_again(code: str) -> None:
    """Once a minute, for ever."""
    steps = climb(Ladder(), Kind.LOST, 5, Problem(code, "said"))
    assert {(step.rung, step.due_s - step.seen_s) for step in steps} == {(Rung.LOOK_AGAIN, 60.0)}


def test_a_dead_chip_is_reset() -> None:
    """Once; then it is looked at again."""
    assert rungs_of(climb(Ladder(), Kind.LOST, 3, Problem("edgetpu_dead", "cold"))) == [
        Rung.RESET_DEVICE,
        Rung.LOOK_AGAIN,
    ]


def test_a_damaged_file_resets_no_device() -> None:
    """The reason lies in the files: only the worker is tried again."""
    assert rungs_of(climb(Ladder(), Kind.LOST, 9, Problem("model_unreadable", "garbage"))) == [
        Rung.RESTART_WORKER,
        Rung.LOOK_AGAIN,
    ]


def test_a_model_that_cannot_be_loaded_for_a_week_is_tried_every_few_minutes() -> None:
    """What kept it from being loaded may have passed: no pause is longer than that of looking again."""
    ladder, now_s = Ladder(), 1000.0
    for _ in range(200):
        step = ladder.next(Kind.LOST, Problem("model_load", "no memory"), now_s, has_edgetpu=False)
        assert step.due_s - now_s <= 60.0
        now_s = step.due_s
