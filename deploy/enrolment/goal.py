"""What a board shall be: from what a person wishes, what it is already, and what others are called."""

import re
from dataclasses import dataclass
from pathlib import Path

from contract.topics import DEFAULT_BASE, DEVICE_PATTERN
from deploy.boards import register
from deploy.boards.survey import EnrolledAs, Survey
from deploy.trust.certificates import require_allowed
from host_cli.errors import WrongUsage
from host_mqtt.address import Address

CORAL, CORAL_MINI = "coral-dev-board", "coral-dev-board-mini"
APEX = "pci:0"
MAX_HARDWARE_CHARACTERS = 64


@dataclass(frozen=True)
class Wish:
    """What a person wants a board to be. None: as it is already; without a name, as the board calls itself.

    `take_over` makes a board of another fleet one of ours.

    Raises:
        WrongUsage: no device can be called so, or the name is blocked.
    """

    fleet: Path
    broker: Address | None = None
    base: str | None = None
    name: str | None = None
    tags: tuple[str, ...] | None = None
    take_over: bool = False

    def __post_init__(self) -> None:
        if self.name is not None:
            require_allowed(self.fleet, self.name)


@dataclass(frozen=True)
class Goal:
    """What the board shall be; `edgetpu` is how the agent names the Edge TPU, None where there is none."""

    device: str
    tags: tuple[str, ...]
    hardware: str
    edgetpu: str | None
    broker: Address
    base: str


def decide(wish: Wish, found: Survey, before: EnrolledAs | None, host_key: str, where: str) -> Goal:
    """Return what a board shall be.

    Args:
        wish: what a person said.
        found: what the board is.
        before: what it was enrolled with in this fleet; None: it was not.
        host_key: what the board showed.
        where: names it in errors.

    Raises:
        WrongUsage: its name is none, taken or blocked, or nobody said where the broker is.
    """
    known = register.find_by_key(wish.fleet, host_key)
    in_book = known.device if known else None
    device = wish.name or (before.device if before else None) or in_book or _own_name(found, where)
    require_free(wish.fleet, device, host_key, where)
    broker = wish.broker or (before.broker if before else None)
    if broker is None or not broker.tls:
        what = "a board needs the address of a broker that speaks TLS"
        raise WrongUsage(what, str(broker or "--broker"), "deploy enroll HOST --broker mqtts://HOST")
    tags = wish.tags if wish.tags is not None else (before.tags if before else None)
    base = wish.base or (before.base if before else None) or DEFAULT_BASE
    edgetpu = APEX if found.has_apex_device else None
    return Goal(device, tags or (), _hardware(found), edgetpu, broker, base)


def warn_of_itself(broker: Address, host: str) -> list[str]:
    """Return a warning where a board, itself at `host`, would look for the broker on itself."""
    if not _is_loopback(broker.host) or _is_loopback(host):
        return []
    return [f"to the board {broker.host} is the board itself: --broker mqtts://THIS-COMPUTER"]


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def require_free(fleet: Path, device: str, host_key: str, where: str) -> None:
    """Check that a board may be called so.

    Raises:
        WrongUsage: the name is blocked, or the book has another board of this name.
    """
    require_allowed(fleet, device)
    other = register.find_name(fleet, device)
    if other is not None and other.host_key != host_key:
        what = f"another board is called {device}, the one at {other.host}"
        hint = (
            f"take another --name; if it is gone, or was flashed anew: rm {register.path_of(fleet, device)}"
        )
        raise WrongUsage(what, where, hint)


def _own_name(found: Survey, where: str) -> str:
    name = found.hostname.split(".")[0].lower()
    if not re.fullmatch(DEVICE_PATTERN, name) or name == "localhost":
        raise WrongUsage(f"the board has no name of its own: {name!r}", where, "give it one: --name NAME")
    return name


def _hardware(found: Survey) -> str:
    if found.is_mendel:
        return CORAL_MINI if "mini" in found.model.lower() else CORAL
    return (found.model or f"{found.os_id or 'linux'} {found.machine}")[:MAX_HARDWARE_CHARACTERS]
