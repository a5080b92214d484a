"""Runs a broker for one computer: mosquitto on loopback, or the embedded one where there is no mosquitto."""

import getpass
import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.address import Address
from deploy.link import Link
from host_cli.errors import CommandError, Failed, Unreachable, WrongUsage
from host_cli.files import write_bytes

HOST = "127.0.0.1"
CONFIG_FILE = "mosquitto.conf"
LOG_FILE = "mosquitto.log"
SEARCH_PATH = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
MAX_PACKET_BYTES = 256 * 1024
MEMORY_LIMIT_BYTES = 1024**3
QUEUED_MESSAGES = 100_000
QUEUED_BYTES = 64 * 1024**2
AUTOSAVE_CHANGES = 200
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05
LOG_LINES = 3

_log = logging.getLogger(__name__)
Announce = Callable[[Address], None]


def find_mosquitto() -> str | None:
    """Return mosquitto's path, also from the folders that are on no ordinary user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=":".join(SEARCH_PATH))


def choose_port(port: int) -> int:
    """Return a port that is free now: `port`, or any when it is 0.

    Raises:
        WrongUsage: another program has this port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            what = f"port {port} cannot be used: {error.strerror}"
            raise WrongUsage(what, f"{HOST}:{port}", "give another --port, 0 for a free one") from error
        return int(probe.getsockname()[1])


def build_config(folder: Path, port: int, user: str) -> str:
    """Return mosquitto.conf.

    Args:
        folder: where retained messages are kept; an absolute path.
        port: TCP port on loopback.
        user: whom mosquitto runs as when root starts it; otherwise it ignores this.
    """
    lines = (
        "# Written by `deploy broker` at every start.",
        f"listener {port} {HOST}",
        "# Loopback only: whoever reaches it is on this computer.",
        "allow_anonymous true",
        f"user {user}",
        "# Without this a QoS 1 round trip takes 88 ms, with it 0.5 ms.",
        "set_tcp_nodelay true",
        f"max_packet_size {MAX_PACKET_BYTES}",
        f"memory_limit {MEMORY_LIMIT_BYTES}",
        "# By default a subscriber silently loses what is beyond 1,000 queued messages.",
        f"max_queued_messages {QUEUED_MESSAGES}",
        f"max_queued_bytes {QUEUED_BYTES}",
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_on_changes true",
        f"autosave_interval {AUTOSAVE_CHANGES}",
        "connection_messages false",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    )
    return "\n".join(lines) + "\n"


def serve(folder: Path, port: int, embedded: bool, stop: threading.Event, announce: Announce) -> None:
    """Run a broker until `stop` is set.

    Args:
        folder: where mosquitto keeps its files; made if it is not there.
        port: TCP port on loopback, 0 for a free one.
        embedded: take the embedded broker even where mosquitto is installed.
        stop: ends it.
        announce: told the address once the broker accepts connections.

    Raises:
        WrongUsage: the port or the folder cannot be used, or there is no broker at all.
        Failed: the broker did not start, or ended by itself.
    """
    program = None if embedded else find_mosquitto()
    if program is None and not embedded:
        _log.warning("no mosquitto found: the embedded broker serves, MQTT 3.1.1 and nothing kept on disk")
    address = Address(HOST, choose_port(port))
    with _mosquitto(program, folder, address) if program else _embedded(address) as is_alive:
        _wait_until_ready(address, is_alive)
        announce(address)
        while is_alive() and not stop.wait(POLL_S):
            pass
        if not stop.is_set():
            raise _died(folder)


@contextmanager
def _mosquitto(program: str, folder: Path, address: Address) -> Iterator[Callable[[], bool]]:
    """Run mosquitto; give the block a function that says whether it still runs."""
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config = build_config(folder, address.port, getpass.getuser())
        write_bytes(folder / CONFIG_FILE, config.encode())
        log = (folder / LOG_FILE).open("ab")
    except OSError as error:
        raise WrongUsage(f"cannot write here: {error.strerror}", str(folder), "give another --dir") from error
    with log:
        command = [program, "-c", str(folder / CONFIG_FILE)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield lambda: process.poll() is None
        finally:
            _end(process)


@contextmanager
def _embedded(address: Address) -> Iterator[Callable[[], bool]]:
    from deploy.embedded_broker import run_embedded

    with run_embedded(address, MAX_PACKET_BYTES) as is_alive:
        yield is_alive


def _wait_until_ready(address: Address, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while is_alive() and time.monotonic() < deadline:
        try:
            with Link(address):
                return
        except Unreachable:
            time.sleep(POLL_S)
    if is_alive():
        raise Failed(f"no connection within {START_TIMEOUT_S:.0f} s", str(address), "look at its log")


def _died(folder: Path) -> CommandError:
    path = folder / LOG_FILE
    last = path.read_text(errors="replace").splitlines()[-LOG_LINES:] if path.exists() else []
    return Failed("the broker ended by itself: " + " / ".join(last), str(path), "look at its log")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
