"""Promises of outgoing.publisher: numbers without gaps, and what is retained of a source."""

from dataclasses import replace
from typing import Any, List, Optional

import pytest

from contract.codec import decode
from contract.messages import NOT_PUBLISHED, Prediction
from contract.topics import Topics
from edge_agent.config import AgentConfig
from edge_agent.events import ARRAY, IMAGE, InferenceAsked
from edge_agent.outgoing.publisher import MAX_IMAGE_BYTES, Publisher
from edge_agent.source_config import SourceConfig
from tests.edge_agent.test_publish_modes import predict
from tests.fakes.board import DEVICE, FakeClock
from tests.fakes.broker import FakeBroker, FakeLink

STATE = Topics().state(DEVICE, "door")
IMAGES = Topics().image(DEVICE, "door")


class Door:
    """A source, its publisher, and what became of its predictions."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker()
        self.kept: List[Prediction] = []
        self.publisher = Publisher(
            self.configure(**settings), link=FakeLink(self.broker), clock=self.clock, keep=self.kept.append
        )

    @staticmethod
    def configure(**settings: Any) -> AgentConfig:
        source = SourceConfig(kind="camera", device="videotestsrc", **settings)
        return AgentConfig(DEVICE, "/nowhere", "unused", sources={"door": source})

    def see(
        self,
        label: str,
        score: float = 0.5,
        picture: bytes = b"jpeg",
        kind: str = IMAGE,
        source: str = "door",
    ) -> Prediction:
        """Make a prediction as the predictor does, and return what its asker gets."""
        found = replace(predict(label, score), source=source, id=self.clock.new_id(), seq=NOT_PUBLISHED)
        asked = InferenceAsked(kind, picture, source, 0, lambda _result: None)
        return self.publisher.publish(found, asked)

    def pass_time(self, seconds: float) -> None:
        self.clock.monotonic += seconds
        self.publisher.tick()

    @property
    def numbers(self) -> List[int]:
        return [each.seq for each in self.kept]

    @property
    def states(self) -> List[str]:
        return [decode(Prediction, payload).label for payload in self.told(STATE)]

    def told(self, topic: str) -> List[bytes]:
        return [payload for published, payload in self.broker.published if published == topic]


def test_what_is_published_is_what_the_asker_gets() -> None:
    """The same document, numbered from 1 for each source."""
    door = Door()
    answers = [door.see("cat"), door.see("cat"), door.see("cat", source="http")]
    assert answers == door.kept
    assert [(each.source, each.seq) for each in door.kept] == [("door", 1), ("door", 2), ("http", 1)]


def test_what_is_held_back_takes_no_number() -> None:
    """A gap would be a loss; its asker gets it, and sees that it was not published."""
    door = Door(publish="on-change")
    answers = [door.see(label) for label in ("cat", "cat", "cat", "dog")]
    assert [each.seq for each in answers] == [1, NOT_PUBLISHED, NOT_PUBLISHED, 2]
    assert door.numbers == [1, 2]


def test_a_held_prediction_is_published_when_its_time_has_come() -> None:
    """Nobody has to ask again; it gets its number then, and keeps its id."""
    door = Door(publish="rate-limited", min_interval_s=10)
    door.see("cat")
    held = [door.see("cat"), door.see("dog")]
    door.pass_time(9)
    assert door.numbers == [1]
    door.pass_time(1)
    assert door.numbers == [1, 2] and door.kept[1].id == held[1].id


def test_a_window_that_is_over_does_not_take_what_comes_after_it() -> None:
    """Even if the loop was late."""
    door = Door(publish="aggregate", window_s=10)
    door.see("cat")
    door.clock.monotonic += 11
    door.see("dog", 0.9)
    assert [each.label for each in door.kept] == ["cat"]


def test_an_unsure_prediction_is_not_published_at_all() -> None:
    """Neither as an event nor as state; its asker gets it."""
    door = Door(min_score=0.6)
    answer = door.see("cat", 0.59)
    assert (answer.seq, answer.label) == (NOT_PUBLISHED, "cat")
    assert (door.kept, door.states) == ([], [])
    door.see("cat", 0.6)
    assert door.numbers == [1]


def test_what_is_held_is_published_before_the_end() -> None:
    """Nothing that was promised is lost at a stop."""
    door = Door(publish="aggregate")
    door.see("cat")
    door.publisher.flush()
    assert door.numbers == [1]


def test_rules_may_change_while_the_agent_runs() -> None:
    """What was held goes out, the numbers go on, other sources notice nothing."""
    door = Door(publish="aggregate")
    door.see("cat", source="http")
    door.see("cat")
    door.publisher.configure(door.configure(publish="on-change"))
    door.see("dog")
    door.see("dog")
    assert [(each.source, each.seq) for each in door.kept] == [("http", 1), ("door", 1), ("door", 2)]


def test_the_state_is_told_on_a_change_of_label_and_at_most_once_a_second() -> None:
    """The first at once; of several in a second only the newest, and nothing if it is as before again."""
    door = Door()
    door.see("cat")
    door.see("cat")
    assert door.states == ["cat"]
    door.see("dog")
    door.see("bird")
    assert door.states == ["cat"]
    door.pass_time(1)
    assert door.states == ["cat", "bird"]
    door.see("cat")
    door.see("bird")
    door.pass_time(1)
    assert door.states == ["cat", "bird"]


@pytest.mark.parametrize("publish", ["every", "aggregate"])
def test_the_state_does_not_wait_for_what_is_published(publish: str) -> None:
    """It is retained, with the number of the prediction if that has one."""
    door = Door(publish=publish)
    answer = door.see("cat")
    assert decode(Prediction, door.broker.retained[STATE]) == answer


def test_the_state_is_told_again_after_a_new_connection() -> None:
    """The link drops what is said while there is none."""
    door = Door()
    door.see("cat")
    door.broker.published.clear()
    door.publisher.connected()
    assert door.states == ["cat"]


@pytest.mark.parametrize(
    ("settings", "picture", "kind", "told"),
    [
        ({}, b"jpeg", IMAGE, None),
        ({"image": True}, b"jpeg", IMAGE, b"jpeg"),
        ({"image": True}, b"tensor", ARRAY, None),
        ({"image": True}, b"x" * MAX_IMAGE_BYTES, IMAGE, b"x" * MAX_IMAGE_BYTES),
        ({"image": True}, b"x" * (MAX_IMAGE_BYTES + 1), IMAGE, None),
    ],
)
def test_the_picture_is_published_only_if_that_is_wanted(
    settings: Any, picture: bytes, kind: str, told: Optional[bytes]
) -> None:
    """Off by default; never a tensor, never more than 64 KiB."""
    door = Door(**settings)
    door.see("cat", picture=picture, kind=kind)
    assert door.broker.retained.get(IMAGES) == told


def test_a_picture_is_published_at_most_every_5_seconds() -> None:
    """The newest."""
    door = Door(image=True)
    for picture in (b"1", b"2", b"3"):
        door.see("cat", picture=picture)
    door.pass_time(4.9)
    assert door.told(IMAGES) == [b"1"]
    door.pass_time(0.1)
    assert door.told(IMAGES) == [b"1", b"3"]
