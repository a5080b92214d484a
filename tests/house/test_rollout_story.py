"""Stories of a rollout: real agents, a real broker, the real command line."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.helpers import write_tiny_bundle
from tests.fakes.waiting import wait_for
from tests.house.conftest import HOST_BIN, Agent, Broker

BOARDS = ("board-a", "board-b", "board-c")


class FleetRoot:
    """The root of a fleet's folder, as an agent is given it."""

    def __init__(self, fleet: Path) -> None:
        self._fleet = fleet

    def root_envelope(self) -> bytes:
        return (self._fleet / "root-1.json").read_bytes()


class Operator:
    """Somebody with a fleet's folder and a terminal."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.fleet = folder / "fleet"
        self._where = ["--fleet", self.fleet, "--broker", f"mqtt://127.0.0.1:{broker.port}", "--json"]
        self.run("keys", "init", where=["--fleet", self.fleet, "--json"])

    def run(self, *words: object, where: "list[object] | None" = None) -> "tuple[int, dict[str, object]]":
        command = [str(word) for word in (HOST_BIN / "deploy", *words, *(where or self._where))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def operator(tmp_path: Path, broker: Broker) -> Operator:
    return Operator(tmp_path, broker)


@pytest.fixture
def agents(tmp_path: Path, broker: Broker, operator: Operator) -> Iterator[dict[str, Agent]]:
    found = {}
    for name in BOARDS:
        folder = tmp_path / name
        folder.mkdir()
        found[name] = Agent(folder, broker.port, FleetRoot(operator.fleet), name)  # type: ignore[arg-type]
    yield found
    for one in found.values():
        one.close()


def start_all(broker: Broker, agents: "dict[str, Agent]") -> None:
    for one in agents.values():
        one.start()
    for name in agents:
        wait_for(f"{name} is there", lambda name=name: broker.heard.get(f"coral/{name}/status") == b"online")


def test_a_rollout_from_a_canary_to_everybody_and_one_that_fails(
    tmp_path: Path, broker: Broker, operator: Operator, agents: "dict[str, Agent]"
) -> None:
    """Version 1 reaches three boards by way of a canary; version 2 fails on one, and all go back."""
    start_all(broker, agents)
    quick = ("--soak", "0", "--trial", "0", "--timeout", "60s", "--yes")
    one = write_tiny_bundle(tmp_path / "one", "1")
    stages = ("--canary", "board-a", "--then", "50%,100%")
    code, told = operator.run("rollout", one, *stages, *quick)
    assert (code, told["state"], told["good"]) == (0, "done", 3), told
    assert all(broker.wait_for_phase(name, "active", "1") for name in BOARDS)

    # A board that may not take so much fails as one would whose disk is too small.
    weak = agents["board-c"]
    weak.stop()
    weak.config.write_text(weak.config.read_text() + "max_release_bytes = 1024\n")
    restarted = broker.heard["coral/board-c/model/reported"]
    weak.start()
    wait_for("board-c is back", lambda: broker.heard["coral/board-c/model/reported"] != restarted)
    two = write_tiny_bundle(tmp_path / "two", "2")
    code, told = operator.run("rollout", two, "--canary", "board-a,board-c", "--then", "100%", *quick)
    assert (code, told["state"], told["stage"]) == (4, "aborted", 1), told
    assert "1 of 2 devices failed" in str(told["reason"])
    for name in BOARDS:
        broker.wait_for_phase(name, "active", "1")
    assert "version 2" not in agents["board-b"].log.read_text()
    code, told = operator.run("history", where=["--fleet", operator.fleet, "--json"])
    versions = [entry["version"] for entry in told["releases"]]  # type: ignore[index, attr-defined]
    assert versions == ["1", "1", "1", "2", "1"]
