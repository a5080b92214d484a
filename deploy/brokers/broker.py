"""Runs a broker on this computer: mosquitto, or the embedded one where there is no mosquitto."""

import ctypes
import getpass
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.brokers.broker_files import MAX_PACKET_BYTES, Plan, renew, write_local
from deploy.trust.certificates import operator_folder
from host_cli.errors import CommandError, Failed, Unreachable, WrongUsage
from host_mqtt.address import LOOPBACK, Address
from host_mqtt.credentials import Credentials
from host_mqtt.link import Link

LOG_FILE = "mosquitto.log"
# Below those that the kernel lends to outgoing connections, which would take one before the broker does.
FREE_PORTS = range(10_000, 30_000)
PORTS_TRIED = 20
SEARCH_PATH = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05
RENEW_EVERY_S = 86400.0
LOG_LINES = 3
_PR_SET_PDEATHSIG = 1  # prctl(2)

_log = logging.getLogger(__name__)
Announce = Callable[[Address], None]


@dataclass(frozen=True)
class _Running:
    """A broker that was started."""

    is_alive: Callable[[], bool]
    reload: Callable[[], None] = lambda: None
    pid: int = 0


def find_mosquitto() -> str | None:
    """Return mosquitto's path, also from the folders that are on no ordinary user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=":".join(SEARCH_PATH))


def choose_port(port: int, host: str = LOOPBACK) -> int:
    """Return a port that is free now: `port`, or any of FREE_PORTS when it is 0.

    Raises:
        WrongUsage: another program has this port.
    """
    for one in [port] if port else random.SystemRandom().sample(FREE_PORTS, PORTS_TRIED):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, one))
                return one
            except OSError as error:
                reason = error.strerror
    what = f"port {one} cannot be used: {reason}"
    hint = "give another --port, 0 for a free one; --listen takes an address of this computer"
    raise WrongUsage(what, f"{host}:{one}", hint)


def serve(plan: Plan, embedded: bool, stop: threading.Event, announce: Announce) -> None:
    """Run a broker until `stop` is set.

    Args:
        plan: which broker.
        embedded: take the embedded broker even where mosquitto is installed.
        stop: ends it.
        announce: told the address once the broker accepts connections.

    Raises:
        WrongUsage: the port or the folder cannot be used, or there is no broker at all.
        Failed: the broker did not start, or ended by itself.
    """
    program = None if embedded else find_mosquitto()
    if program is None and plan.fleet is not None:
        hint = "apt install mosquitto, brew install mosquitto"
        raise WrongUsage("with TLS it takes a mosquitto, and there is none", "PATH", hint)
    if program is None and not embedded:
        _log.warning("no mosquitto found: the embedded broker serves, MQTT 3.1.1 and nothing kept on disk")
    address = _address(plan, choose_port(plan.port, plan.listen))
    with _mosquitto(program, plan, address.port) if program else _embedded(address) as running:
        _wait_until_ready(plan, address, running.is_alive)
        announce(address)
        _wait_for_the_end(plan, running, stop)
        if not stop.is_set():
            raise _died(plan.folder)


@contextmanager
def run_mosquitto(plan: Plan) -> Iterator[tuple[Address, int]]:
    """Run mosquitto for as long as a block lasts; give it the address and the process id.

    Raises:
        WrongUsage: the port or the folder cannot be used, or there is no mosquitto.
        Failed: it did not start.
    """
    program = find_mosquitto()
    if program is None:
        raise WrongUsage("there is no mosquitto", "PATH", "apt install mosquitto, brew install mosquitto")
    address = _address(plan, choose_port(plan.port, plan.listen))
    with _mosquitto(program, plan, address.port) as running:
        _wait_until_ready(plan, address, running.is_alive)
        yield address, running.pid


def _address(plan: Plan, port: int) -> Address:
    """Return where we reach it ourselves: its certificate is good for every host of the plan."""
    if plan.fleet is None:
        return Address(plan.listen, port)
    folder = operator_folder(plan.fleet, "deploy")
    if not folder.is_dir():
        hint = "deploy keys init --fleet DIR, or give the right --fleet"
        raise WrongUsage("the fleet has no certificates", str(folder), hint)
    own = Credentials.read(folder)
    return Address(LOOPBACK if plan.listen == "0.0.0.0" else plan.listen, port, True, own)


def _wait_for_the_end(plan: Plan, running: _Running, stop: threading.Event) -> None:
    renew_s = time.monotonic() + RENEW_EVERY_S
    while running.is_alive() and not stop.wait(POLL_S):
        if plan.fleet is not None and time.monotonic() >= renew_s:
            renew_s += RENEW_EVERY_S
            if renew(plan, time.time()):
                running.reload()


@contextmanager
def _mosquitto(program: str, plan: Plan, port: int) -> Iterator[_Running]:
    config = write_local(plan, port, getpass.getuser())
    with (config.parent / LOG_FILE).open("ab") as log:
        command = [program, "-c", str(config)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_end_with_parent()
        )
        try:
            yield _Running(
                lambda: process.poll() is None, lambda: process.send_signal(signal.SIGHUP), process.pid
            )
        finally:
            _end(process)


def _end_with_parent() -> Callable[[], None] | None:
    """Return what makes a child end when we are killed and cannot end it; only Linux offers that."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # We were killed before the kernel knew.

    return ask


@contextmanager
def _embedded(address: Address) -> Iterator[_Running]:
    from deploy.brokers.embedded_broker import run_embedded

    with run_embedded(address, MAX_PACKET_BYTES) as is_alive:
        yield _Running(is_alive)


def _wait_until_ready(plan: Plan, address: Address, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while is_alive() and time.monotonic() < deadline:
        try:
            with Link(address):
                return
        except Unreachable:
            time.sleep(POLL_S)
    if not is_alive():
        raise _died(plan.folder)
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
