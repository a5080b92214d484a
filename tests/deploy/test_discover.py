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


class Hears:
    """A network on which a service answers in its own time: `takes_s` of a clock that only it moves."""

    def __init__(self, takes_s):
        self.takes_s, self.now_s, self.asked = takes_s, 0.0, 0

    def get_service_info(self, kind, name, timeout_ms):
        self.asked += 1
        self.now_s += self.takes_s
        # It checks the name as the real one does, and knows no more of it.
        zeroconf.ServiceInfo(kind, name)

    def monotonic(self):
        return self.now_s


@pytest.fixture
def network(monkeypatch):
    hears = Hears(discover.RESOLVE_MS / 1000)
    monkeypatch.setattr(discover, "time", hears)
    return hears


@pytest.mark.parametrize("name", ["evil._http._tcp.local.", "x" * 300 + ".", "\x1b[2J.", ".", "\udcff."])
def test_a_name_that_is_none_is_passed_over(network, name):
    """Anybody on the network may answer, with any name."""
    name = name if "local" in name else name + SERVICES[0]
    assert discover._resolve(network, [(SERVICES[0], name)]) == []
    assert network.asked == 1


def test_services_that_nobody_answers_for_do_not_hold_us_up(network):
    """However many are announced."""
    silent = [(SERVICES[0], f"board-{n}.{SERVICES[0]}") for n in range(discover.MAX_FOUND)]
    assert discover._resolve(network, silent) == []
    assert network.asked * network.takes_s <= 2 * discover.LONGEST_S
