"""A card that makes a board one of the fleet at its first boot: what is mounted, and what is written."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.boards import register
from deploy.boards.packages import Package, choose
from deploy.cards.card import Card, place_on, read_card, require_space
from deploy.cards.card_files import (
    ENABLED_PLACE,
    ON_DATA,
    ON_ROOT,
    UNIT,
    CardFile,
    Contents,
    lay_out,
)
from deploy.cards.wifi import Wifi
from deploy.enrolment.goal import APEX, CORAL, MAX_HARDWARE_CHARACTERS, Goal
from deploy.enrolment.identity import SETTINGS, build_enrolled
from deploy.trust.certificates import device_folder, issue_device, require_allowed
from deploy.trust.keys import ROOT_FILE
from host_cli.errors import WrongUsage
from host_cli.files import sync, write_bytes, write_with
from host_mqtt.address import Address
from host_mqtt.credentials import CERTIFICATE_FILE, KEY_FILE

FOLDER_MODE = 0o700


@dataclass(frozen=True)
class Order:
    """What the card is for.

    `user` is who may log in on the board with `public_key`, a line of authorized_keys. Without `wifi` the
    board is wired.
    """

    card: Path
    fleet: Path
    device: str
    tags: tuple[str, ...]
    broker: Address
    base: str
    packages: tuple[Package, ...]
    wifi: Wifi | None
    user: str
    public_key: str
    dry_run: bool = False


@dataclass(frozen=True)
class Change:
    """What a card lacks, what lies there from before, and whether the first boot is still to be enabled."""

    files: tuple[CardFile, ...]
    left_over: tuple[Path, ...]
    enables: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Every file that is written or removed."""
        names = [each.name for each in self.files] + [path.name for path in self.left_over]
        return (*names, ENABLED_PLACE) if self.enables else tuple(names)


@dataclass(frozen=True)
class Prepared:
    """What lies on the card, or would: every file, and the names of those that were written or removed."""

    card: Card
    files: tuple[CardFile, ...]
    changed: tuple[str, ...]


def prepare(order: Order, now_s: float, advance: Callable[[float], None]) -> Prepared:
    """Put onto a card what a board needs to join the fleet by itself.

    The board's key and certificate are kept in the fleet's folder, as `deploy keys device` does, so that a
    second run changes nothing. Beside that nothing but the card is touched.

    Args:
        order: what the card is for.
        now_s: seconds since 1970; the certificate ends years after it.
        advance: called with the share that was written, of 1.

    Raises:
        WrongUsage: it is no card, or not one for this board; the name is taken or blocked; no package fits.
    """
    card = read_card(order.card)
    packages = _fitting(order, card)
    enrolled = _enrolled(order, card)
    if _has_booted(card, enrolled):
        return Prepared(card, (), ())
    with tempfile.TemporaryDirectory() as draft:
        identity = _identity(order, Path(draft), now_s)
        root = order.fleet / ROOT_FILE
        login = (order.user, order.public_key)
        contents = Contents(order.device, packages, identity, root, enrolled, *login, order.wifi)
        files = tuple(lay_out(contents, on_root=card.system is not None))
    change = Change(
        tuple(each for each in files if not _is_there(card, each)),
        tuple(_left_over(card, files)),
        card.system is not None and not place_on(card.folder, ENABLED_PLACE).is_symlink(),
    )
    if change.names and not order.dry_run:
        require_space(card.folder, _needed_bytes(card, change, packages))
        _write(card, change, advance)
    return Prepared(card, files, change.names)


def _needed_bytes(card: Card, change: Change, packages: Iterable[Package]) -> int:
    """Return what must be free: for what is written, and on a system for what its first boot makes of it."""
    written = sum(len(each.data) for each in change.files)
    return written + (sum(len(each.data) + each.installed_bytes for each in packages) if card.system else 0)


def _fitting(order: Order, card: Card) -> tuple[Package, ...]:
    """Return the one package for a system that we see, and all of them for one that we do not."""
    if card.system is None:
        return order.packages
    if order.wifi is not None and not card.system.has_network_manager:
        what = "its system has no NetworkManager, which would set up Wi-Fi"
        raise WrongUsage(what, str(order.card), "--no-wifi, and set it up by the system's own means")
    return (choose(order.packages, card.system.architecture, card.system.python, str(order.card)),)


def _identity(order: Order, draft: Path, now_s: float) -> Path:
    """Return the folder with the board's key and certificate, made if need be; in a dry run as a draft."""
    folder = device_folder(order.fleet, order.device)
    certificate = folder / CERTIFICATE_FILE
    is_made = certificate.exists() and (folder / KEY_FILE).exists()
    known = hashlib.sha256(certificate.read_bytes()).hexdigest() if is_made else None
    board = register.find(order.fleet, order.device)
    if board is not None and board.certificate_sha256 != known:
        hint = "give this board another --name"
        raise WrongUsage(f"the name {order.device} is taken", f"the board at {board.host}", hint)
    require_allowed(order.fleet, order.device)
    if is_made:
        return folder
    made = draft if order.dry_run else folder
    issue_device(order.fleet, order.device, made, now_s)
    return made


def _enrolled(order: Order, card: Card) -> bytes:
    """Return the board's enrolled.toml."""
    if not order.broker.tls:
        what = "a board needs the address of a broker that speaks TLS"
        raise WrongUsage(what, str(order.broker), "--broker mqtts://HOST, as the board will reach it")
    about: tuple[str, str | None] = (CORAL, APEX)
    if card.system is not None and not card.system.is_mendel:
        about = (card.system.pretty_name[:MAX_HARDWARE_CHARACTERS], None)
    # A data card is taken for a Coral board's; `deploy enroll` sets that right where it is none.
    return build_enrolled(Goal(order.device, order.tags, *about, order.broker, order.base))


def _has_booted(card: Card, enrolled: bytes) -> bool:
    """Whether the first boot is over, with this very enrolment.

    Raises:
        WrongUsage: the system was enrolled with another one.
    """
    if card.system is None or card.system.enrolled is None:
        return False
    if card.system.enrolled != enrolled:
        what = "this system is enrolled already, with another name, tags or broker"
        raise WrongUsage(what, str(card.folder), "deploy flash NAME updates it; or flash the card anew")
    return not (card.folder / ON_ROOT).exists()


def _is_there(card: Card, file: CardFile) -> bool:
    path = place_on(card.folder, file.name)
    if path.is_symlink() or not path.is_file() or path.read_bytes() != file.data:
        return False
    # FAT has no permission bits to compare.
    return card.system is None or stat.S_IMODE(path.stat().st_mode) == file.mode


def _left_over(card: Card, files: Iterable[CardFile]) -> list[Path]:
    """Return what an earlier run left and this one does not want: another package, the Wi-Fi of before."""
    wanted = {card.folder / each.name for each in files}
    return sorted(path for path in _folder(card).glob("*") if path not in wanted and not path.is_dir())


def _folder(card: Card) -> Path:
    return place_on(card.folder, f"{ON_DATA if card.system is None else ON_ROOT}/{SETTINGS}").parent


def _write(card: Card, change: Change, advance: Callable[[float], None]) -> None:
    _folder(card).mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    for path in change.left_over:
        path.unlink()
    total = sum(len(each.data) for each in change.files)
    for each in change.files:
        _write_file(card, each)
        advance(len(each.data) / total)
    if change.enables:
        _enable(place_on(card.folder, ENABLED_PLACE))


def _write_file(card: Card, file: CardFile) -> None:
    path = place_on(card.folder, file.name)
    if card.system is not None:
        write_bytes(path, file.data, file.mode)
        return

    def write(temporary: Path) -> None:
        # FAT has no permission bits, and refuses to change them; to make a file with some is no error there.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode), "wb") as stream:
            stream.write(file.data)

    write_with(path, write)


def _enable(link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"../{UNIT}")
    sync(link.parent)
