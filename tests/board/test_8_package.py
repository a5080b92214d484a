"""The life of the package in the virtual board's file system: arm64 programs run singly, no board boots."""

from pathlib import Path

from tests.board.packages import find_package
from tests.board.virtual_board import Image
from tests.fakes.machine_copy import machine_copy
from tests.packaging.life import live_through, make_next


def test_it_keeps_what_is_not_its_own_until_it_is_purged(story: Path) -> None:
    """Installed, upgraded, downgraded, removed, purged; in a chroot, without network and systemd."""
    package = find_package()
    with machine_copy(story / "machine", Image.find().root) as machine:
        live_through(machine, package, make_next(package, story))
