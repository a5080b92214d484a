"""Boards that announce themselves, by real mDNS on loopback."""

import socket
from contextlib import contextmanager

import pytest
import zeroconf

from deploy.boards import discover
from deploy.boards.discover import MDNS, SERVICES, USB, Near, find_by_mdns, find_by_usb

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


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(discover, "SILENCE_S", 0.7)


def test_boards_of_both_kinds_are_found_each_once():
    """Mendel announces the one, the agent's package the other, and a board may do both."""
    boards = [(SERVICES[0], "deft-orange", "127.0.5.1"), (SERVICES[1], "deft-orange", "127.0.5.1")]
    with announced(*boards, (SERVICES[1], "calm-apple", "127.0.5.2")):
        found = find_by_mdns(LOOPBACK)
    ours = [near for near in found if near.host.startswith("127.0.5.")]
    assert ours == [Near("calm-apple", "127.0.5.2", MDNS), Near("deft-orange", "127.0.5.1", MDNS)]


def test_a_board_on_a_cable_is_where_its_ssh_server_answers():
    """Each of the two addresses is tried, and none that is silent is named."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert find_by_usb(("127.0.0.1", "127.0.5.9"), port) == [Near("", "127.0.0.1", USB)]


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
