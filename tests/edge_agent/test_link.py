"""Promises of edge_agent.link that a whole agent's stories do not show."""

import socket
import subprocess

import pytest

from edge_agent.config import MqttConfig
from edge_agent.events import Connected, Disconnected, MessageArrived, SubscriptionAnswered
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


@pytest.mark.parametrize("is_v5", [True, False])
def test_a_packet_that_is_too_large_is_not_taken_in(broker, is_v5: bool) -> None:
    """An MQTT 5 broker keeps it to itself; from an older one the connection is closed, and made anew."""
    port = broker()
    mailbox = Mailbox(8)
    link = Link(MqttConfig(port=port, reconnect_min_s=0.1), "board-a", mailbox)
    link._is_v5 = is_v5
    link.start()
    assert isinstance(mailbox.get(WITHIN_S), Connected)
    link.subscribe(["coral/board-a/infer"])
    assert isinstance(mailbox.get(WITHIN_S), SubscriptionAnswered)
    for size in (8 * 1024 * 1024, 5):
        command = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", "coral/board-a/infer", "-s"]
        subprocess.run(command, input=b"x" * size, check=True)
        if size > 5 and not is_v5:
            assert isinstance(mailbox.get(WITHIN_S), Disconnected)
            assert isinstance(mailbox.get(WITHIN_S), Connected)
            link.subscribe(["coral/board-a/infer"])
            assert isinstance(mailbox.get(WITHIN_S), SubscriptionAnswered)
    message = mailbox.get(WITHIN_S)
    link.stop()
    assert isinstance(message, MessageArrived) and message.payload == b"xxxxx"


def test_who_goes_on_purpose_is_not_called_lost(broker) -> None:
    """The broker hears the goodbye whole, however much is said just before: it does not use the last will."""
    config = MqttConfig(port=broker())
    for turn in range(5):
        listener, heard = connect(config, "listener")
        listener.subscribe(["coral/#"])
        assert isinstance(heard.get(WITHIN_S), SubscriptionAnswered)
        device, _ = connect(config, "board-a")
        for number in range(5):
            device.publish(f"coral/board-a/{number}", b"x" * 2000)
        device.stop()
        said = [heard.get(WITHIN_S if number < 5 else 0.3) for number in range(6)]
        listener.stop()
        topics = [event.topic for event in said if isinstance(event, MessageArrived)]
        assert topics == [f"coral/board-a/{number}" for number in range(5)], turn


def test_what_is_no_broker_is_left_and_tried_again() -> None:
    """A captive portal may answer on the broker's port; when it is gone the device must still be there."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        mailbox = Mailbox(8)
        link = Link(MqttConfig(port=server.getsockname()[1], reconnect_min_s=0.1), "board-a", mailbox)
        link.start()
        for _ in range(3):
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n" + b"x" * 300)
                assert isinstance(mailbox.get(WITHIN_S), Disconnected)
    link.stop()
