"""A mounted card: whether it is one, and whether it holds the root file system of a board or only data."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from deploy.boards.packages import Python
from deploy.boards.survey import MENDEL
from host_cli.errors import WrongUsage

COMPUTER = Path("/")
MAX_STATUS_BYTES = 64 * 1024 * 1024
MAX_SMALL_BYTES = 64 * 1024
# Space that must be left for what the first boot does.
RESERVE_BYTES = 16 * 1024 * 1024
_NAMED = ("dpkg", "python3", "systemd", "network-manager")
_ROOT_SIGNS = ("etc/os-release", "usr/lib/os-release", "etc/passwd", "var/lib/dpkg/status")
_RELEASE_LINE = re.compile(r'^([A-Z_]+)="?([\x20-\x21\x23-\x7e]{1,80})"?$', re.MULTILINE)
_INSTALLED = "install ok installed"
_OTHER_CARD = "flash the card with Mendel or another 64-bit Debian with systemd, or take a plain data card"


@dataclass(frozen=True)
class RootSystem:
    """A root file system of a Debian, as its own files describe it.

    `enrolled` is its enrolled.toml, None when it never was.
    """

    pretty_name: str
    is_mendel: bool
    architecture: str
    python: Python | None
    has_network_manager: bool
    enrolled: bytes | None


@dataclass(frozen=True)
class Card:
    """A mounted card; `system` is None where it holds only data."""

    folder: Path
    system: RootSystem | None

    @property
    def kind(self) -> str:
        """What a person calls it."""
        return "data card" if self.system is None else f"root file system of {self.system.pretty_name}"


def read_card(folder: Path) -> Card:
    """Look at what is mounted at a folder; nothing is written.

    Raises:
        WrongUsage: it is no card, cannot be written, or its root file system cannot become a board's.
    """
    _require_card(folder)
    is_root = any((folder / sign).is_symlink() or (folder / sign).exists() for sign in _ROOT_SIGNS)
    return Card(folder, _read_system(folder) if is_root else None)


def require_space(folder: Path, needed_bytes: int) -> None:
    """Refuse a card without the space for what is still to be written.

    Raises:
        WrongUsage: it says how much is there and how much is needed.
    """
    there = os.statvfs(folder)
    free_bytes = there.f_bavail * there.f_frsize
    if needed_bytes + RESERVE_BYTES > free_bytes:
        what = f"{free_bytes:,} bytes are free, {needed_bytes + RESERVE_BYTES:,} are needed"
        raise WrongUsage(what, str(folder), "make room on the card, or take a larger one")


def place_on(folder: Path, name: str) -> Path:
    """Return where a file of the card lies, with no link on the way that could lead off the card.

    Raises:
        WrongUsage: a folder on the way is a link, or no folder.
    """
    place = folder
    for part in Path(name).parts[:-1]:
        place = place / part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            what = "a link, or a file in place of a folder: what is written there could leave the card"
            raise WrongUsage(what, str(place), _OTHER_CARD)
    return folder / name


def _require_card(folder: Path) -> None:
    hint = "lsblk shows where the card is mounted; --sdcard takes that folder"
    if not folder.is_dir():
        raise WrongUsage("no such folder", str(folder), hint)
    if folder.samefile(COMPUTER) or folder.stat().st_dev == COMPUTER.stat().st_dev:
        raise WrongUsage("this folder belongs to this computer, not to a card", str(folder), hint)
    if (folder / "..").stat().st_dev == folder.stat().st_dev:
        raise WrongUsage("no card is mounted here", str(folder), hint)
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        what = "the card is mounted read-only"
        raise WrongUsage(what, str(folder), "look at its write protection; mount -o remount,rw")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WrongUsage("this user may not write here", str(folder), "run the same command with sudo -E")


def _read_system(folder: Path) -> RootSystem:
    status = _read(folder, "var/lib/dpkg/status", MAX_STATUS_BYTES)
    if status is None:
        raise WrongUsage("its system is not Debian's kind: it has no dpkg", str(folder), _OTHER_CARD)
    packages = _read_status(status.decode("utf-8", "replace"))
    if "dpkg" not in packages or "systemd" not in packages:
        what = "its system has no systemd: nothing would start the first boot's unit"
        raise WrongUsage(what, str(folder), _OTHER_CARD)
    about = _read_release(folder)
    return RootSystem(
        about.get("PRETTY_NAME", "an unnamed Debian"),
        about.get("ID") == MENDEL,
        packages["dpkg"].get("Architecture", ""),
        _read_python(packages.get("python3", {}).get("Version", "")),
        "network-manager" in packages,
        _read(folder, "etc/reefline/enrolled.toml", MAX_SMALL_BYTES),
    )


def _read_status(text: str) -> dict[str, dict[str, str]]:
    """Return the one-line fields of the installed packages that we care about, by package."""
    found = {}
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Package") in _NAMED and fields.get("Status") == _INSTALLED:
            found[fields["Package"]] = fields
    return found


def _read_python(version: str) -> Python | None:
    match = re.match(r"(\d{1,2})\.(\d{1,2})", version)
    return (int(match[1]), int(match[2])) if match else None


def _read_release(folder: Path) -> dict[str, str]:
    """Return what os-release says, as far as it can be shown on a terminal."""
    names = ("usr/lib/os-release", "etc/os-release")
    text = next((text for name in names if (text := _read(folder, name, MAX_SMALL_BYTES))), b"")
    return dict(_RELEASE_LINE.findall(text.decode("ascii", "replace")))


def _read(folder: Path, name: str, most_bytes: int) -> bytes | None:
    """Return what a file of the card holds; None when it is not there. No link is followed."""
    path = place_on(folder, name)
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise WrongUsage(f"the file has more than {most_bytes} bytes", str(path), _OTHER_CARD)
    return content
