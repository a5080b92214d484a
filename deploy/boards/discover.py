"""Which boards are near: those that announce themselves by mDNS, and those on a USB cable."""

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import zeroconf

from deploy.boards.answer import clean
from deploy.boards.connection import SSH_PORT
from host_cli.errors import Failed, Unreachable

# Mendel's own, and that of the agent's package.
SERVICES = ("_googlemdt._tcp.local.", "_reefline._tcp.local.")
USB_ADDRESSES = ("192.168.100.2", "192.168.101.2")
# Nothing new for so long, and we have heard them all.
SILENCE_S = 1.5
LONGEST_S = 10.0
RESOLVE_MS = 2000
USB_TIMEOUT_S = 1.0
# A board that has just started is slow to say who it is.
BANNER_TIMEOUT_S = 5.0
MAX_FOUND = 256
USB, MDNS = "USB", "mDNS"
# The first bytes of every SSH server (RFC 4253, 4.2).
_SSH = b"SSH-"


@dataclass(frozen=True)
class Near:
    """A board that is near: its host name, its address, and how it was found."""

    name: str
    host: str
    how: str


def find_by_mdns(interfaces: Sequence[str] | None = None) -> list[Near]:
    """Listen for boards that announce themselves.

    Args:
        interfaces: own addresses on which to listen; None: on all.

    Raises:
        Failed: this computer has no network on which to listen.
    """
    chosen = zeroconf.InterfaceChoice.All if interfaces is None else list(interfaces)
    try:
        with zeroconf.Zeroconf(interfaces=chosen) as network:
            heard = _Listener()
            zeroconf.ServiceBrowser(network, list(SERVICES), heard)
            return _resolve(network, heard.wait())
    except OSError as error:
        hint = "give the board's address, or --usb"
        raise Failed(f"cannot listen for boards: {error.strerror}", "mDNS", hint) from error


def find_by_usb(addresses: Sequence[str] = USB_ADDRESSES, port: int = SSH_PORT) -> list[Near]:
    """Look whether a board is on a USB cable: there it has always the same addresses."""
    return [Near("", address, USB) for address in addresses if _speaks_ssh(address, port)]


def find_host(name: str) -> str:
    """Return where a board is that a person calls by a name: what the system knows, else what it announces.

    Raises:
        Unreachable: nobody knows the name.
        Failed: as `find_by_mdns`.
    """
    try:
        socket.getaddrinfo(name, None)
        return name
    except (OSError, UnicodeError):
        pass
    for near in find_by_mdns():
        if near.name == name.split(".")[0]:
            return near.host
    raise Unreachable("no board of this name is near", name, "deploy enroll --discover shows which ones are")


class _Listener(zeroconf.ServiceListener):
    """Notes which services were heard; zeroconf calls it from a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[tuple[str, str], None] = {}
        self._last_s = time.monotonic()

    def add_service(self, zc: zeroconf.Zeroconf, type_: str, name: str) -> None:
        with self._lock:
            if len(self._heard) < MAX_FOUND:
                self._heard[type_, name] = None
                self._last_s = time.monotonic()

    def update_service(self, zc: zeroconf.Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: zeroconf.Zeroconf, type_: str, name: str) -> None:
        with self._lock:
            self._heard.pop((type_, name), None)

    def wait(self) -> list[tuple[str, str]]:
        ends_s = time.monotonic() + LONGEST_S
        while time.monotonic() < ends_s:
            time.sleep(0.1)
            with self._lock:
                if time.monotonic() - self._last_s > SILENCE_S:
                    break
        with self._lock:
            return list(self._heard)


def _resolve(network: zeroconf.Zeroconf, services: Sequence[tuple[str, str]]) -> list[Near]:
    found: dict[str, Near] = {}
    ends_s = time.monotonic() + LONGEST_S
    for kind, name in services:
        if time.monotonic() > ends_s:
            break
        try:
            about = network.get_service_info(kind, name, RESOLVE_MS)
        except (zeroconf.Error, UnicodeError):
            # Anybody on the network may announce anything; that is no name of a service.
            continue
        # IPv4 first: an IPv6 address of the link would need the name of the interface as well.
        addresses = about.parsed_addresses(zeroconf.IPVersion.V4Only) if about else []
        if about and addresses:
            host_name = clean((about.server or name).split(".")[0])
            found.setdefault(addresses[0], Near(host_name, addresses[0], MDNS))
    return sorted(found.values(), key=lambda near: (near.name, near.host))


def _speaks_ssh(address: str, port: int) -> bool:
    """Whether an SSH server says so: some networks accept every connection, and then are silent."""
    try:
        with socket.create_connection((address, port), USB_TIMEOUT_S) as server:
            server.settimeout(BANNER_TIMEOUT_S)
            return server.makefile("rb").read(len(_SSH)) == _SSH
    except OSError:
        return False
