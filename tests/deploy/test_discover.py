"""Boards that announce themselves, by real mDNS on loopback."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import zeroconf

from deploy.boards import discover
from deploy.boards.discover import MDNS, SERVICES, USB, Near, find_by_mdns, find_by_usb
from tests.fakes.waiting import wait_for

LOOPBACK = ["127.0.0.1"]


@contextmanager
def announced(*boards):
    """Announce boards: a service, a name, and an address each."""
    network = zeroconf.Zeroconf(interfaces=LOOPBACK)
    try:
        for service, name, address in boards:
            about = zeroconf.ServiceInfo(
                service,
                f"{name}.{service}",
                22,
                addresses=[socket.inet_aton(address)],
                server=f"{name}.local.",
            )
            network.register_service(about)
        yield
    finally:
        network.unregister_all_services()
        network.close()


@contextmanager
def talking_server(says):
    """Take one connection, say something, and keep it open; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        taken = pool.submit(_take, server, says)
        yield server.getsockname()[1]
        taken.result().close()


def _take(server, says):
    connection, _ = server.accept()
    connection.sendall(says)
    return connection


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(discover, "SILENCE_S", 0.7)


def test_boards_of_both_kinds_are_found_each_once():
    """Mendel announces the one, the agent's package the other, and a board may do both."""
    # Another run of the tests on this machine is heard as well: names and addresses are of this one.
    own = os.getpid() % 50_000
    network = f"127.{1 + own // 250}.{1 + own % 250}"
    apple = Near(f"calm-apple-{own}", network + ".2", MDNS)
    orange = Near(f"deft-orange-{own}", network + ".1", MDNS)
    announcements = (SERVICES[0], orange), (SERVICES[1], orange), (SERVICES[1], apple)
    with announced(*((service, near.name, near.host) for service, near in announcements)):

        def find_ours():
            return [near for near in find_by_mdns(LOOPBACK) if near in (apple, orange)]

        # A busy machine may answer after our patience is over.
        wait_for("both, once", lambda: find_ours() == [apple, orange])


def test_a_board_on_a_cable_is_where_its_ssh_server_answers():
    """Each of the two addresses is tried, and none that is silent is named."""
    with talking_server(b"SSH-2.0-board\r\n") as port:
        assert find_by_usb(("127.0.0.1", "127.0.5.9"), port) == [Near("", "127.0.0.1", USB)]


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n"])
def test_a_network_that_accepts_every_connection_has_no_board(said, monkeypatch):
    """Who does not speak SSH at once is not named."""
    monkeypatch.setattr(discover, "BANNER_TIMEOUT_S", 0.2)
    with talking_server(said) as port:
        assert find_by_usb(("127.0.0.1",), port) == []
