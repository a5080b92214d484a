"""The shell of a board that we are logged in to: commands as the user and as root, and files put whole."""

import hashlib
import shlex
from collections.abc import Callable
from pathlib import PurePosixPath

from deploy.boards.answer import Answer
from deploy.boards.connection import Advance, Connection
from host_cli.errors import Failed, GateNotMet

COMMAND_TIMEOUT_S = 30.0
# A file may take this much longer for each byte; USB and Wi-Fi are faster by far.
SLOWEST_BYTES_PER_S = 20_000
# Whatever ends this, the target is the old file or the whole new one: what was cut off has another sum.
# A connection that is gone must not end it before it has cleared up.
_PUT = """
set -e
trap '' HUP PIPE
(umask 022 && mkdir -p "$folder")
umask 077
trap 'rm -f "$temporary"' EXIT
cat >"$temporary"
test "$(sha256sum <"$temporary")" = "$sum  -" || { echo "it did not arrive whole" >&2; exit 1; }
chmod "$mode" "$temporary"
sync "$temporary"
mv -fT "$temporary" "$target"
sync "$folder"
"""

# Gives the password that sudo asks for; None: nobody knows it.
AskPassword = Callable[[], str | None]


class Shell:
    """A board that we are logged in to; used in a `with` block, which hangs up at its end.

    `where` names it in error messages, `host_key` is what it showed, as known_hosts writes it.
    """

    def __init__(self, connection: Connection, ask_password: AskPassword) -> None:
        self.where, self.host_key = connection.where, connection.host_key
        self._connection, self._ask_password = connection, ask_password
        self._root: tuple[str, bytes] | None = None

    def __enter__(self) -> "Shell":
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()

    def run(self, command: str, *, stdin: bytes = b"", timeout_s: float = COMMAND_TIMEOUT_S) -> Answer:
        """Run a command as the user who logged in.

        Args:
            command: for `sh`; the caller quotes what is not its own.
            stdin: what the command reads.
            timeout_s: when the connection counts as lost.

        Raises:
            Unreachable: the connection is lost, or the time is up.
        """
        return self._connection.run(_wrap("", command), stdin, timeout_s)

    def as_root(self, command: str, *, stdin: bytes = b"", timeout_s: float = COMMAND_TIMEOUT_S) -> Answer:
        """Run a command as root: directly, through `sudo`, or through `sudo` with the password.

        Raises:
            Unreachable: the connection is lost, or the time is up.
            GateNotMet: the user may not become root, or nobody knows the password that sudo asks for.
        """
        prefix, secret = self._become_root()
        return self._connection.run(_wrap(prefix, command), secret + stdin, timeout_s)

    def put(self, data: bytes, target: str, mode: int = 0o644, *, advance: Advance | None = None) -> None:
        """Replace a file on the board as root: afterwards it is the old one or the whole new one.

        Args:
            data: the whole content.
            target: absolute path; its folder is made if need be.
            mode: permission bits; the owner is root.
            advance: called with the number of bytes that went out.

        Raises:
            Unreachable: the connection is lost; the old file is still there.
            Failed: it cannot be written there, for want of space or rights.
            GateNotMet: as `as_root`.
        """
        path = PurePosixPath(target)
        words = {
            "folder": str(path.parent),
            "target": target,
            "temporary": str(path.with_name(f".{path.name}.tmp")),
            "mode": f"{mode:o}",
            "sum": hashlib.sha256(data).hexdigest(),
        }
        command = "; ".join(f"{name}={shlex.quote(word)}" for name, word in words.items()) + _PUT
        prefix, secret = self._become_root()
        timeout_s = COMMAND_TIMEOUT_S + len(data) / SLOWEST_BYTES_PER_S
        answer = self._connection.run(_wrap(prefix, command), secret + data, timeout_s, advance)
        if answer.status:
            what = f"it cannot be written: {answer.reason}"
            raise Failed(what, f"{self.where}:{target}", "look at the space and the rights there")

    def _become_root(self) -> tuple[str, bytes]:
        if self._root is None:
            self._root = self._find_root()
        return self._root

    def _find_root(self) -> tuple[str, bytes]:
        """Return what stands before a command of root's, and what stands before its input."""
        if self.run("id -u").out.strip() == "0":
            return "", b""
        # With the program of `_wrap`: for some of them sudo may ask, and for others not.
        without = self.run("sudo -n env true")
        if without.status == 0:
            return "sudo -n ", b""
        if "password" not in without.err:
            raise self._not_root(without.reason)
        password = self._ask_password()
        if password is None:
            raise self._not_root("sudo asks for a password")
        secret = password.encode(errors="surrogateescape") + b"\n"
        if self.run("sudo -k -S -p '' env true", stdin=secret).status:
            raise self._not_root("sudo does not take this password")
        return "sudo -k -S -p '' ", secret

    def _not_root(self, why: str) -> GateNotMet:
        hint = "--password-file FILE with the user's password, or --user USER who may run sudo"
        return GateNotMet(f"this user cannot become root: {why}", self.where, hint)


def _wrap(prefix: str, command: str) -> str:
    # Messages are read by us, so they come in English; `sh` because a login shell may be any.
    return f"exec {prefix}env LC_ALL=C sh -c {shlex.quote(command)}"
