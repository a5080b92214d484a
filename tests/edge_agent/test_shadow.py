"""Promises of learning.shadow: it is compared, within its budget, and nobody ever hears its answers."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from contract.messages import ModelVersion, Problem
from edge_agent.config import ShadowConfig
from edge_agent.events import IMAGE, InferenceAsked
from edge_agent.learning.shadow import Shadow
from tests.edge_agent.test_server import PREDICTION
from tests.fakes.board import FakeClock

SEEN = replace(PREDICTION, label="same")


class FakePredictor:
    """Keeps the questions; `version` is what it serves, None for nothing."""

    def __init__(self, version=None):
        self.queue_length = 0
        self.asked = []
        self.serve(version)

    def serve(self, version):
        """Serve another version from now on."""
        model = SimpleNamespace(version=ModelVersion("parts", version or "0", "ab" * 32))
        self.serving = SimpleNamespace(model=model) if version else None

    def ask(self, asked):
        self.asked.append(asked)

    def answer(self, label="same", total_ms=1.0):
        """Answer the oldest question."""
        latency = replace(PREDICTION.latency_ms, total=total_ms)
        found = replace(PREDICTION, label=label, model=self.serving.model.version, latency_ms=latency)
        self.asked.pop(0).answer(found)


class Stage:
    """A shadow beside a main model, with whatever budget."""

    def __init__(self, **budget):
        self.main, self.shadow = FakePredictor("1"), FakePredictor("2")
        self.clock, self.temperature_c, self.drawn = FakeClock(), 40.0, 0.0
        self.disagreements, self.told = [], []
        self.subject = Shadow(
            ShadowConfig("next", **{"share": 1.0, **budget}),
            main=self.main,
            shadow=self.shadow,
            clock=self.clock,
            read_temperature=lambda: self.temperature_c,
            on_disagreement=self.disagreements.append,
            draw=lambda: self.drawn,
        )

    def see(self, result=SEEN):
        """Let the main model answer a client."""
        asked = InferenceAsked(IMAGE, b"picture", "camera", 0.0, self.told.append)
        self.subject.watch(asked).answer(result)


@pytest.fixture
def stage():
    return Stage()


def counts(stage):
    """Return (version, compared, agreed, skipped)."""
    result = stage.subject.result
    return (result.version, result.compared, result.agreed, result.skipped)


def test_the_client_is_answered_first_and_by_the_main_model_alone(stage):
    """The shadow sees the same bytes, and its answer goes nowhere."""
    stage.see()
    assert [result.label for result in stage.told] == ["same"]
    question = stage.shadow.asked[0]
    assert (question.kind, question.payload, question.source) == (IMAGE, b"picture", "shadow")
    stage.shadow.answer("other")
    assert len(stage.told) == 1


def test_agreement_is_counted_and_disagreement_told(stage):
    """What the two see differently is worth learning from."""
    for label in ("same", "other", "same"):
        stage.see()
        stage.shadow.answer(label, total_ms=4.0)
    assert counts(stage) == ("2", 3, 2, 0)
    assert [prediction.label for prediction in stage.disagreements] == ["same"]
    assert stage.subject.result.p50_ms == 4.0


def test_only_a_share_of_the_inputs_is_shown(stage):
    """A quarter means that a draw below a quarter is shown."""
    stage = Stage(share=0.25)
    stage.drawn = 0.25
    stage.see()
    assert not stage.shadow.asked
    stage.drawn = 0.24
    stage.see()
    assert stage.shadow.asked


def test_an_input_is_skipped_while_it_is_busy_or_clients_wait_or_the_board_is_warm(stage):
    """The main model comes first."""
    stage.see()
    stage.see()
    assert len(stage.shadow.asked) == 1
    stage.shadow.answer()
    stage.main.queue_length = 1
    stage.see()
    stage.main.queue_length, stage.temperature_c = 0, 80.5
    stage.see()
    assert counts(stage) == ("2", 1, 1, 3)
    stage.temperature_c = None
    stage.see()
    assert stage.shadow.asked


def test_it_rests_for_a_minute_when_its_answers_take_too_long():
    """The budget is one of latency, too."""
    stage = Stage(max_latency_ms=50)
    stage.see()
    stage.shadow.answer(total_ms=51.0)
    stage.clock.monotonic += 59.0
    stage.see()
    assert counts(stage) == ("2", 1, 1, 1)
    stage.clock.monotonic += 2.0
    stage.see()
    assert stage.shadow.asked


def test_problems_and_a_model_that_is_not_there_harm_nobody(stage):
    """A failed main answer is not shown; a shadow that cannot take the input has skipped it."""
    stage.see(Problem("bad_image", "no picture"))
    stage.shadow.serve(None)
    stage.see()
    assert stage.subject.result is None and not stage.shadow.asked
    stage.shadow.serve("2")
    stage.see()
    stage.shadow.asked.pop().answer(Problem("bad_input", "other shape"))
    assert counts(stage) == ("2", 0, 0, 1)
    stage.see()
    assert stage.shadow.asked


def test_another_version_begins_at_zero(stage):
    """Figures of two models are never mixed."""
    stage.see()
    stage.shadow.answer()
    stage.see()
    question = stage.shadow.asked[0]
    stage.shadow.serve("3")
    question.answer(replace(PREDICTION, label="same", model=stage.shadow.serving.model.version))
    assert counts(stage) == ("2", 1, 1, 1)
    stage.see()
    assert counts(stage) == ("3", 0, 0, 0)
