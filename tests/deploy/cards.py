"""Cards for tests: real mounts in a copy of this machine, so that nothing of them outlives a test."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.machine_copy import MachineCopy

_NUMBERS = itertools.count()
RELEASE = 'PRETTY_NAME="Mendel GNU/Linux 5 (Eagle)"\nID=mendel\n'
PACKAGES = {
    "dpkg": ("arm64", "1.19.7"),
    "python3": ("arm64", "3.7.3-1"),
    "systemd": ("arm64", "241-7"),
    "network-manager": ("arm64", "1.14.6-2"),
}


@contextmanager
def mounted(machine: MachineCopy, options: str = "size=64m") -> Iterator[Path]:
    """Mount an empty card in a copy of this machine; yield where it is, as seen from outside."""
    place = f"/media/card-{next(_NUMBERS)}"
    done = machine.run("sh", "-c", f"mkdir -p {place} && mount -t tmpfs -o {options} card {place}")
    assert done.returncode == 0, done.stderr.decode()
    try:
        yield machine.root / place.lstrip("/")
    finally:
        machine.run("umount", place)


def write_root(card: Path, release: str = RELEASE, **changes: tuple[str, str] | None) -> None:
    """Write what a root file system says of itself; `changes` are packages by name, None: not there."""
    named = {**PACKAGES, **{name.replace("_", "-"): value for name, value in changes.items()}}
    (card / "usr/lib").mkdir(parents=True)
    (card / "usr/lib/os-release").write_text(release)
    (card / "var/lib/dpkg").mkdir(parents=True)
    (card / "etc/systemd/system").mkdir(parents=True)
    (card / "etc/os-release").symlink_to("../usr/lib/os-release")
    paragraphs = [
        f"Package: {name}\nStatus: install ok installed\nArchitecture: {about[0]}\nVersion: {about[1]}\n"
        for name, about in named.items()
        if about is not None
    ]
    (card / "var/lib/dpkg/status").write_text("\n".join(paragraphs))
