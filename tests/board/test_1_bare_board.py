"""A board as it comes out of its box: what it shares with Mendel, and that nothing of ours is there yet."""

import time

from tests.board.virtual_board import BOARD, VirtualBoard

DAY_S = 86_400.0


def test_it_is_what_the_agent_is_made_for(board: VirtualBoard) -> None:
    """An arm64 Debian with systemd, a Python of its own, and a numpy that is too old for our runtime."""
    assert board.run("uname -m; dpkg --print-architecture").split() == ["aarch64", "arm64"]
    assert board.run("ps -o comm= 1") == "systemd"
    version = board.run("/usr/bin/python3 -c 'import numpy; print(numpy.__version__)'")
    assert tuple(map(int, version.split(".")[:2])) < (1, 26)


def test_it_looks_like_mendel(board: VirtualBoard) -> None:
    """Its user, groups, name, keymaster and announcement; nobody gets in with a password."""
    assert {"sudo", "apex", "plugdev", "video"} <= set(board.run("id -nG mendel").split())
    assert board.run("runuser -u mendel -- sudo -n id -u") == "0"
    assert board.run("systemctl is-active mdt-keymaster avahi-daemon ssh").split() == ["active"] * 3
    name = board.run("hostname")
    assert name.count("-") == 1
    assert f"{name}.local;{BOARD};22" in board.run(
        "avahi-browse --terminate --resolve --parsable _googlemdt._tcp"
    )
    assert "passwordauthentication no" in board.run("sshd -T")


def test_its_clock_is_years_behind(board: VirtualBoard) -> None:
    """systemd puts a clock that says 1970 to the day on which systemd was built; that is all it knows."""
    assert int(board.run("date +%s")) < time.time() - 100 * DAY_S


def test_nothing_of_ours_is_there(board: VirtualBoard) -> None:
    """What follows starts from nothing."""
    assert board.ask("ls -d /etc/reefline /usr/lib/reefline /var/lib/reefline").stdout == b""
    assert board.ask("id reefline").returncode != 0
