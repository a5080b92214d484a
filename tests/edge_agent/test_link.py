"""Promises of edge_agent.link that a whole agent's stories do not show."""

import socket

from edge_agent.config import MqttConfig
from edge_agent.events import Connected, MessageArrived, SubscriptionAnswered
from edge_agent.link import Link
from edge_agent.mailbox import Mailbox

WITHIN_S = 10.0


def connect(config: MqttConfig, device: str, client_id: str = "") -> "tuple[Link, Mailbox]":
    mailbox = Mailbox(8)
    link = Link(config, device, mailbox, client_id)
    link.start()
    assert isinstance(mailbox.get(WITHIN_S), Connected)
    return link, mailbox


def cut(link: Link) -> None:
    """Take the network away without a goodbye."""
    link._stopping.set()
    link._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]


def test_only_the_device_itself_leaves_a_last_will(broker) -> None:
    """Whoever comes by another name may vanish without the device being called offline."""
    config = MqttConfig(port=broker())
    listener, heard = connect(config, "listener")
    listener.subscribe(["coral/+/status"])
    assert isinstance(heard.get(WITHIN_S), SubscriptionAnswered)
    guest, _ = connect(config, "visited", client_id="guest")
    device, _ = connect(config, "present")
    cut(guest)
    cut(device)
    first = heard.get(WITHIN_S)
    listener.stop()
    assert isinstance(first, MessageArrived)
    assert (first.topic, first.payload) == ("coral/present/status", b"offline")
