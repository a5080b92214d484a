"""The fleet's book of boards: where each is, which host key it showed, what it was enrolled with."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from contract.codec import encode
from contract.records import Integer, Items, Maybe, Number, Record, Text, rule
from contract.topics import BASE_PATTERN, DEVICE_PATTERN, NAME_PATTERN
from host_cli.documents import read_document
from host_cli.errors import WrongUsage
from host_cli.files import write_bytes
from host_cli.lock import locked

BOARDS_FOLDER = "boards"
MAX_TAGS = 16
# An RSA key of 16384 bits, the longest that can be checked, has 2,800.
MAX_HOST_KEY_CHARACTERS = 4096
MAX_VERSION_CHARACTERS = 128


@dataclass(frozen=True)
class Board(Record):
    """One board of the fleet.

    `host` and `port` are where it was seen last, `host_key` is what it must show, as known_hosts writes it.
    `enrolled_at_s` is in seconds since 1970. `package` is the version of reefline-agent that was installed.
    """

    device: str = rule(Text(DEVICE_PATTERN))
    host: str = rule(Text())
    port: int = rule(Integer(1, 65535))
    user: str = rule(Text())
    host_key: str = rule(Text(r"^[a-z0-9-]+ [A-Za-z0-9+/=]+$", max_length=MAX_HOST_KEY_CHARACTERS))
    tags: tuple[str, ...] = rule(Items(Text(NAME_PATTERN), max_items=MAX_TAGS))
    hardware: str = rule(Text(max_length=64))
    broker: str = rule(Text())
    base: str = rule(Text(BASE_PATTERN))
    certificate_sha256: str = rule(Text("^[0-9a-f]{64}$"))
    enrolled_at_s: float = rule(Number(0))
    package: str | None = rule(Maybe(Text(max_length=MAX_VERSION_CHARACTERS)), default=None)


def save(fleet: Path, board: Board) -> None:
    """Write down what is known of a board; what was known before is replaced."""
    write_bytes(path_of(fleet, board.device), encode(board))


def forget(fleet: Path, device: str) -> None:
    """Take a board out of the book."""
    path_of(fleet, device).unlink(missing_ok=True)


def find(fleet: Path, name_or_host: str) -> Board | None:
    """Return the board of this name, else the one that was seen at this address; None: nobody knows it.

    Raises:
        WrongUsage: the book cannot be read.
    """
    return find_name(fleet, name_or_host) or find_at(fleet, name_or_host)


def find_name(fleet: Path, device: str) -> Board | None:
    """Return the board of this name; as `find`."""
    return next((board for board in load_all(fleet) if board.device == device), None)


def find_at(fleet: Path, host: str, port: int | None = None) -> Board | None:
    """Return the board that was seen at this address, at this port if one is given; as `find`."""
    boards = load_all(fleet)
    return next((each for each in boards if each.host == host and port in (None, each.port)), None)


def find_by_key(fleet: Path, host_key: str) -> Board | None:
    """Return the board that showed this host key; as `find`."""
    return next((board for board in load_all(fleet) if board.host_key == host_key), None)


def load_all(fleet: Path) -> list[Board]:
    """Return every board, by name.

    Raises:
        WrongUsage: the book cannot be read.
    """
    hint = "correct it, or remove it and enroll the board again"
    paths = sorted((fleet / BOARDS_FOLDER).glob("[!.]*.json"))
    return [read_document(Board, path, hint, where=str(path)) for path in paths]


def alone(fleet: Path, device: str) -> AbstractContextManager[None]:
    """Let no other program of this computer enroll or flash a board of this name while the block runs.

    Raises:
        WrongUsage: one does.
    """
    path = fleet / BOARDS_FOLDER / f"{device}.lock"
    refusal = WrongUsage(f"{device} is being set up by another program", str(path), "wait until it has ended")
    return locked(path, refusal)


def path_of(fleet: Path, device: str) -> Path:
    """Return where the book has this board."""
    return fleet / BOARDS_FOLDER / f"{device}.json"
