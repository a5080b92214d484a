"""Promises of updates.trial: what a release on trial may do, and what ends it."""

from dataclasses import replace

import pytest

from contract.manifest import Rollout, SelfTest
from contract.messages import Candidate, Problem
from edge_agent.errors import ModelError
from edge_agent.events import Classified
from edge_agent.updates.trial import Observed, Trial, require_good
from tests.fakes.board import GOOD
from tests.fakes.publisher import Publisher

MIB = 1024 * 1024
NAN = Problem("model_not_finite", "the model answered NaN")


def answer(inference_ms=10.0, score=0.9):
    return Classified((Candidate("a", 0, score),), 0.1, inference_ms, 0.1)


def begin(before=(), p95_ms=1000.0, **rollout):
    """Return a trial of a minute after a model that gave these answers."""
    manifest = Publisher().manifest(
        rollout=Rollout("r", soak_s=60.0, **rollout), selftest=SelfTest(p95_ms=p95_ms)
    )
    observed = Observed()
    for found in before:
        observed.add(found)
    return Trial(manifest, observed, 1000.0)


def see(trial, answers, is_hot=False):
    """Return the code of the first thing that is wrong, and after how many answers."""
    for number, found in enumerate(answers, 1):
        problem = trial.observe(found, is_hot)
        if problem is not None:
            return problem.code, number
    return None


def test_a_trial_lasts_as_long_as_its_release_says():
    """By a clock that never jumps."""
    assert begin().until_s == 1060.0


def test_what_does_as_well_as_before_passes():
    """A hundred answers, a little slower, a little less sure, one failure."""
    trial = begin([answer()] * 100)
    worse = answer(inference_ms=20.0, score=0.7)
    assert see(trial, [worse] * 50 + [NAN] + [worse] * 100) is None


@pytest.mark.parametrize("failures", [0, 2])
def test_as_many_failures_of_its_process_are_tolerated_as_the_release_says(failures):
    """And not one more."""
    trial = begin(max_failures=failures)
    assert [trial.tolerates_failure() for _ in range(failures + 1)] == [True] * failures + [False]


def test_three_errors_in_a_row_are_too_many():
    """At once: nobody waits for a statistic when nothing works."""
    assert see(begin(), [answer(), NAN, NAN, answer(), NAN, NAN, NAN]) == ("trial_errors", 7)


def test_one_error_in_ten_is_too_many():
    """Though never three in a row; said as soon as there are enough answers."""
    assert see(begin(), ([NAN] + [answer()] * 9) * 10) == ("trial_errors", 21)


def test_a_bad_picture_is_no_error_of_the_model():
    """Whoever may ask could otherwise stop every release."""
    assert see(begin(), [Problem("bad_image", "no picture")] * 100) is None


def test_slower_than_its_own_gate_ends_it():
    """Half of the newest answers count, as soon as there are 20."""
    assert see(begin(p95_ms=50.0), [answer(inference_ms=51.0)] * 100) == ("trial_slow", 20)
    assert see(begin(p95_ms=50.0), [answer(inference_ms=49.0), answer(inference_ms=500.0)] * 50) is not None
    assert (
        see(begin(p95_ms=50.0), [answer(inference_ms=49.0)] * 60 + [answer(inference_ms=500.0)] * 40) is None
    )


def test_five_times_as_slow_as_before_ends_it():
    """Though within the gate; not without anything to compare with."""
    slow = [answer(inference_ms=51.0)] * 100
    assert see(begin([answer()] * 20), slow) == ("trial_slow", 20)
    assert see(begin([answer()] * 19), slow) is None


def test_of_tiny_models_nobody_measures_the_noise():
    """0.1 ms before, 4 ms now: no one notices."""
    assert see(begin([answer(inference_ms=0.1)] * 100), [answer(inference_ms=4.0)] * 100) is None


def test_a_hot_chip_is_slow_without_being_to_blame():
    """It rests between inferences."""
    assert see(begin(p95_ms=50.0), [answer(inference_ms=51.0)] * 100, is_hot=True) is None


@pytest.mark.parametrize(("before", "now"), [(0.9, 0.5), (0.5, 0.9)])
def test_another_confidence_than_before_ends_it(before, now):
    """Unsure of everything, or sure of everything: both are signs of a broken model."""
    trial = begin([answer(score=before)] * 50)
    assert see(trial, [answer(score=now)] * 100) == ("trial_confidence", 50)


def test_too_few_answers_say_nothing_about_confidence():
    """A few other pictures are no other model; and a model with raw outputs is never sure."""
    assert see(begin([answer(score=0.9)] * 49), [answer(score=0.1)] * 100) is None
    raw = Classified((), 0.1, 10.0, 0.1)
    assert see(begin([answer()] * 100), [raw] * 100) is None


def test_a_process_that_grows_by_a_hundred_megabytes_ends_it():
    """Counted from the first look; a new process is counted anew, an unknown size is none."""
    trial = begin()
    assert [trial.weigh(size * MIB) for size in (0, 80, 180)] == [None] * 3
    assert trial.weigh(181 * MIB).code == "trial_memory"
    trial.weigh_anew()
    assert trial.weigh(400 * MIB) is None


def test_golden_samples_at_the_gates_pass():
    """A gate is the worst that is allowed."""
    gates = SelfTest(min_top1=1.0, max_lsb=1, p95_ms=3.0)
    require_good(GOOD, gates)
    for worse in (replace(GOOD, top1_agreement=0.99), replace(GOOD, max_lsb=2), replace(GOOD, p95_ms=3.1)):
        with pytest.raises(ModelError, match="beyond the gate"):
            require_good(worse, gates)
