"""A connection with TLS: it works, and each failure is explained."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from deploy.trust import certificates
from deploy.trust.certificates import SERVER_DAYS, init_authority, issue_server, operator_folder
from host_cli.errors import Unreachable, WrongUsage
from host_mqtt.address import Address
from host_mqtt.credentials import CA_FILE, Credentials
from host_mqtt.link import Link
from host_mqtt.tls import build_context, explain
from tests.deploy.secured import Client, issue, run_secured
from tests.fakes.mosquitto import run_mosquitto

# OpenSSL asks for the time with time(2), and gets second 100 of 1970.
CLOCK = """
#include <time.h>
time_t time(time_t *at) { if (at) *at = 100; return 100; }
"""
CONNECT = """
import sys, threading, time
assert time.gmtime(int(__import__("ctypes").CDLL(None).time(None))).tm_year == 1970
from edge_agent.config import MqttConfig
from edge_agent.events import Connected
from edge_agent.link import Link
from edge_agent.mailbox import Mailbox
port, folder = sys.argv[1:]
mailbox = Mailbox(64)
names = {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"}
files = {key: f"{folder}/{name}" for key, name in names.items()}
link = Link(MqttConfig(port=int(port), **files), "reef-1", mailbox)
link.start()
event = mailbox.get(20)
link.stop()
sys.exit(0 if isinstance(event, Connected) else repr(event))
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    init_authority(folder, time.time())
    return folder


@pytest.fixture(scope="module")
def port(fleet, tmp_path_factory):
    with run_secured(fleet, tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture
def address(port, fleet):
    return Address("127.0.0.1", port, True, Credentials.read(operator_folder(fleet, "deploy")))


def refusal(address):
    """Return the three lines of a connection that must fail."""
    with pytest.raises(Unreachable) as caught, Link(address):
        pass
    return caught.value.what, caught.value.where, caught.value.hint


def test_a_message_goes_round(address):
    """By address and by name, both of which the certificate has."""
    for host in ("127.0.0.1", "localhost"):
        with Link(replace(address, host=host)) as link:
            link.subscribe(["coral/_client/me"])
            link.publish("coral/_client/me", b"hello")
            assert link.receive(5).payload == b"hello"


def test_a_broker_of_another_authority_is_told(address, tmp_path):
    """What, where, what to try."""
    init_authority(tmp_path, time.time())
    theirs = replace(address.credentials, ca=tmp_path / "ca" / CA_FILE)
    what, where, hint = refusal(replace(address, credentials=theirs))
    assert "not believed" in what and where == str(address) and "--fleet" in hint


def test_a_broker_with_another_name_is_told(address, monkeypatch):
    """The hint makes a certificate for this name."""
    monkeypatch.setattr("socket.getaddrinfo", resolve_here(address.port))
    what, _, hint = refusal(replace(address, host="broker.lan"))
    assert "for other names" in what and "--host" in hint
    what, _, hint = refusal(replace(address, host="127.0.0.2"))
    assert "for other addresses" in what and "--host" in hint


def resolve_here(port):
    def getaddrinfo(*_arguments, **_options):
        import socket

        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    return getaddrinfo


def test_a_certificate_of_ours_is_asked_for(address):
    """Nobody gets in without one."""
    what, _, hint = refusal(replace(address, credentials=Credentials(ca=address.credentials.ca)))
    assert "a certificate of ours" in what and "deploy keys operator" in hint


def test_our_own_expired_certificate_is_told(address, fleet, tmp_path, monkeypatch):
    """It ended yesterday."""
    monkeypatch.setattr(certificates, "CLIENT_DAYS", -1)
    own = issue(fleet, "_deploy", tmp_path)
    what, _, hint = refusal(replace(address, credentials=own))
    assert "our own certificate has expired" in what or "another one" in what
    assert "deploy keys operator" in hint


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "wants a certificate"),
        (
            "[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] sslv3 alert certificate expired",
            "own certificate has expired",
        ),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca", "who signed our certificate"),
        ("[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure", "wants a certificate"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS"),
    ],
)
def test_what_the_broker_says_about_us_is_explained(words, meaning):
    """The alerts of TLS, as OpenSSL words them."""
    assert meaning in explain(f"failed to receive on socket: {words} (_ssl.c:2580)").what


def test_a_broker_with_an_expired_certificate_is_told(fleet, tmp_path):
    """Two years passed, nobody started it anew."""
    own = Credentials.read(operator_folder(fleet, "deploy"))
    with run_secured(fleet, tmp_path) as port, Client(port, own):
        issue_server(fleet, ["127.0.0.1"], tmp_path / "reefline", time.time() - (SERVER_DAYS + 1) * 86400)
    with run_mosquitto(tmp_path / "mosquitto.conf", port):
        what, _, hint = refusal(Address("127.0.0.1", port, True, own))
    assert "has expired" in what and "deploy broker" in hint


def test_a_port_without_tls_is_told():
    """The other side answers, but no TLS."""
    import socket
    import threading

    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        for _ in range(2):
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.0 400 no\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    with server:
        what, _, hint = refusal(Address("127.0.0.1", server.getsockname()[1], True))
    assert "does not speak TLS" in what and "mqtt://" in hint


def test_plain_mqtt_on_a_tls_port_names_the_other_scheme(port):
    """The broker only hangs up."""
    assert "mqtts://" in refusal(Address("127.0.0.1", port))[2]


def test_a_broken_key_is_wrong_usage(tmp_path, fleet):
    """A certificate with the key of another, or garbage."""
    one, two = issue(fleet, "reef-1", tmp_path / "1"), issue(fleet, "reef-2", tmp_path / "2")
    with pytest.raises(WrongUsage, match="cannot be used"):
        build_context(replace(one, key=two.key))
    (tmp_path / "1" / CA_FILE).write_text("garbage")
    with pytest.raises(WrongUsage, match="cannot be used"):
        build_context(one)


def test_what_is_no_failure_of_tls_is_not_explained():
    """A closed port is the link's own story."""
    assert explain(ConnectionRefusedError(111, "Connection refused")) is None


def test_f59_a_board_whose_clock_was_never_set_connects(port, fleet, tmp_path):
    """At second 100 of 1970 the agent's own link accepts the broker's certificate."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler to build a clock with")
    issue(fleet, "reef-1", tmp_path)
    (tmp_path / "clock.c").write_text(CLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "clock.so", "clock.c"], cwd=tmp_path, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "clock.so")}
    command = [sys.executable, "-c", CONNECT, str(port), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
