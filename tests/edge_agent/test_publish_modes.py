"""Promises of outgoing.publish_modes: rules that are told the time."""

from typing import List, Optional

import pytest

from contract.messages import Candidate, DetectedObject, Latency, ModelVersion, Prediction
from edge_agent.outgoing.publish_modes import Mode, build_mode, labels_of
from edge_agent.source_config import SourceConfig

BOX = (0.0, 0.0, 1.0, 1.0)


def predict(label: str, score: float = 0.5, objects: "tuple[str, ...]" = ()) -> Prediction:
    return Prediction(
        id="01JD8Z6M5T3Q0E9W2K7R4C1XAC",
        device="board-a",
        boot="01JD8Z6M5T3Q0E9W2K7R4C1XAB",
        source="door",
        seq=1,
        ts="2026-11-21T03:20:00.123Z",
        label=label,
        label_id=0,
        score=score,
        top=(Candidate(label, 0, score),),
        model=ModelVersion("m", "1", "9f" * 32),
        backend="cpu",
        degraded=None,
        latency_ms=Latency(0, 0, 0, 0, 0),
        objects=tuple(DetectedObject(each, 0, 0.5, BOX) for each in objects),
    )


def tell(mode: Mode, now_s: float, prediction: Optional[Prediction] = None) -> "tuple[str, float] | None":
    """Put a prediction if there is one; return the label and score that are published then."""
    if prediction is not None:
        mode.put(prediction)
    found = mode.take(now_s)
    return (found.label, found.score) if found else None


def build(publish: str, **settings: float) -> Mode:
    return build_mode(SourceConfig(publish=publish, **settings))  # type: ignore[arg-type]


def test_every_prediction_is_published_at_once() -> None:
    """The default."""
    mode = build("every")
    assert [tell(mode, 0, predict("cat", score)) for score in (0.1, 0.2)] == [("cat", 0.1), ("cat", 0.2)]
    assert tell(mode, 1) is None


def test_on_change_publishes_the_first_and_each_other_label() -> None:
    """What is the same as before is not news."""
    mode = build("on-change")
    said = [tell(mode, 0, predict(label)) for label in ("cat", "cat", "dog", "dog", "cat")]
    assert [each and each[0] for each in said] == ["cat", None, "dog", None, "cat"]


def test_a_detector_changes_when_the_set_of_its_labels_does() -> None:
    """Neither their order nor their number counts, nor which is the surest."""
    mode = build("on-change")
    seen = [("car", "dog"), ("dog", "car", "car"), ("dog",), ()]
    said = [tell(mode, 0, predict(each[0] if each else "", objects=each)) for each in seen]
    assert [each is not None for each in said] == [True, False, True, True]


def test_rate_limited_publishes_the_newest_when_the_interval_is_over() -> None:
    """The first at once, then one per interval; a held one goes out without another that pushes it."""
    mode = build("rate-limited", min_interval_s=10)
    assert tell(mode, 100, predict("cat", 0.1)) == ("cat", 0.1)
    assert tell(mode, 103, predict("cat", 0.2)) is None
    assert tell(mode, 109, predict("cat", 0.3)) is None
    assert tell(mode, 109.9) is None
    assert tell(mode, 110) == ("cat", 0.3)
    assert tell(mode, 130) is None


def test_an_aggregate_is_the_best_of_its_window() -> None:
    """With what else was seen in it; the window begins with its first prediction."""
    mode = build("aggregate", window_s=60)
    for now_s, (label, score) in enumerate([("cat", 0.4), ("dog", 0.9), ("cat", 0.8)], 1000):
        assert tell(mode, now_s, predict(label, score)) is None
    assert tell(mode, 1059.9) is None
    mode_said = mode.take(1060)
    assert mode_said is not None and (mode_said.label, mode_said.score) == ("dog", 0.9)
    assert mode_said.window is not None
    assert mode_said.window.predictions == 3 and mode_said.window.seconds == 60
    assert mode_said.window.labels == {"cat": 2, "dog": 1}
    assert tell(mode, 5000) is None


def test_each_window_counts_anew() -> None:
    """Nothing of the one before is left in it."""
    mode = build("aggregate", window_s=10)
    tell(mode, 0, predict("cat", 0.9))
    assert tell(mode, 10) == ("cat", 0.9)
    tell(mode, 50, predict("dog", 0.2))
    assert tell(mode, 59) is None
    second = mode.take(60)
    assert second is not None and second.window is not None
    assert (second.window.predictions, second.window.labels) == (1, {"dog": 1})


def test_a_window_has_the_64_labels_that_were_seen_most() -> None:
    """And an empty picture is no label."""
    mode = build("aggregate", window_s=1)
    labels: List[str] = [f"label {number}" for number in range(80)] + ["label 79", ""]
    for label in labels:
        mode.put(predict(label))
    mode.take(0)
    found = mode.take(2)
    assert found is not None and found.window is not None
    assert len(found.window.labels) == 64 and found.window.labels["label 79"] == 2
    assert "" not in found.window.labels and found.window.predictions == 82


@pytest.mark.parametrize("publish", ["rate-limited", "aggregate"])
def test_what_is_held_is_not_lost_at_the_end(publish: str) -> None:
    """The last chance to publish is taken."""
    mode = build(publish)
    tell(mode, 0, predict("cat"))
    mode.put(predict("dog", 0.9))
    found = mode.take(0.01, is_last=True)
    assert found is not None and found.label == "dog"
    assert mode.take(0.02, is_last=True) is None


def test_labels_are_those_of_the_objects() -> None:
    """Without objects it is the one label."""
    assert labels_of(predict("cat")) == ("cat",)
    assert labels_of(predict("cat", objects=("dog", "cat", "dog"))) == ("cat", "dog")
