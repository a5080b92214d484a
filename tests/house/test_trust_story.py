"""A story of trust: a real broker, a real agent, and a fleet whose keys are replaced while it runs."""

import json
import subprocess
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from contract.topics import Topics
from tests.fakes.publisher import Publisher, tiny_files
from tests.fakes.waiting import wait_for
from tests.house.conftest import HOST_BIN, Agent, Broker

TOPICS = Topics()
DEVICE = "board-a"


class FleetPublisher(Publisher):
    """Signs with the newest release key of a fleet's folder."""

    def __init__(self, fleet: Path) -> None:
        super().__init__(chunk_bytes=4096)
        self._fleet = fleet
        self.load()

    def load(self) -> None:
        newest = max((self._fleet / "keys").glob("release-*.key"))
        self.keys["release"] = SigningKey(bytes.fromhex(newest.read_text()))

    def root_envelope(self) -> bytes:
        return (self._fleet / "root-1.json").read_bytes()


def deploy(*arguments: object) -> "dict[str, object]":
    command = [str(HOST_BIN / "deploy"), *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    folder = tmp_path / "fleet"
    deploy("keys", "init", "--fleet", folder)
    return folder


def test_the_release_key_is_replaced_while_the_agent_runs(
    tmp_path: Path, fleet: Path, broker: Broker
) -> None:
    """The old key's releases are refused from then on, the new key's are taken, orders are obeyed once."""
    publisher = FleetPublisher(fleet)
    there = ("--fleet", fleet, "--broker", f"mqtt://127.0.0.1:{broker.port}")
    (tmp_path / "agent").mkdir()
    agent = Agent(tmp_path / "agent", broker.port, publisher)  # type: ignore[arg-type]
    agent.start()
    try:
        _tell_the_story(agent, broker, publisher, there)
    finally:
        agent.close()


def _tell_the_story(
    agent: Agent, broker: Broker, publisher: FleetPublisher, there: "tuple[object, ...]"
) -> None:
    for data in tiny_files().values():
        for topic, payload in publisher.messages(data):
            broker.retain(topic, payload)
    _order(broker, publisher)
    broker.wait_for_phase(DEVICE, "active", "1")
    replayed = publisher.release(publisher.manifest())
    deploy("keys", "rotate", "release", *there, "--publish")
    wait_for("root 2 is in force", lambda: _root(broker) == 2)
    broker.retain(TOPICS.model_desired(DEVICE), replayed)
    report = broker.wait_for_phase(DEVICE, "failed", "1")
    assert report.error is not None and report.error.code == "signature"
    publisher.load()
    _order(broker, publisher)
    broker.wait_for_phase(DEVICE, "active", "3")
    assert deploy("command", DEVICE, "rollback", *there)["ok"]
    broker.wait_for_phase(DEVICE, "rolled_back", "1")
    broker.heard.clear()
    assert deploy("command", DEVICE, "restart", *there)["ok"]
    assert agent.wait() == 1, "its service manager starts it again"
    agent.start()
    wait_for("root 2 is remembered", lambda: _root(broker) == 2)


def _order(broker: Broker, publisher: Publisher) -> None:
    broker.retain(TOPICS.model_desired(DEVICE), publisher.release(publisher.manifest()))


def _root(broker: Broker) -> int:
    report = broker.report(DEVICE)
    return report.trust.root if report else 0
