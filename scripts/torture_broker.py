"""The broker is killed every few seconds while releases go out; in the end every board runs the newest."""

import argparse
import contextlib
import getpass
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.brokers.broker import choose_port, find_mosquitto
from deploy.brokers.broker_files import Plan, write_local
from deploy.fleets.status import read_status
from deploy.trust.certificates import device_folder, operator_folder
from deploy.trust.keys import init_fleet
from deploy.trust.provisioning import build_settings, provision
from host_cli.errors import Unreachable
from host_mqtt.address import LOOPBACK, Address
from host_mqtt.credentials import Credentials
from tests.deploy.helpers import write_tiny_bundle

BIN = Path(sys.executable).parent
BASE = "coral"
LOSS_SHARE = 0.25
# So slow that a release is always on its way.
DOWNLOAD_BYTES_PER_S = 8000
CONVERGE_WITHIN_S = 180.0
END_WITHIN_S = 20.0
POLL_S = 0.5


@dataclass(frozen=True)
class Figures:
    """What happened; `converge_s` is None when a board never came to run the newest release."""

    agents: int
    kills: int
    losses: int
    pushes: int
    pushes_refused: int
    connections: int
    answered: int
    unanswered: int
    converge_s: float | None

    @property
    def is_good(self) -> bool:
        """Whether everything was as promised."""
        return self.converge_s is not None and self.unanswered == 0 and self.answered > 0


class Fleet:
    """A broker with TLS, a keeper, and boards: each a program of its own."""

    def __init__(self, folder: Path, agents: int) -> None:
        self.folder, self.keys = folder, folder / "fleet"
        init_fleet(self.keys, time.time())
        self.port = choose_port(0)
        self.address = Address(
            LOOPBACK, self.port, True, Credentials.read(operator_folder(self.keys, "deploy"))
        )
        self._config = write_local(
            Plan(folder / "broker", self.port, self.keys), self.port, getpass.getuser()
        )
        self._broker = self._start_broker()
        self.boards = [f"board-{number}" for number in range(1, agents + 1)]
        self._others = [self._start_board(name) for name in self.boards]
        self._others.append(self._deploy("keep", "--broker", str(self.address)))
        self.pushes = self.refused = 0

    def close(self) -> None:
        """End every program."""
        for process in (*self._others, self._broker):
            process.send_signal(signal.SIGTERM)
        for process in (*self._others, self._broker):
            try:
                process.wait(END_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill_broker(self, *, loses: bool) -> None:
        """Kill it and start it again; with `loses` everything that was retained is gone."""
        os.kill(self._broker.pid, signal.SIGKILL)
        self._broker.wait()
        if loses:
            (self._config.parent / "mosquitto.db").unlink(missing_ok=True)
        self._broker = self._start_broker()

    def push(self) -> bool:
        """Publish one more release, of other files; say whether the broker lived long enough."""
        self.pushes += 1
        bundle = write_tiny_bundle(self.folder / f"bundle-{self.pushes}", str(self.pushes))
        words = ("push", str(bundle), "--all", "--no-wait", "--yes", "--chunk-bytes", "256")
        is_done = self._deploy(*words, "--broker", str(self.address)).wait() == 0
        self.refused += not is_done
        return is_done

    def wait_until_all_run(self, version: str) -> float | None:
        """Return the seconds until every board runs this version, None if one never does."""
        started_s = time.monotonic()
        while time.monotonic() - started_s < CONVERGE_WITHIN_S:
            with contextlib.suppress(Unreachable):
                running = {
                    device.name
                    for device in read_status(self.address, BASE, None)
                    if device.report is not None
                    and (device.report.phase, device.report.current and device.report.current.version)
                    == ("active", version)
                }
                if running >= set(self.boards):
                    return time.monotonic() - started_s
            time.sleep(POLL_S)
        return None

    def serving(self) -> list[str]:
        """Return where each board serves HTTP, as far as it has said so."""
        lines = [self.log(name) for name in self.boards]
        return [text.rsplit("serving on ", 1)[1].split()[0] for text in lines if "serving on " in text]

    def log(self, name: str) -> str:
        """Return what a program has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _start_broker(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "broker.log").open("ab") as log:
            return subprocess.Popen([find_mosquitto() or "mosquitto", "-c", str(self._config)], stderr=log)

    def _start_board(self, name: str) -> "subprocess.Popen[bytes]":
        own, state = device_folder(self.keys, name), self.folder / name
        provision(self.keys, name, self.address, BASE, own, time.time())
        settings = build_settings(self.address, BASE).replace("/etc/reefline/mqtt", str(own))
        config = own / "agent.toml"
        config.write_text(
            f'device = "{name}"\nstate_dir = "{state}"\nroot = "{self.keys / "root-1.json"}"\n{settings}'
            "reconnect_min_s = 0.5\nreconnect_max_s = 4\n[http]\nport = 0\n"
            f"[update]\nreserve_bytes = 0\nstall_s = 1\nmax_bytes_per_s = {DOWNLOAD_BYTES_PER_S}\n"
        )
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([BIN / "edge-agent", "run", "-c", config], stdout=log, stderr=log)

    def _deploy(self, *words: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "deploy.log").open("ab") as log:
            command = [BIN / "deploy", *words, "--fleet", self.keys]
            return subprocess.Popen(command, stdout=log, stderr=log)


class Client(threading.Thread):
    """Asks every board for predictions all the time, and counts who does not answer once it has a model."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(daemon=True)
        self._fleet, self._ready = fleet, set[str]()
        self.answered = self.unanswered = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(POLL_S):
            for url in self._fleet.serving():
                is_good = ask(url)
                if is_good:
                    self._ready.add(url)
                    self.answered += 1
                elif url in self._ready:
                    self.unanswered += 1


def ask(url: str) -> bool:
    """Ask one board for one prediction."""
    request = urllib.request.Request(url + "/predict", bytes(28 * 28))
    request.add_header("Content-Type", "application/octet-stream")
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10) as answer:
        return bool(answer.status == 200)
    return False


@contextlib.contextmanager
def running(folder: Path, agents: int) -> Iterator[tuple[Fleet, Client]]:
    """Run a fleet and a client of its boards."""
    fleet = Fleet(folder, agents)
    client = Client(fleet)
    client.start()
    try:
        yield fleet, client
    finally:
        client.stopping.set()
        client.join()
        fleet.close()


def torture(seed: int, agents: int, kills: int, every_s: float, folder: Path) -> Figures:
    """Kill the broker again and again while releases go out, then let it live.

    Args:
        seed: decides when exactly, and when its disk is lost.
        agents: how many boards.
        kills: how many times.
        every_s: the mean time between two.
        folder: where everything is written.
    """
    chance, losses = random.Random(seed), 0
    with running(folder, agents) as (fleet, client):
        if not fleet.push() or fleet.wait_until_all_run("1") is None:
            raise SystemExit("not even the first release arrived; see " + str(folder))
        for _ in range(kills):
            pusher = threading.Thread(target=fleet.push)
            pusher.start()
            time.sleep(every_s * chance.uniform(0.5, 1.5))
            is_lost = chance.random() < LOSS_SHARE
            losses += is_lost
            fleet.kill_broker(loses=is_lost)
            pusher.join()
        while not fleet.push():
            time.sleep(POLL_S)
        converge_s = fleet.wait_until_all_run(str(fleet.pushes))
        connections = sum(fleet.log(name).count("connected to ") for name in fleet.boards)
    return Figures(
        agents,
        kills,
        losses,
        fleet.pushes,
        fleet.refused,
        connections,
        client.answered,
        client.unanswered,
        converge_s,
    )


def main() -> int:
    """Read the options, run, print one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=24, help="how often the broker is killed")
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--every-s", type=float, default=5.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = torture(given.seed, given.agents, given.count, given.every_s, Path(folder))
    print(json.dumps({"torture": "broker", "ok": found.is_good, "seed": given.seed, **vars(found)}))
    return 0 if found.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
