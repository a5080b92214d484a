"""The connection: fast, honest about what it cannot reach, and at home with old and new brokers."""

import shutil
import socket
import subprocess
import threading
import time
from dataclasses import replace

import pytest

from deploy.brokers.broker import choose_port
from host_cli.errors import Unreachable
from host_mqtt import link as module
from host_mqtt.address import Address
from host_mqtt.credentials import Credentials
from host_mqtt.link import Link, Session
from host_mqtt.roll_call import remembered
from tests.deploy.rollout_helpers import LossyBroker
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.waiting import wait_for


def serve_once(*answers: bytes) -> tuple[Address, threading.Thread]:
    """A peer that takes one connection for each answer, reads CONNECT, sends the answer, hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            for answer in answers:
                peer, _ = server.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return Address(*server.getsockname()), thread


def test_a_message_goes_round(link, topics):
    """Published, received, with topic, payload and the retained flag."""
    topic = topics.client("me")
    link.subscribe([topic])
    link.publish(topic, b"hello")
    message = link.receive(5)
    assert (message.topic, message.payload, message.retained) == (topic, b"hello", False)
    assert link.mqtt5


def test_small_packets_are_sent_at_once(link, topics):
    """No Nagle on our socket; 100 messages, each acknowledged before the next, take far less than 8.8 s."""
    assert link._client.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    started = time.monotonic()
    for _ in range(100):
        link.publish(topics.client("me"), b"x")
        link.flush()
    assert time.monotonic() - started < 2


def test_what_is_unsubscribed_does_not_arrive(link, topics):
    """Neither now nor after a reconnection; the other subscriptions stay."""
    left, kept = topics.client("left"), topics.client("kept")
    link.subscribe([left, kept])
    link.unsubscribe([left])
    link.publish(left, b"left")
    link.publish(kept, b"kept")
    assert link.receive(5).payload == b"kept"
    before = link.connections
    link._client.socket().shutdown(socket.SHUT_RDWR)
    wait_for("the link is back", lambda: link.connections > before)
    link.subscribe([topics.client("marker")])
    link.publish(left, b"left")
    link.publish(kept, b"kept")
    assert link.receive(5).payload == b"kept" and link.receive(0) is None


def test_a_subscription_that_meets_a_dead_line_is_made_after_the_reconnection(link, topics):
    """It is confirmed then, and what is published arrives."""
    topic = topics.client("me")
    link._client.socket().shutdown(socket.SHUT_RDWR)
    link.subscribe([topic])
    link.publish(topic, b"hello")
    assert link.receive(5).payload == b"hello"


def test_nobody_there_is_told_at_once():
    """A closed port ends in seconds, with all three lines."""
    started = time.monotonic()
    with pytest.raises(Unreachable) as caught, Link(Address("127.0.0.1", choose_port(0))):
        pass
    assert time.monotonic() - started < 3
    assert caught.value.what == "no broker answers: Connection refused"
    assert "deploy broker" in caught.value.hint


def test_silence_is_told_in_time(monkeypatch):
    """A peer that accepts and says nothing does not hold us."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.5)
    server = socket.create_server(("127.0.0.1", 0))
    with server, pytest.raises(Unreachable, match="no answer within"), Link(Address(*server.getsockname())):
        pass


def test_a_broker_that_refuses_is_told_with_its_reason():
    """Not authorised is a reason a person can act on."""
    refused = bytes([0x20, 3, 0, 0x87, 0])
    address, thread = serve_once(refused, bytes([0x20, 2, 0, 5]))
    with pytest.raises(Unreachable, match="Not authorized"), Link(address):
        pass
    thread.join(5)


@pytest.mark.parametrize("answer", [b"", bytes([0x20, 2, 0, 1])])
def test_an_old_broker_is_asked_again_in_mqtt_311(answer):
    """Whether it hangs up on MQTT 5 or says that it does not know it."""
    address, thread = serve_once(answer, bytes([0x20, 2, 0, 0]))
    with Link(address) as link:
        assert not link.mqtt5
    thread.join(5)


def test_what_is_retained_comes_before_the_marker(link, topics):
    """All of 300 retained messages are there when the roll call ends."""
    wanted = {topics.blob_chunk("a" * 32, number) for number in range(300)}
    for topic in wanted:
        link.publish(topic, b"x", retain=True)
    link.flush()
    found = list(remembered(link, topics, [f"{topics.base}/_blob/+/+"]))
    assert {message.topic for message in found} == wanted and all(one.retained for one in found)


def test_unacknowledged_messages_come_again(address, topics):
    """A kept session gives back what was not acknowledged before the connection ended, and only that."""
    session = Session(client_id=topics.base, keep_s=60, late_acknowledge=True)
    topic = topics.client("me")
    with Link(address, session) as link:
        link.subscribe([topic])
        link.publish(topic, b"first")
        link.publish(topic, b"second")
        first = link.receive(5)
        link.receive(5)
        link.acknowledge(first)
    with Link(address, session) as link:
        assert link.receive(5).payload == b"second"
        assert link.receive(0.2) is None


def test_a_second_client_with_our_name_ends_us(address, topics):
    """Two programs with one session would throw each other out for ever."""
    session = Session(client_id=topics.base)
    with Link(address, session) as ours:
        ours.subscribe([topics.client("me")])
        with Link(address, session) as theirs, pytest.raises(Unreachable, match="used twice"):
            for _ in range(100):
                ours.receive(0.1)
                theirs.receive(0)


def test_a_broker_that_restarts_does_not_end_us(tmp_path):
    """What was subscribed is subscribed again, what was not acknowledged is sent again."""
    from deploy.brokers.broker import _mosquitto, _wait_until_ready, find_mosquitto
    from deploy.brokers.broker_files import Plan

    program, address = find_mosquitto(), Address("127.0.0.1", choose_port(0))
    plan = Plan(tmp_path, address.port)
    with _mosquitto(program, plan, address.port) as running:
        _wait_until_ready(plan, address, running.is_alive)
        link = Link(address).__enter__()
        link.subscribe(["t/me"])
    link.publish("t/me", b"while it was away")
    with _mosquitto(program, plan, address.port):
        link.flush()
        assert link.receive(5).payload == b"while it was away"
        link.__exit__(None, None, None)


def test_a_broker_that_stops_acknowledging_is_told(link, topics, monkeypatch):
    """A lost acknowledgement ends in an error, never in waiting for ever."""
    monkeypatch.setattr(module, "STALL_S", 0.3)
    link._pending += 1
    with pytest.raises(Unreachable, match="no acknowledgement"):
        link.flush()
    link._pending -= 1


@pytest.mark.skipif(shutil.which("mosquitto_sub") is None, reason="mosquitto_sub is not installed")
def test_another_client_reads_what_we_publish(link, address, topics):
    """mosquitto_sub sees the retained bytes as they were sent."""
    topic = topics.client("me")
    link.publish(topic, b"to whom it may concern", retain=True)
    link.flush()
    command = ["mosquitto_sub", "-p", str(address.port), "-t", topic, "-C", "1", "-W", "5"]
    assert subprocess.check_output(command).strip() == b"to whom it may concern"


def test_a_broker_that_keeps_nothing_is_known_and_not_asked_to(tmp_path):
    """It says so when we connect; what is published `retain` goes to those who listen."""
    broker = Mosquitto(tmp_path, "retain_available false", keeps=False).start()
    try:
        with Link(Address("127.0.0.1", broker.port)) as link:
            link.subscribe(["t/me"])
            link.publish("t/me", b"hello", retain=True)
            link.flush()
            assert not link.retains and link.receive(5).payload == b"hello"
    finally:
        broker.stop()


def test_a_broker_keeps_what_it_is_asked_to(link):
    """A usual one does, and says nothing about it."""
    assert link.retains


def test_a_login_is_sent(tmp_path):
    """User and password of the `login` file, for a broker that wants them."""
    (tmp_path / "login").write_text("anna\nsecret\n")
    (tmp_path / "login").chmod(0o600)
    heard = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = server.accept()
        with peer:
            heard.append(peer.recv(4096))
            peer.sendall(bytes([0x20, 3, 0, 0, 0]))
            peer.recv(4096)

    threading.Thread(target=serve, daemon=True).start()
    with server, Link(replace(Address(*server.getsockname()), credentials=Credentials.read(tmp_path))):
        pass
    assert b"\x00\x04anna\x00\x06secret" in heard[0]


def test_who_may_not_write_is_told_of_the_roles(tmp_path):
    """The broker runs: what helps is another certificate."""
    rights = tmp_path / "acl"
    rights.write_text("topic read #\n")
    rights.chmod(0o600)
    broker = LossyBroker(tmp_path, f"acl_file {rights}")
    try:
        with pytest.raises(Unreachable, match="Not authorized") as caught, Link(broker.address) as link:
            link.publish("coral/reef-1/model/desired", b"x")
            link.flush()
        assert "--credentials" in caught.value.hint
    finally:
        broker.kill()
