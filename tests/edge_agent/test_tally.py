"""Promises of edge_agent.tally: every answer is counted, and a model that fails is not called ready."""

import pytest

from contract.messages import Problem
from edge_agent.tally import BUCKETS_S, Histogram, Tally
from tests.edge_agent.test_server import PREDICTION


class Fixture:
    """A tally and its clock."""

    def __init__(self):
        self.now_s = 0.0
        self.tally = Tally(lambda: self.now_s)

    def answer(self, result):
        self.tally.count("mqtt", result)


@pytest.fixture
def fixture():
    return Fixture()


def test_an_answer_is_counted(fixture):
    """By source, backend and result."""
    problem = Problem("bad_image", "no")
    fixture.answer(PREDICTION)
    fixture.answer(problem)
    assert fixture.tally.predictions == {("mqtt", "cpu", "ok"): 1, ("mqtt", "none", "bad_image"): 1}
    assert fixture.tally.total.sum_s == pytest.approx(0.001)
    assert fixture.tally.inference.sum_s == pytest.approx(0.0003)


def test_a_model_that_fails_is_remembered_until_it_answers(fixture):
    """And forgotten after half a minute, or nobody would ever ask it again."""
    problem = Problem("worker_lost", "it died")
    fixture.answer(problem)
    assert fixture.tally.model_problem() == problem
    fixture.answer(PREDICTION)
    assert fixture.tally.model_problem() is None
    fixture.answer(problem)
    fixture.now_s += 29
    assert fixture.tally.model_problem() == problem
    fixture.now_s += 2
    assert fixture.tally.model_problem() is None


@pytest.mark.parametrize(
    "code", ["bad_image", "bad_input", "bad_request", "busy", "no_model", "unknown_model"]
)
def test_a_clients_mistake_does_not_make_the_model_look_broken(fixture, code):
    """Or anybody could make a board look ill."""
    fixture.answer(Problem(code, "no"))
    assert fixture.tally.model_problem() is None


@pytest.mark.parametrize(("seconds", "place"), [(0, 0), (0.001, 0), (0.0011, 1), (10, 12), (10.1, 13)])
def test_a_bucket_holds_what_took_at_most_its_bound(seconds, place):
    """Bounds are included, as Prometheus' `le` says."""
    histogram = Histogram()
    histogram.observe(seconds)
    assert histogram.counts == [int(each == place) for each in range(len(BUCKETS_S) + 1)]
