"""Promises of upkeep.watchdog: what hangs is restarted from outside, being offline is nothing of the kind."""

import contextlib
import os
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from edge_agent.upkeep.watchdog import Supervisor, Watchdog
from tests.fakes.board import DEVICE, Board, FakeClock
from tests.fakes.ports import take_free_port
from tests.fakes.service_manager import ServiceManager
from tests.fakes.waiting import wait_for

PROGRAM = Path(__file__).resolve().parent / "wedging_agent.py"
PATIENCE_S = 4.0
SETTINGS = """
device = "{device}"
state_dir = "{folder}/state"
root = "{folder}/root.json"
[mqtt]
port = {nobody}
[http]
port = {http}
[inference]
timeout_s = 0.5
"""


class Ear:
    """A real socket, as systemd's: what came out of it, in order."""

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self):
        """Return and forget what was said."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(4096))
        return found

    def close(self):
        self._socket.close()


@pytest.fixture(params=["a file", "no file"])
def ear(request, tmp_path):
    """The socket and its address, as it stands in the environment."""
    name = str(tmp_path / "notify") if request.param == "a file" else f"@reefline-test-{os.getpid()}"
    ear = Ear("\0" + name[1:] if name.startswith("@") else name)
    yield ear, name
    ear.close()


def test_it_is_told_as_often_as_it_asks(ear):
    """Ready once; then four times in the time that it waits, and no more often."""
    socket_, address = ear
    clock = FakeClock()
    watchdog = Watchdog(Supervisor(address, 60.0), clock.monotonic_s, lambda: "")
    watchdog.ready()
    assert socket_.heard() == [b"READY=1"]
    for _ in range(240):
        watchdog.tick()
        clock.monotonic += 0.25
    assert socket_.heard() == [b"WATCHDOG=1"] * 4
    watchdog.stopping()
    assert socket_.heard() == [b"STOPPING=1"]


def test_what_hangs_is_told_by_silence(ear):
    """Who recovers in time is not restarted."""
    socket_, address = ear
    clock, wedged = FakeClock(), ["the loop"]
    watchdog = Watchdog(Supervisor(address, 60.0), clock.monotonic_s, lambda: wedged[0])
    watchdog.tick()
    assert socket_.heard() == []
    wedged[0] = ""
    clock.monotonic += 15
    watchdog.tick()
    assert socket_.heard() == [b"WATCHDOG=1"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Supervisor()),
        ({"NOTIFY_SOCKET": "/run/n"}, Supervisor("/run/n", 0.0)),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "60000000"}, Supervisor("@n", 60.0)),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, Supervisor("", 60.0)),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, Supervisor()),
        ({"WATCHDOG_USEC": "soon"}, Supervisor()),
        ({"WATCHDOG_USEC": "²"}, Supervisor()),
    ],
)
def test_only_what_is_meant_for_this_process_counts(environment, expected):
    """And no child hears of it: it would speak for the agent."""
    environment["PATH"] = "/bin"
    assert Supervisor.take(environment) == expected
    assert environment == {"PATH": "/bin"}


def test_nobody_who_listens_is_no_error(tmp_path):
    """Without systemd, and when its socket is gone, the agent goes on."""
    for address in ("", str(tmp_path / "gone")):
        watchdog = Watchdog(Supervisor(address, 60.0), FakeClock().monotonic_s, lambda: "")
        watchdog.ready()
        watchdog.tick()
        watchdog.stopping()


@pytest.fixture
def service(tmp_path):
    """A whole agent with a model and without a broker, as a service; and the port that it answers on."""
    board = Board(tmp_path / "state")
    board.install()
    (tmp_path / "root.json").write_bytes(board.publisher.root_envelope())
    http = take_free_port()
    settings = SETTINGS.format(device=DEVICE, folder=tmp_path, nobody=take_free_port(), http=http)
    (tmp_path / "agent.toml").write_text(settings)
    command = [sys.executable, str(PROGRAM), "run", "-c", str(tmp_path / "agent.toml")]
    with ServiceManager(tmp_path, command, PATIENCE_S) as service:
        wait_for("the agent is ready", lambda: "READY=1" in service.said)
        yield service, http
    assert service.said[-1:] == ["STOPPING=1"]


def is_answering(http):
    """Say whether a model answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def ask(http):
    """Ask with a black input tensor; return whether there was an answer."""
    place, kind = f"http://127.0.0.1:{http}/predict", {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(place, bytes(28 * 28), kind)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status == 200
    except OSError:
        return False


def workers_of(pid):
    """Return the agent's inference processes."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_being_offline_and_losing_a_worker_restart_nothing(service):
    """The agent never had a broker; a hung inference process is its own business."""
    service, http = service
    wait_for("a model answers", lambda: is_answering(http))
    hung = workers_of(service.pid)
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    assert ask(http), "another process has answered"
    assert not set(hung) & set(workers_of(service.pid))
    count = len(service.said)
    wait_for("it goes on saying that it is well", lambda: service.said[count:].count("WATCHDOG=1") >= 4)
    assert (service.starts, service.silences) == (1, 0)


def stop_all_of_it(service, _http):
    os.kill(service.pid, signal.SIGSTOP)
    return ""


def hang_the_loop(service, _http):
    os.kill(service.pid, signal.SIGUSR1)
    return "wedging_agent.py"


def hang_who_waits_for_a_worker(service, http):
    """The inference process hangs, and the thread that would tell the loop hangs with it."""
    wait_for("a model answers", lambda: is_answering(http))
    os.kill(service.pid, signal.SIGUSR2)
    for pid in workers_of(service.pid):
        os.kill(pid, signal.SIGSTOP)
    assert not ask(http)
    return "an inference process's thread hangs"


@pytest.mark.parametrize("wedge", [stop_all_of_it, hang_the_loop, hang_who_waits_for_a_worker])
def test_what_hangs_is_restarted_and_answers_again(service, wedge):
    """The log says where it hung, if it still can."""
    service, http = service
    evidence = wedge(service, http)
    wait_for("it is restarted", lambda: service.starts == 2 and "READY=1" in service.said)
    assert service.silences == 1
    assert evidence in service.log.read_text(errors="replace")
    wait_for("a model answers", lambda: is_answering(http))
