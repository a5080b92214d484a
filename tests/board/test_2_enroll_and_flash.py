"""From the box into the fleet: found, enrolled, flashed; and a second time, which changes nothing."""

import time

from deploy.boards.discover import find_by_mdns
from tests.board.computer import NAME, Computer
from tests.board.fleet_view import FleetView
from tests.board.packages import PYTHON
from tests.board.virtual_board import BOARD, COMPUTER, VirtualBoard

CLOCK_TOLERANCE_S = 60.0
FILES = "find /etc/reefline /usr/lib/reefline /lib/systemd/system/reefline-agent.service"


def test_it_is_found_by_its_announcement(board: VirtualBoard) -> None:
    """Real mDNS over the cable: nobody has to know an address."""
    found = find_by_mdns([COMPUTER])
    assert [(near.name, near.host) for near in found] == [(board.run("hostname"), BOARD)]


def test_enrolling_lets_us_in_and_sets_the_clock(
    computer: Computer, broker: str, board: VirtualBoard
) -> None:
    """The keymaster takes mdt's key; the board makes its own private key; its clock is right afterwards."""
    said = computer.deploy("enroll", "--usb", "--broker", broker, "--name", NAME, "--tags", "lab")
    assert (said["device"], said["host"], said["tags"]) == (NAME, BOARD, ["lab"])
    assert abs(int(board.run("date +%s")) - time.time()) < CLOCK_TOLERANCE_S
    assert board.run("head -c 27 /etc/reefline/mqtt/client.key") == "-----BEGIN EC PRIVATE KEY--"
    assert board.ask("systemctl is-active mdt-keymaster").stdout == b"inactive\n"


def test_flashing_is_done_when_it_predicts(computer: Computer, board: VirtualBoard, view: FleetView) -> None:
    """The package that fits is installed, the agent is online, and what it says of a picture is right."""
    said = computer.deploy("flash", NAME)
    assert said["ok"], said
    device = view.device
    assert device.online and device.info is not None and device.info.python.startswith(PYTHON + ".")
    assert board.run("systemctl is-active reefline-agent; systemctl is-enabled reefline-agent").split() == [
        "active",
        "enabled",
    ]


def test_the_agents_secrets_are_its_own(board: VirtualBoard) -> None:
    """The private key is read by root and the agent only."""
    assert board.run("stat -c '%U:%G %a' /etc/reefline/mqtt/client.key") == "root:reefline 640"
    assert board.ask("runuser -u mendel -- cat /etc/reefline/mqtt/client.key").returncode != 0


def test_a_second_time_changes_nothing(
    computer: Computer, broker: str, board: VirtualBoard, view: FleetView
) -> None:
    """Neither a file nor the running agent."""
    files, boot = board.run(f"{FILES} -type f -printf '%p %T@ %s\\n'"), view.boot
    computer.deploy("enroll", NAME)
    said = computer.deploy("flash", NAME)
    assert said["ok"], said
    assert board.run(f"{FILES} -type f -printf '%p %T@ %s\\n'") == files
    assert view.boot == boot
