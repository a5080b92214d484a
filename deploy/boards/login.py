"""Getting in to a board: each way that there is, one after the other, and exactly what was tried."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deploy.boards import keymaster
from deploy.boards.connection import (
    Connection,
    Refused,
    agent_keys,
    fingerprint,
    load_key,
    make_rsa_key,
    public_line,
)
from deploy.boards.register import Board
from deploy.boards.shell import Shell
from host_cli.errors import Unreachable

MAX_AGENT_KEYS = 20
USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
MDT_KEY = Path(".config/mdt/keys/mdt.key")

Attempt = tuple[str, Callable[[], None]]


@dataclass(frozen=True)
class Stranger:
    """A board that is not in the book: where it is, and who logs in."""

    host: str
    port: int
    user: str


class Password:
    """A password that is asked for once, when it is needed first; `read` is told for whom it is."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._known: list[str | None] = []

    def ask(self, where: str) -> str | None:
        """Return it; None where nobody can be asked."""
        with self._lock:
            if not self._known:
                self._known.append(self._read(where))
            return self._known[0]


@dataclass(frozen=True)
class Credentials:
    """With what we may log in.

    `home` is where `.ssh` and mdt's key lie, `identity` a private key that a person named. `keymaster` allows
    to give the key to a board that is not on a USB cable, where somebody else could be in its place.
    """

    home: Path
    identity: Path | None = None
    password: Password = field(default_factory=lambda: Password(lambda where: None))
    keymaster: bool = False


def open_shell(place: Board | Stranger, credentials: Credentials) -> Shell:
    """Log in to a board.

    The ways are, in this order: the key that a person named, those of ssh-agent, those in ~/.ssh, mdt's, the
    keymaster, a password.

    Raises:
        Unreachable: nobody answers, it is not SSH, or it does not let us in; the error lists what was tried.
        GateNotMet: it shows another host key; nothing was tried.
    """
    pinned = place.host_key if isinstance(place, Board) else None
    connection = Connection(place.host, place.port, place.user, pinned)
    try:
        _log_in(connection, credentials)
    except BaseException:
        connection.close()
        raise
    return Shell(connection, lambda: credentials.password.ask(connection.where))


def _log_in(connection: Connection, credentials: Credentials) -> None:
    tried: list[str] = []
    for what, attempt in _attempts(connection, credentials):
        try:
            return attempt()
        except Refused as error:
            tried.append(f"{what} ({error})")
    hint = "--identity FILE, or --password-file FILE; docs/enroll.md says how to get in the first time"
    raise Unreachable("the board lets us in with none of: " + "; ".join(tried), connection.where, hint)


def _attempts(connection: Connection, credentials: Credentials) -> Iterator[Attempt]:
    mdt_key = credentials.home / MDT_KEY

    def try_file(path: Path) -> Attempt:
        return str(path), lambda: connection.try_key(load_key(path))

    if credentials.identity is not None:
        yield try_file(credentials.identity)
    for number, (name, key) in enumerate(agent_keys()):
        if number < MAX_AGENT_KEYS:
            yield f"ssh-agent: {name}", lambda key=key: connection.try_key(key)  # type: ignore[misc]
    paths = [*(credentials.home / ".ssh" / name for name in USUAL_KEYS), mdt_key]
    yield from (try_file(path) for path in paths if path.exists())
    yield "keymaster", lambda: _through_keymaster(connection, credentials, mdt_key)
    yield "password", lambda: _with_password(connection, credentials)


def _through_keymaster(connection: Connection, credentials: Credentials, mdt_key: Path) -> None:
    if not (credentials.keymaster or keymaster.is_on_usb(connection.host)):
        raise Refused("not asked: the board is not on a USB cable; --keymaster asks it all the same")
    if not mdt_key.exists():
        make_rsa_key(mdt_key)
    key = load_key(mdt_key)
    keymaster.push_key(connection.host, public_line(key))
    connection.try_key(key)


def _with_password(connection: Connection, credentials: Credentials) -> None:
    # Whoever types it sees first to whom it goes.
    where = f"{connection.where}, host key {fingerprint(connection.host_key)}"
    password = credentials.password.ask(where if connection.is_new else connection.where)
    if password is None:
        raise Refused("not asked: there is no terminal; --password-file FILE gives it")
    connection.try_password(password)
