"""Other versions of the agent: a good one, a broken one, and the one before."""

from pathlib import Path

from tests.board.computer import NAME, Computer
from tests.board.fleet_view import PICTURE, FleetView
from tests.board.packages import find_package, make_version, read_version
from tests.board.virtual_board import VirtualBoard

GOOD, BROKEN = "7.0.0", "8.0.0"
VERSION = "dpkg-query -W -f '${Version}' reefline-agent"


def test_a_new_agent_keeps_what_the_old_one_had(
    computer: Computer, board: VirtualBoard, view: FleetView, story: Path
) -> None:
    """Name, model and settings stay; nobody has to push anything again."""
    board.run("echo '# mine' >>/etc/reefline/agent.toml")
    before = view.ask(picture=PICTURE)
    said = computer.deploy("flash", NAME, "--packages", str(make_version(story, GOOD)))
    assert said["ok"], said
    assert board.run(VERSION).startswith(GOOD)
    after = view.ask(picture=PICTURE)
    assert view.device.info is not None and view.device.info.agent == GOOD
    assert (after.model, after.label, after.score) == (before.model, before.label, before.score)
    assert board.run("tail -n 1 /etc/reefline/agent.toml") == "# mine"


def test_a_broken_agent_is_replaced_by_the_one_before(
    computer: Computer, board: VirtualBoard, view: FleetView, story: Path
) -> None:
    """It does not come up, so the last one that did is installed again, and predicts; the command says so."""
    broken = make_version(story, BROKEN, broken=True)
    said = computer.deploy("flash", NAME, "--packages", str(broken), "--timeout", "60s", expected=1)
    assert "rolled back" in str(said), said
    assert board.run(VERSION).startswith(GOOD)
    assert view.ask(picture=PICTURE).label
    assert view.device.info is not None and view.device.info.agent == GOOD


def test_an_older_agent_reads_what_a_newer_one_wrote(
    computer: Computer, board: VirtualBoard, view: FleetView
) -> None:
    """Flashing the older package is going back."""
    package = find_package()
    said = computer.deploy("flash", NAME, "--packages", str(package))
    assert said["ok"], said
    assert board.run(VERSION) == read_version(package)
    assert view.ask(picture=PICTURE).label
