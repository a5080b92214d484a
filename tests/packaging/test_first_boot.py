"""A card with the real package: from what `deploy flash --sdcard` wrote to a board that is online."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.topics import Topics
from deploy.boards.packages import load_packages
from deploy.cards.sdcard import Order, prepare
from deploy.trust.certificates import operator_folder
from deploy.trust.keys import init_fleet
from host_mqtt.address import Address
from host_mqtt.credentials import Credentials
from host_mqtt.link import Link
from tests.deploy.secured import run_secured
from tests.fakes.machine_copy import MachineCopy
from tests.packaging.conftest import add_service_manager, avoid_usual_port, machine

UNIT = Path(__file__).parents[2] / "deploy/cards/first_boot/reefline-first-boot.service"
START_TIMEOUT_S = 60.0


@pytest.fixture
def board(tmp_path: Path) -> Iterator[MachineCopy]:
    with machine(tmp_path / "machine") as copy:
        add_service_manager(copy)
        avoid_usual_port(copy)
        yield copy


def test_after_its_first_boot_a_board_is_online(board: MachineCopy, package: Path, tmp_path: Path):
    """Nobody logged in to it: the card brought what it needs, and the agent connects by TLS."""
    fleet = tmp_path / "fleet"
    init_fleet(fleet, time.time())
    with run_secured(fleet, tmp_path / "broker") as port:
        broker = Address("127.0.0.1", port, True, Credentials.read(operator_folder(fleet, "deploy")))
        order = Order(
            card=board.root,
            fleet=fleet,
            device="reef-1",
            tags=("lab",),
            broker=broker,
            base="coral",
            packages=tuple(load_packages(package)),
            wifi=None,
            user="root",
            public_key="ssh-ed25519 AAAA me",
        )
        prepared = prepare(order, time.time(), lambda share: None)
        assert prepared.card.system is not None and "bookworm" in prepared.card.kind
        with Link(broker) as link:
            link.subscribe([Topics().status("reef-1")])
            done = board.run("sh", "/var/lib/reefline-first-boot/first-boot.sh")
            assert done.returncode == 0, done.stdout.decode()
            message = link.receive(START_TIMEOUT_S)
        assert message is not None and b"online" in message.payload
        assert prepare(order, time.time(), lambda share: None).changed == ()


def test_systemd_takes_the_unit():
    """Nothing in it is unknown or misspelled."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(["systemd-analyze", "verify", UNIT], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "reefline-first-boot" not in done.stderr, done.stderr
