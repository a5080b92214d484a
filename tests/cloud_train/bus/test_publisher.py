"""The publisher alone: whom it waits for, whom it leaves behind, what it leaves on the broker."""

import pytest

from contract.codec import decode
from contract.training import DataInfo
from host_cli.errors import Unreachable
from host_mqtt.link import Link
from tests.cloud_train.bus.conftest import PATIENCE_S, TOPICS
from tests.cloud_train.bus.test_stream import make_stream


def test_when_nobody_follows_it_gives_up(bus):
    """And says how many came of those that were to come."""
    with pytest.raises(Unreachable, match="0 of 2 followers came"):
        bus.publish(make_stream(), wanted=2, timeout_s=1).result(PATIENCE_S)


def test_a_follower_that_is_gone_is_left_behind_and_named(bus):
    """With the part that it wanted; the others are through."""

    class Gone(Exception):
        """Ends a follower in the middle."""

    def leave(number, reader):
        if number == 10:
            raise Gone

    stream = make_stream()
    outcome = bus.publish(stream, wanted=2, timeout_s=2)
    with pytest.raises(Gone):
        bus.follow("gone", hook=leave).result(PATIENCE_S)
    bus.follow("other").result(PATIENCE_S)
    left = outcome.result(PATIENCE_S).left_behind
    assert list(left) == ["run/gone"] and left["run/gone"] <= 10


def test_the_description_is_retained_while_it_streams_and_gone_afterwards(bus):
    """Who comes later is not told of a stream that nobody sends."""
    stream = make_stream()

    def look():
        with Link(bus.address) as link:
            link.subscribe([TOPICS.data_info("quarters")])
            message = link.receive(0.3)
            return message.payload if message is not None and message.retained else b""

    seen = []
    outcome = bus.publish(stream)
    bus.follow(hook=lambda number, reader: seen.append(look()) if number == 5 else None).result(PATIENCE_S)
    outcome.result(PATIENCE_S)
    assert decode(DataInfo, seen[0]) == stream.info
    assert look() == b""
