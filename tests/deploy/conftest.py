"""A real broker, started through `deploy broker` itself, and what every test needs beside it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.topics import Topics
from deploy.brokers.broker import find_mosquitto
from deploy.trust.keys import init_fleet
from host_mqtt.address import Address
from host_mqtt.link import Link
from tests.deploy.enroll_place import EnrollPlace, make_key
from tests.deploy.fake_device import FakeDevice
from tests.deploy.helpers import read_line, run_deploy, stop, write_bundle
from tests.deploy.rollout_helpers import Place
from tests.fakes.board_machine import BoardMachine, board_machine
from tests.packaging.conftest import newer as newer
from tests.packaging.conftest import package as package


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    folder = tmp_path_factory.mktemp("broker")
    process = run_deploy("broker", "--dir", str(folder), "--port", "0", "--json")
    ready = json.loads(read_line(process.stdout))
    yield Address(ready["host"], ready["port"])
    stop(process)


@pytest.fixture
def base(request: pytest.FixtureRequest) -> str:
    """A base topic of its own, so that no test sees what another one retained."""
    return "t-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]


@pytest.fixture
def topics(base: str) -> Topics:
    return Topics(base)


@pytest.fixture
def link(address: Address) -> Iterator[Link]:
    with Link(address) as opened:
        yield opened


@pytest.fixture
def device(address: Address, base: str) -> Iterator[FakeDevice]:
    with FakeDevice(address, base, "reef-1") as fake:
        yield fake


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    folder = tmp_path / "fleet"
    init_fleet(folder, 1_800_000_000.0)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def place(bundle: Path, fleet: Path, address: Address, base: str) -> Place:
    return Place(bundle, fleet, address, base)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardMachine]:
    """A board with a real sshd, which every test finds as it was flashed."""
    with board_machine(tmp_path_factory.mktemp("board")) as machine:
        yield machine


@pytest.fixture
def bare_board(machine: BoardMachine) -> BoardMachine:
    """A board at which nobody has been."""
    machine.reset()
    return machine


@pytest.fixture
def enroll_place(
    bare_board: BoardMachine, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> EnrollPlace:
    """A person whose key the board knows, and the fleet that it shall join."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    home = tmp_path / "home"
    bare_board.authorize(make_key(home / ".ssh" / "id_ed25519"))
    return EnrollPlace(bare_board, fleet, home)
