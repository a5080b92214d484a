"""Promises of inference.thermal: the chip rests before its driver makes it."""

import pytest

from edge_agent.inference import thermal


@pytest.mark.parametrize(
    ("celsius", "pause_s"),
    [(None, 0.0), (79.9, 0.0), (80.0, 0.04), (85.0, 0.1114), (90.0, 0.24), (99.0, 0.54)],
)
def test_the_hotter_the_longer_it_rests(celsius, pause_s) -> None:
    """After an inference of 60 ms; resting begins five degrees below the first trip point."""
    assert thermal.choose_pause_s(celsius, 0.06) == pytest.approx(pause_s, abs=1e-4)
    assert thermal.is_hot(celsius) is (pause_s > 0)


def test_a_rest_has_an_end() -> None:
    """Two seconds at most, however long the inference took."""
    assert thermal.choose_pause_s(99.0, 60.0) == 2.0


@pytest.mark.parametrize(
    ("celsius", "code"),
    [(None, None), (45.0, None), (-20.0, None), (82.0, "edgetpu_hot"), (-89.7, "edgetpu_dead")],
)
def test_the_temperature_is_a_problem_when_it_is_one(celsius, code) -> None:
    """Hot and dead chips are told; a board in a freezer is well."""
    problem = thermal.find_problem(celsius)
    assert (problem.code if problem else None) == code
    assert (thermal.find_death(celsius) is not None) is (code == "edgetpu_dead")
