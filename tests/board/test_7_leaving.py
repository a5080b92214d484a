"""The agent goes: removed it leaves what belongs to the board and to people, purged it leaves nothing."""

from tests.board.fleet_view import FleetView
from tests.board.virtual_board import VirtualBoard

OURS = "find / -xdev -name '*reefline*' -not -path '/var/log/*' -not -path '/var/cache/*'"


def test_removed_it_says_goodbye_and_keeps_its_data(board: VirtualBoard, view: FleetView) -> None:
    """The broker hears that it stopped on purpose; identity, models and settings stay for the next time."""
    board.run("apt-get --yes --quiet remove reefline-agent")
    assert view.await_device("stopped", lambda device: device.online is False).status == "stopped"
    assert board.ask("ls -d /usr/lib/reefline /usr/bin/edge-agent").stdout == b""
    kept = ["/etc/reefline/agent.toml", "/etc/reefline/mqtt/client.key", "/var/lib/reefline"]
    assert board.run("ls -d " + " ".join(kept)).split() == kept


def test_purged_it_leaves_nothing(board: VirtualBoard) -> None:
    """No file of ours, no user, no failed unit; the board is what it was."""
    board.run("apt-get --yes --quiet purge reefline-agent")
    assert board.ask("id reefline").returncode != 0
    assert board.run("systemctl --failed --no-legend") == ""
    assert board.ask(OURS).stdout.decode().split() == []
