"""Who may say what: the root of trust, the timestamp that keeps it fresh, and orders to one device."""

from dataclasses import dataclass
from typing import ClassVar, Dict, Tuple

from contract.envelope import (
    COMMAND_TYPE,
    KEY_ID_PATTERN,
    MAX_SIGNATURES,
    ROOT_TYPE,
    TIMESTAMP_TYPE,
    SignedDocument,
    require_lifetime,
    require_time,
)
from contract.errors import ManifestError
from contract.records import Binary, Integer, Items, Nested, Record, Table, Text, rule
from contract.stamps import TIME_PATTERN
from contract.topics import DEVICE_PATTERN

KEY_BYTES = 32
ROLES = ("root", "release", "timestamp")
COMMANDS = ("restart", "rollback")
MAX_CHANNELS = 64

_TIME = Text(TIME_PATTERN)


@dataclass(frozen=True)
class Role(Record):
    """Which keys speak for a role, and how many of them must agree."""

    keys: Tuple[str, ...] = rule(Items(Text(KEY_ID_PATTERN), max_items=MAX_SIGNATURES, min_items=1))
    threshold: int = rule(Integer(1, MAX_SIGNATURES))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.keys)) != len(self.keys) or self.threshold > len(self.keys):
            raise ManifestError("a role needs distinct keys, and no more of them than it has")


@dataclass(frozen=True)
class Root(SignedDocument):
    """The root of trust: every Ed25519 public key, and the roles they speak for."""

    TYPE: ClassVar[str] = ROOT_TYPE

    version: int = rule(Integer(1))
    expires: str = rule(_TIME)
    keys: Dict[str, bytes] = rule(Table(Binary(KEY_BYTES, exact_bytes=KEY_BYTES), max_items=24))
    roles: Dict[str, Role] = rule(Table(Nested(Role), max_items=len(ROLES)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.roles) != set(ROLES):
            raise ManifestError("a root names exactly the roles {}".format(", ".join(ROLES)))
        unknown = {key for role in self.roles.values() for key in role.keys} - set(self.keys)
        if unknown:
            raise ManifestError(f"a role names a key that the root does not hold: {sorted(unknown)}")
        require_time(self.expires)


@dataclass(frozen=True)
class Timestamp(SignedDocument):
    """What is the newest, as of `issued`: the sequence of each channel's release, the version of the root.

    A release for named devices is theirs, not the channel's, unless it is what the channel's topic holds.

    It is signed anew, by a key that is online, long before it expires: a device that hears no newer one
    knows that somebody holds things back. It allows nothing by itself.
    """

    TYPE: ClassVar[str] = TIMESTAMP_TYPE

    issued: str = rule(_TIME)
    expires: str = rule(_TIME)
    root: int = rule(Integer(1))
    channels: Dict[str, int] = rule(Table(Integer(1), max_items=MAX_CHANNELS))

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lifetime(self.issued, self.expires)


@dataclass(frozen=True)
class Command(SignedDocument):
    """An order to one device, signed by a release key; `counter` rises, so none is obeyed twice."""

    TYPE: ClassVar[str] = COMMAND_TYPE

    device: str = rule(Text(DEVICE_PATTERN))
    counter: int = rule(Integer(1))
    issued: str = rule(_TIME)
    expires: str = rule(_TIME)
    command: str = rule(Text(choices=COMMANDS))

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lifetime(self.issued, self.expires)
