"""Promises of edge_agent.link that a whole agent's stories do not show."""

import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Iterator

import pytest
from paho.mqtt.client import MQTT_ERR_NO_CONN

import edge_agent.link
from edge_agent.config import MqttConfig
from edge_agent.events import Connected, Disconnected, MessageArrived, SubscriptionAnswered
from edge_agent.link import Client, Link
from edge_agent.mailbox import Mailbox
from tests.fakes.mosquitto import run_mosquitto
from tests.fakes.ports import take_free_port
from tests.fakes.waiting import wait_for

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


def test_short_lives_are_followed_by_growing_pauses_and_a_long_one_by_the_first(monkeypatch) -> None:
    """A broker that dies every few seconds, or another device of our id, is not asked ten times a second."""
    now_s = [0.0]
    monkeypatch.setattr("edge_agent.link.time.monotonic", lambda: now_s[0])
    link = Link(MqttConfig(), "board-a", Mailbox(8))

    def live(seconds: float, pause_s: float) -> float:
        link._accepted_s, now_s[0] = now_s[0], now_s[0] + seconds
        return link._choose_pause_s(pause_s)

    pauses = [live(5, 0)]
    for _ in range(7):
        pauses.append(live(5, pauses[-1]))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [problem.code for problem in link.problems()] == ["duplicate_id"]
    assert live(90, 60) == 60 and live(121, 60) == 1 and link.problems() == ()


@pytest.mark.parametrize("has_retained", [True, False])
def test_a_broker_that_keeps_nothing_says_so(broker, has_retained: bool) -> None:
    """Who wants a chunk then asks for it at once."""
    port = broker(more=f"retain_available {str(has_retained).lower()}")
    mailbox = Mailbox(8)
    link = Link(MqttConfig(port=port, reconnect_min_s=0.1), "board-a", mailbox)
    link.start()
    # It may refuse a retained last will first.
    while not isinstance(mailbox.get(WITHIN_S), Connected):
        assert not link.has_retained
    found = link.has_retained
    link.stop()
    assert found == has_retained


@pytest.fixture
def strict_broker(tmp_path: Path) -> "Iterator[int]":
    """A broker behind TLS that knows one user, board-a with the password fish; its CA lies beside it."""
    if shutil.which("mosquitto_passwd") is None or shutil.which("openssl") is None:
        pytest.skip("mosquitto or openssl is not installed")
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    files = ["-keyout", "key.pem", "-out", "ca.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*new, *files], cwd=str(tmp_path), check=True, stderr=subprocess.DEVNULL)
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", "users", "board-a", "fish"], cwd=str(tmp_path), check=True
    )
    port = take_free_port()
    lines = (f"listener {port} 127.0.0.1", "user root", "allow_anonymous false", "password_file users")
    tls = ("certfile ca.pem", "keyfile key.pem")
    (tmp_path / "strict.conf").write_text("\n".join((*lines, *tls)))
    with run_mosquitto(tmp_path / "strict.conf", port):
        yield port


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("changes", "is_taken", "reason"),
    [
        ({}, True, ""),
        ({"password_file": "wrong"}, False, "authori"),
        ({"username": "board-b"}, False, "authori"),
        ({"ca_file": None}, False, ""),
        ({"host": "localhost"}, False, "certificate"),
        ({"password_file": "/nowhere"}, False, "/nowhere"),
    ],
)
def test_the_broker_is_made_sure_of_and_told_who_we_are(
    strict_broker, tmp_path, monkeypatch, changes, is_taken, reason
):
    """TLS with its own CA, the name on its certificate, user name and password; what is wrong is said."""
    (tmp_path / "secret").write_text("fish\n")
    (tmp_path / "wrong").write_text("bird\n")
    monkeypatch.chdir(tmp_path)
    own = {"password_file": "secret", "ca_file": "ca.pem"}
    mailbox = Mailbox(8)
    config = MqttConfig(port=strict_broker, reconnect_min_s=0.1, reconnect_max_s=1, **{**own, **changes})
    link = Link(config, "board-a", mailbox)
    link.start()
    event = mailbox.get(WITHIN_S)
    link.stop()
    assert isinstance(event, Connected if is_taken else Disconnected), event
    assert is_taken or reason in event.reason.lower()


def test_a_broker_that_acknowledges_nothing_costs_bounded_memory() -> None:
    """Whoever makes us answer, and never takes an answer, ends at a full queue: the rest is dropped."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        mailbox = Mailbox(8)
        link = Link(MqttConfig(port=server.getsockname()[1]), "board-a", mailbox)
        link.start()
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"\x20\x03\x00\x00\x00")
            assert isinstance(mailbox.get(WITHIN_S), Connected)
            sent = [link.publish("coral/board-a/model/reported", b"{}") for _ in range(3000)]
        assert isinstance(mailbox.get(WITHIN_S), Disconnected)
    link.stop()
    assert sent[0] is not None and 100 < sum(mid is not None for mid in sent) <= 1000


def test_a_network_thread_that_hangs_is_noticed(broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """paho's thread comes round once a second; the agent's watchdog asks whether it does."""
    device, _ = connect(MqttConfig(port=broker()), "board-a")
    first_s = device._client.ticked_s  # type: ignore[union-attr]
    wait_for("it comes round", lambda: device._client.ticked_s > first_s)  # type: ignore[union-attr]
    assert not device.is_wedged
    is_released = threading.Event()
    monkeypatch.setattr(Client, "loop_misc", lambda self: is_released.wait(60) and MQTT_ERR_NO_CONN)
    monkeypatch.setattr(edge_agent.link, "_WEDGED_S", 2.0)
    wait_for("it is wedged", lambda: device.is_wedged)
    is_released.set()
    device.stop()


def test_having_no_broker_is_not_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it lasts, and whatever the pauses are."""
    monkeypatch.setattr(edge_agent.link, "_WEDGED_S", 0.0)
    mailbox = Mailbox(8)
    link = Link(MqttConfig(port=take_free_port(), reconnect_min_s=0.1), "board-a", mailbox)
    link.start()
    for _ in range(3):
        assert isinstance(mailbox.get(WITHIN_S), Disconnected)
        assert not link.is_wedged
    link.stop()
    assert not link.is_wedged
