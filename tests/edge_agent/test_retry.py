"""Promises of updates.retry: pauses that grow, and which failures are not the release's own."""

from contract.messages import Problem
from edge_agent.updates.retry import Retry, is_temporary, pause_after_s, uses_no_attempt


def test_pauses_grow_from_ten_seconds_to_an_hour():
    """Each up to a half longer or shorter, so that a fleet does not move in step."""
    retry = Retry()
    pauses = [retry.next_pause_s() for _ in range(12)]
    wanted = [min(10 * 2**turn, 3600) for turn in range(12)]
    assert all(0.5 * want <= pause <= 1.5 * want for pause, want in zip(pauses, wanted))
    retry.reset()
    assert retry.next_pause_s() <= 15


def test_an_edge_tpu_is_looked_for_every_five_minutes():
    """Somebody has to plug it in; that takes as long the tenth time as the first."""
    retry = Retry()
    assert all(150 <= retry.next_pause_s(Problem("edgetpu_absent", "x")) <= 450 for _ in range(20))


def test_what_is_not_the_releases_fault_does_not_end_it():
    """What it needs is not there; of these, another model's crash counts as a try."""
    codes = ("edgetpu_absent", "worker_not_started", "worker_shared", "worker_died", "edgetpu_runtime_old")
    found = [(is_temporary(Problem(code, "x")), uses_no_attempt(Problem(code, "x"))) for code in codes]
    assert found == [(True, True), (True, True), (True, False), (False, False), (False, False)]


def test_the_more_often_a_board_went_down_the_longer_it_lives_first():
    """The first try comes at once."""
    assert [pause_after_s(attempts) for attempts in range(4)] == [0, 10, 30, 70]
