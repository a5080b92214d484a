"""The package on a machine: nothing lost that a person or a board made, nothing left in the end."""

from pathlib import Path

from tests.fakes.publisher import Publisher
from tests.packaging.conftest import add_service_manager, avoid_usual_port, machine
from tests.packaging.life import enroll, install, live_through, sh

STATE = "systemctl is-active reefline-agent.service || true"
PID = "cat /run/units/reefline-agent.service"


def test_it_keeps_what_is_not_its_own_until_it_is_purged(package: Path, newer: Path, tmp_path: Path) -> None:
    """Installed, upgraded, downgraded, removed, purged; in a chroot, without network and systemd."""
    with machine(tmp_path) as copy:
        live_through(copy, package, newer)


def test_an_enrolled_board_answers_at_once_and_after_an_upgrade(
    package: Path, newer: Path, tmp_path: Path
) -> None:
    """The agent is started, and replaced by the new one; but one that a person has stopped is left alone."""
    with machine(tmp_path) as board:
        add_service_manager(board)
        enroll(board)
        avoid_usual_port(board)
        (board.root / "etc/reefline/root.json").write_bytes(Publisher().root_envelope())
        install(board, package)
        assert sh(board, STATE) == "active"
        first = sh(board, PID)

        install(board, newer)
        assert sh(board, STATE) == "active"
        assert sh(board, PID) != first

        sh(board, "systemctl stop reefline-agent.service")
        install(board, package)
        assert sh(board, STATE) == "inactive"

        sh(board, "systemctl start reefline-agent.service")
        last = sh(board, PID)
        sh(board, "dpkg --remove reefline-agent")
        assert sh(board, f"readlink /proc/{last}/exe || echo gone") == "gone"
