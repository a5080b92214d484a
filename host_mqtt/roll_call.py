"""Reads what the broker remembers: subscribes, then waits until a marker of our own comes back."""

import os
from collections.abc import Iterable, Iterator

from contract.topics import Topics
from host_mqtt.link import Link, Message

SILENCE_S = 5.0
_MARKER_BYTES = 8


def remembered(link: Link, topics: Topics, filters: Iterable[str]) -> Iterator[Message]:
    """Subscribe, and yield every message until all retained ones have come.

    A broker sends one subscriber its QoS 1 messages in order, so what it remembered comes before a marker
    that is published after the subscription. The subscription stays.

    Raises:
        Unreachable: the broker does not answer.
    """
    marker = topics.client("deploy-" + os.urandom(_MARKER_BYTES).hex())
    link.subscribe([*filters, marker])
    link.publish(marker, b"here")
    while (message := link.receive(SILENCE_S)) is not None and message.topic != marker:
        yield message
