"""What lies on a card for a first boot: each file's name, bytes and permission bits, and in which order."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.boards.packages import Package
from deploy.cards.wifi import Wifi, build_keyfile
from deploy.enrolment.identity import ROOT, SETTINGS
from deploy.flashing.install import INSTALLER
from deploy.trust.certificates import PRIVATE_MODE
from host_mqtt.credentials import CA_FILE, CERTIFICATE_FILE, KEY_FILE

START = "start.sh"
UNIT = "reefline-first-boot.service"
UNIT_PLACE = f"etc/systemd/system/{UNIT}"
ENABLED_PLACE = f"etc/systemd/system/multi-user.target.wants/{UNIT}"
# On a root file system the bundle lies where the first boot finds it; `start.sh` brings it there from a
# data card.
ON_ROOT, ON_DATA = "var/lib/reefline-first-boot", "reefline"
_SCRIPTS = Path(__file__).with_name("first_boot")


@dataclass(frozen=True)
class CardFile:
    """A file of the card: its path from the card's top, its bytes and permission bits."""

    name: str
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Contents:
    """What a first boot needs to know.

    `identity` is a folder with the board's key and its certificates, `root` the fleet's root of trust,
    `enrolled` enrolled.toml. `user` may log in with `public_key`, a line of authorized_keys.
    Without `wifi` the board is wired.
    """

    device: str
    packages: tuple[Package, ...]
    identity: Path
    root: Path
    enrolled: bytes
    user: str
    public_key: str
    wifi: Wifi | None


def lay_out(contents: Contents, *, on_root: bool) -> Iterator[CardFile]:
    """Yield every file where it lies on a card; what makes the others count comes after them."""
    folder = ON_ROOT if on_root else ON_DATA
    bundle = [*_bundle(contents), *(() if on_root else map(_script, (START, UNIT)))]
    yield from (CardFile(f"{folder}/{each.name}", each.data, each.mode) for each in bundle)
    yield CardFile(f"{folder}/SHA256SUMS", _sums(bundle))
    if on_root:
        yield CardFile(UNIT_PLACE, _script(UNIT).data)


def _bundle(contents: Contents) -> Iterator[CardFile]:
    identity = contents.identity
    yield _script("first-boot.sh")
    yield CardFile(INSTALLER.name, INSTALLER.read_bytes())
    yield from (CardFile(each.file_name, each.data) for each in contents.packages)
    yield CardFile("packages", "".join(map(_kind, contents.packages)).encode())
    # When the identity was made: no board is that far behind.
    yield CardFile("clock", f"{(identity / CERTIFICATE_FILE).stat().st_mtime:.0f}\n".encode())
    yield CardFile("name", f"{contents.device}\n".encode())
    yield CardFile("user", f"{contents.user}\n".encode())
    yield CardFile("authorized_keys", f"{contents.public_key}\n".encode())
    yield CardFile(ROOT, contents.root.read_bytes())
    yield CardFile(SETTINGS, contents.enrolled)
    yield CardFile(CA_FILE, (identity / CA_FILE).read_bytes())
    yield CardFile(CERTIFICATE_FILE, (identity / CERTIFICATE_FILE).read_bytes())
    yield CardFile(KEY_FILE, (identity / KEY_FILE).read_bytes(), PRIVATE_MODE)
    if contents.wifi is not None:
        yield CardFile("wifi.nmconnection", build_keyfile(contents.wifi), PRIVATE_MODE)


def _script(name: str) -> CardFile:
    return CardFile(name, (_SCRIPTS / name).read_bytes())


def _kind(package: Package) -> str:
    python = ".".join(map(str, package.python))
    return f"{package.architecture} {python} {package.sha256} {package.file_name}\n"


def _sums(files: Iterable[CardFile]) -> bytes:
    return "".join(f"{hashlib.sha256(each.data).hexdigest()}  {each.name}\n" for each in files).encode()
