from dataclasses import replace

import pytest

from contract.messages import Candidate, DetectedObject
from edge_agent.config import SamplingConfig
from edge_agent.learning.sampling import Budget, Novelty, Spent, find_reason, measure_entropy
from tests.edge_agent.test_server import PREDICTION

CONFIG = SamplingConfig(confidence=0.5, margin=0.1, entropy=0.9)
DAY_S = 86_400.0
NOON_S = 20_000.5 * DAY_S


def predict(*scores, objects=()):
    top = tuple(Candidate(f"class {place}", place, score) for place, score in enumerate(scores))
    return replace(PREDICTION, top=top, objects=objects)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ((0.9, 0.05, 0.05), None),
        ((0.49, 0.3, 0.21), "confidence"),
        ((0.5, 0.3, 0.0), None),
        ((0.5, 0.41, 0.01), "margin"),
        ((0.5, 0.39, 0.0), None),
        ((0.5, 0.39, 0.3), "entropy"),
        ((0.6,), None),
        ((0.0, 0.0, 0.0), "confidence"),
        ((), None),
    ],
)
def test_a_hard_prediction_has_a_reason(scores, reason):
    """The first that holds; a model that saw nothing at all found nothing hard."""
    assert find_reason(CONFIG, predict(*scores)) == reason


def test_of_a_detector_only_the_confidence_counts():
    """A cat and a dog in one picture do not contradict each other."""
    objects = (DetectedObject("cat", 0, 0.9, (0.0, 0.0, 1.0, 1.0)),)
    assert find_reason(CONFIG, predict(0.9, 0.89, 0.88, objects=objects)) is None
    assert find_reason(CONFIG, predict(0.4, 0.3, objects=objects)) == "confidence"


def test_thresholds_of_0_and_1_turn_a_rule_off():
    """Nothing is below 0, nothing above 1."""
    config = SamplingConfig(confidence=0, margin=0, entropy=1)
    assert find_reason(config, predict(0.3, 0.3, 0.3)) is None


def test_entropy_is_between_0_and_1():
    """Whatever the number of labels and the sum of their scores."""
    assert measure_entropy(predict(0.2, 0.2, 0.2).top) == pytest.approx(1)
    assert measure_entropy(predict(0.7, 0.0, 0.0).top) == 0
    assert measure_entropy(predict(0.5, 0.5, 0.0).top) == pytest.approx(0.6309, abs=1e-4)
    assert measure_entropy(predict(0.0, 0.0).top) == measure_entropy(predict(0.4).top) == 0


def test_samples_keep_a_distance_in_time():
    """One at most per interval, counted from the one before."""
    novelty = Novelty(10)
    assert [novelty.is_time(now_s) for now_s in (0, 9.9, 10, 15, 20)] == [True, False, True, False, True]


def test_near_duplicates_are_left_out():
    """Up to five bits of difference are the same picture, also after others in between."""
    novelty = Novelty(0)
    assert novelty.is_new(0) and novelty.is_new(2**64 - 1)
    assert not novelty.is_new(0b11111)
    assert novelty.is_new(0b111111)


def spend(budget, size, now_s=NOON_S, is_synced=True, monotonic_s=0.0):
    return budget.spend(size, now_s=now_s, is_synced=is_synced, monotonic_s=monotonic_s)


def test_the_day_has_a_budget():
    """What does not fit any more is refused, what is smaller may still fit."""
    budget = Budget(1000, Spent(), 0)
    assert spend(budget, 600) and not spend(budget, 401) and spend(budget, 400)
    assert not spend(budget, 1)


def test_a_new_day_has_a_new_budget():
    """By the true date; a clock that goes back gives nothing."""
    budget = Budget(1000, Spent(), 0)
    assert spend(budget, 1000)
    assert not spend(budget, 1, NOON_S - DAY_S)
    assert spend(budget, 1000, NOON_S + DAY_S / 2)
    assert not spend(budget, 1, NOON_S + DAY_S)


def test_without_a_true_clock_a_day_is_24_hours():
    """Of running; the date that the board believes does not count."""
    budget = Budget(1000, Spent(), 50)
    assert spend(budget, 1000, 10.0, False, 60)
    assert not spend(budget, 1, 3 * DAY_S, False, 50 + DAY_S - 1)
    assert spend(budget, 1000, 10.0, False, 50 + DAY_S)


def test_setting_the_clock_gives_nothing():
    """What was spent in 1970 counts for the day that the clock then shows."""
    budget = Budget(1000, Spent(), 0)
    assert spend(budget, 900, 10.0, False)
    assert not spend(budget, 200)
    assert spend(budget, 1000, NOON_S + DAY_S)


def test_a_date_far_ahead_does_not_end_sampling():
    """After 24 hours there is a new budget, whatever the day was taken for."""
    budget = Budget(1000, Spent(), 0)
    assert spend(budget, 1000, NOON_S + 9999 * DAY_S)
    assert spend(budget, 1000, NOON_S, True, DAY_S)


def test_a_restart_gives_nothing():
    """What is kept runs ahead by at most a sixteenth, so that few writes do."""
    budget = Budget(1600, Spent(), 0)
    kept = set()
    for _ in range(150):
        assert spend(budget, 10)
        kept.add(budget.kept)
    assert len(kept) == 15 and budget.kept == Spent(20_000, 1500)
    again = Budget(1600, budget.kept, 0)
    assert spend(again, 100) and not spend(again, 1)
    assert spend(Budget(1600, budget.kept, 0), 1600, NOON_S + DAY_S)
