"""Promises of learning.sampler, with a fake clock and a worker that is this test."""

from dataclasses import replace

import pytest

from contract.learning import Feedback
from contract.messages import Candidate, Problem
from edge_agent.config import AgentConfig, SamplingConfig
from edge_agent.events import IMAGE, InferenceAsked, Sampled, WorkerSampled
from edge_agent.learning.sampler import Sampler
from edge_agent.tally import Tally
from tests.edge_agent.test_server import PREDICTION
from tests.fakes.board import BOOT, FakeClock

HARD = (Candidate("cat", 0, 0.4), Candidate("dog", 1, 0.3))
PICTURE = b"\xff\xd8\xffpicture"
ASKED = InferenceAsked(IMAGE, PICTURE, "http", 0.0, lambda _result: None)


class Room:
    """A sampler, and what comes out of it."""

    def __init__(self, folder, **changes):
        self.config = SamplingConfig(**{"enabled": True, "bytes_per_day": 100, **changes})
        self.folder = folder
        self.clock = FakeClock()
        self.restart()

    def restart(self):
        self.samples, self.asked = [], []
        self.tally = Tally(self.clock.monotonic_s)
        config = AgentConfig("board", str(self.folder), "unused", sampling=self.config)
        self.sampler = Sampler(
            config,
            boot=BOOT,
            clock=self.clock,
            tally=self.tally,
            prepare=lambda seen, key: self.asked.append((seen, key)),
            keep=self.samples.append,
        )

    def answer(self, number=0, top=HARD, passing_s=60.0):
        """Somebody asks with a picture and gets an answer; return its prediction."""
        self.clock.monotonic += passing_s
        prediction = replace(PREDICTION, id=f"{number:026d}", top=top, label=top[0].label, score=top[0].score)
        self.sampler.see(ASKED, prediction)
        return prediction

    def prepare(self, likeness=0, data=PICTURE, found=True):
        """The worker makes ready what it was asked for last."""
        sampled = Sampled(likeness, "image/jpeg", data) if found else None
        self.sampler.sampled(WorkerSampled(1, self.asked[-1][1], sampled))


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path)


def test_a_hard_input_becomes_a_sample(room):
    """With what the model thought, why it was picked, and the bytes that the worker made ready."""
    prediction = room.answer(7)
    assert room.asked[0][0].payload == PICTURE
    room.prepare(data=b"small")
    (sample,) = room.samples
    assert (sample.prediction, sample.reason, sample.true_label) == (prediction.id, "confidence", None)
    assert (sample.label, sample.score, sample.data) == ("cat", 0.4, b"small")
    assert room.tally.samples == {"confidence": 1}


def test_an_easy_input_is_left_alone(room):
    """So is a problem, and so is everything while sampling is off."""
    room.answer(top=(Candidate("cat", 0, 0.99),))
    room.sampler.see(ASKED, Problem("bad_image", "it is none"))
    room.sampler.configure(AgentConfig("board", "x", "unused"))
    room.answer()
    assert room.asked == []


def test_samples_keep_their_distance(room):
    """One at most in ten seconds, and none that looks like another."""
    room.answer(1)
    room.prepare(likeness=0)
    room.answer(2, passing_s=9.0)
    assert len(room.asked) == 1
    room.answer(3)
    room.prepare(likeness=1)
    room.answer(4)
    room.prepare(likeness=2**40 - 1)
    assert [sample.prediction[-1] for sample in room.samples] == ["1", "4"]


def test_the_budget_outlives_a_restart(room):
    """100 bytes a day: two samples of 48, none after a restart, one tomorrow."""
    for number, restarts in ((1, False), (2, False), (3, True)):
        if restarts:
            room.restart()
        room.answer(number)
        room.prepare(likeness=(2**20 - 1) << (20 * number), data=bytes(48))
    assert room.samples == [] and room.tally.samples == {}
    room.clock.now += 86_400
    room.answer(4)
    room.prepare(likeness=2**10 - 1, data=bytes(48))
    assert len(room.samples) == 1


def test_a_damaged_budget_is_begun_anew(room, caplog):
    """It is told, and nothing else goes wrong."""
    (room.folder / "sampling.json").write_bytes(b"{")
    room.restart()
    assert "sampling.json is not used" in caplog.text
    room.answer()
    room.prepare()
    assert len(room.samples) == 1


def test_disagreement_is_a_reason_of_its_own(room):
    """Another model saw something else in an input that the main one found easy."""
    easy = room.answer(top=(Candidate("cat", 0, 0.99),))
    room.sampler.disagreed(easy)
    room.prepare()
    assert room.samples[0].reason == "disagreement"
    room.sampler.disagreed(replace(easy, id="0" * 25 + "9"))
    assert len(room.asked) == 1


def test_a_wrong_answer_becomes_a_sample(room):
    """With the true label, also one that the model does not know; the budget does not count here."""
    room.config = SamplingConfig(bytes_per_day=0)
    room.restart()
    prediction = room.answer(1)
    room.sampler.hear(Feedback(prediction.id, "ferret"))
    room.prepare()
    (sample,) = room.samples
    assert (sample.reason, sample.label, sample.true_label) == ("feedback", "cat", "ferret")
    assert room.tally.feedback == {"right": 0, "wrong": 1, "unknown": 0}


def test_a_right_answer_is_only_counted(room):
    """And judged once: the second word about it is about nothing that is remembered."""
    prediction = room.answer(1, top=(Candidate("cat", 0, 0.99),))
    for _ in range(2):
        room.sampler.hear(Feedback(prediction.id, "cat"))
    assert room.asked == [] and room.tally.feedback == {"right": 1, "wrong": 0, "unknown": 1}


def test_what_cannot_be_made_ready_is_no_sample(room):
    """It costs nothing of the budget; an answer that nobody waits for is ignored."""
    room.answer(1)
    room.prepare(found=False)
    room.prepare()
    assert room.samples == []


def test_workers_that_die_leave_nothing_behind(room):
    """Only as many of the newest inputs as are remembered wait for them."""
    room.config = SamplingConfig(enabled=True, remember_inputs=8)
    room.restart()
    for number in range(30):
        room.answer(number)
    assert len(room.sampler._pending) == 8
    assert room.sampler._pending_bytes == 8 * len(PICTURE)


def test_what_is_judged_in_one_go_is_sent_whole(room):
    """A person goes through the newest pictures and corrects them all; the worker comes after that."""
    predictions = [room.answer(number, top=(Candidate("cat", 0, 0.99),)) for number in range(20)]
    for prediction in predictions:
        room.sampler.hear(Feedback(prediction.id, "dog"))
    for _seen, key in room.asked:
        room.sampler.sampled(WorkerSampled(1, key, Sampled(0, "image/jpeg", PICTURE)))
    assert [sample.prediction for sample in room.samples] == [each.id for each in predictions]
    assert room.sampler._pending_bytes == 0
