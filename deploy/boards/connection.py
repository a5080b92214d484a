"""An SSH connection to a board: its host key, attempts to log in, commands. Only this imports paramiko.

The host key is checked before anything about us is sent. What a board writes is bounded in size and in time.
"""

import base64
import contextlib
import hashlib
import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko

from deploy.boards.answer import Answer, clean
from host_cli.errors import GateNotMet, Unreachable
from host_cli.files import write_bytes

SSH_PORT = 22
CONNECT_TIMEOUT_S = 10.0
LOGIN_TIMEOUT_S = 30.0
# How long a cable may be out before the connection counts as lost, and how often we ask.
SILENCE_S = 20
KEEPALIVE_S = 5
MAX_OUTPUT_BYTES = 1024 * 1024
BLOCK_BYTES = 32 * 1024
MDT_KEY_BITS = 4096  # as mdt makes it
PRIVATE_MODE = 0o600
_PAUSE_S = 0.005
_RSA, _RSA_ALGORITHMS = "ssh-rsa", ("rsa-sha2-512", "rsa-sha2-256")
_UNPLUGGED = "look at its power and its cable, then run the same command again"

Advance = Callable[[float], None]
# It logs a traceback for each connection that breaks; we say it in our own words.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class Refused(Exception):
    """The board does not let us in this way; the text says why."""


class Connection:
    """A board that answers by SSH; used in a `with` block. Commands run once one of the attempts went well.

    Args:
        host: name or address.
        port: TCP port of its SSH server.
        user: who logs in.
        pinned: the host key that it must show, as in known_hosts: `ssh-ed25519 AAAA...`; None takes any.

    Raises:
        Unreachable: nobody answers there, or it is not SSH.
        GateNotMet: it shows another host key.
    """

    def __init__(self, host: str, port: int, user: str, pinned: str | None = None) -> None:
        self.host, self.port, self.user = host, port, user
        self.where = f"{user}@{host}" if port == SSH_PORT else f"{user}@{host}:{port}"
        self.is_new = pinned is None
        self._transport = self._connect(pinned)
        self.host_key = _shown_key(self._transport)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def try_key(self, key: paramiko.PKey) -> None:
        """Log in with a private key, or one of the agent's.

        Raises:
            Refused: the board does not take it.
        """
        self._try(lambda transport: transport.auth_publickey(self.user, key))

    def try_password(self, password: str) -> None:
        """Log in with a password, asked for as such or in a dialogue.

        Raises:
            Refused: it is wrong, or the board takes none.
        """
        self._try(lambda transport: transport.auth_password(self.user, password))

    def run(self, command: str, stdin: bytes, timeout_s: float, advance: Advance | None = None) -> Answer:
        """Run a command to its end.

        Args:
            command: what the user's login shell shall run.
            stdin: what the command reads.
            timeout_s: when the connection counts as lost.
            advance: called with the number of bytes of `stdin` that went out.

        Raises:
            Unreachable: the connection is lost, or the time is up.
        """
        try:
            with contextlib.closing(self._begin(command, timeout_s)) as channel:
                return _Talk(channel, stdin, advance).listen(time.monotonic() + timeout_s)
        except TimeoutError as error:
            what = f"the board did not answer in {timeout_s:.0f} s"
            raise Unreachable(what, self.where, _UNPLUGGED) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unreachable("the connection to the board is lost", self.where, _UNPLUGGED) from error

    def _begin(self, command: str, timeout_s: float) -> paramiko.Channel:
        try:
            channel = self._transport.open_session(timeout=min(timeout_s, LOGIN_TIMEOUT_S))
            channel.settimeout(timeout_s)
            # It waits for the answer without end.
            patience = threading.Timer(timeout_s, _hang_up, [channel])
            patience.daemon = True
            patience.start()
            try:
                channel.exec_command(command)
            finally:
                patience.cancel()
            return channel
        except Exception as error:  # its thread hands on whatever its parser met
            raise EOFError(str(error)) from error

    def _try(self, attempt: Callable[[paramiko.Transport], list[str]]) -> None:
        if not self._transport.is_active():
            # A server hangs up after some attempts; it must still be the same one.
            self._transport = self._connect(self.host_key)
        try:
            left = attempt(self._transport)
        except paramiko.BadAuthenticationType as error:
            raise Refused(f"the board takes only {', '.join(map(clean, error.allowed_types))}") from error
        except Exception as error:  # its thread hands on whatever its parser met
            raise Refused("refused") from error
        if left:
            raise Refused("the board wants a second proof after it")

    def _connect(self, pinned: str | None) -> paramiko.Transport:
        dialed = _dial(self.host, self.port)
        transport = paramiko.Transport(dialed)
        try:
            self._shake_hands(transport, pinned)
        except BaseException:
            transport.close()
            dialed.close()
            raise
        return transport

    def _shake_hands(self, transport: paramiko.Transport, pinned: str | None) -> None:
        transport.auth_timeout = LOGIN_TIMEOUT_S
        if pinned is not None:
            self._take_only(transport, pinned)
        try:
            transport.start_client(timeout=CONNECT_TIMEOUT_S)
            transport.set_keepalive(KEEPALIVE_S)
            # Where its time was up, there is none.
            shown = _shown_key(transport)
        except Exception as error:  # its thread hands on whatever its parser met
            if pinned is not None and isinstance(error, paramiko.IncompatiblePeer):
                raise _host_key_changed(self.where, "it has no key of that kind any more") from error
            what = f"it does not speak SSH: {clean(str(error)) or type(error).__name__}"
            hint = "is it a board? give its address, or --port where its SSH server listens elsewhere"
            raise Unreachable(what, f"{self.host}:{self.port}", hint) from error
        if pinned is not None and shown != pinned:
            raise _host_key_changed(self.where, f"it shows {fingerprint(shown)}")

    def _take_only(self, transport: paramiko.Transport, pinned: str) -> None:
        try:
            transport.get_security_options().key_types = _algorithms(pinned)
        except ValueError as error:
            # Somebody wrote into the book.
            raise _host_key_changed(self.where, "and the book's is of no kind that SSH knows") from error


class _Talk:
    """One command: feeds it and listens at the same time, so that neither side waits for the other."""

    def __init__(self, channel: paramiko.Channel, stdin: bytes, advance: Advance | None) -> None:
        self._channel, self._left, self._advance = channel, memoryview(stdin), advance
        self._out, self._err = bytearray(), bytearray()
        self._is_fed = False

    def listen(self, ends_s: float) -> Answer:
        while not self._is_over():
            has_moved = self._feed()
            if not (self._hear() or has_moved):
                time.sleep(_PAUSE_S)
            if time.monotonic() > ends_s:
                raise TimeoutError
        status = self._channel.recv_exit_status()
        if status < 0:
            raise EOFError("it ended without an exit status")
        return Answer(status, self._out.decode(errors="replace"), self._err.decode(errors="replace"))

    def _is_over(self) -> bool:
        channel = self._channel
        has_more = channel.recv_ready() or channel.recv_stderr_ready()
        return not has_more and (channel.closed or (channel.eof_received and channel.exit_status_ready()))

    def _feed(self) -> bool:
        channel = self._channel
        # A command that has ended reads no more.
        if self._is_fed or channel.closed or channel.exit_status_ready() or not channel.send_ready():
            return False
        sent = channel.send(self._left[:BLOCK_BYTES].tobytes()) if self._left else 0
        self._left = self._left[sent:]
        if self._advance is not None:
            self._advance(sent)
        if not self._left:
            channel.shutdown_write()
            self._is_fed = True
        return True

    def _hear(self) -> bool:
        channel, has_heard = self._channel, False
        if channel.recv_ready():
            has_heard = _keep(self._out, channel.recv(BLOCK_BYTES))
        if channel.recv_stderr_ready():
            has_heard = _keep(self._err, channel.recv_stderr(BLOCK_BYTES)) or has_heard
        return has_heard


def agent_keys() -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the keys of the user's ssh-agent, each with how a person calls it; none without an agent."""
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError):
        return
    try:
        for key in agent.get_keys():
            yield clean(key.comment or key.get_name()), key
    finally:
        agent.close()


def load_key(path: Path) -> paramiko.PKey:
    """Read a private key.

    Raises:
        Refused: it cannot be read, or only with a passphrase.
    """
    try:
        return paramiko.PKey.from_path(path)
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}") from error
    except (paramiko.PasswordRequiredException, TypeError):
        raise Refused(f"has a passphrase: ssh-add {path}") from None
    except (paramiko.SSHException, ValueError):
        # No cause is chained: its text could hold a part of the key.
        raise Refused("is not a private key") from None


def make_rsa_key(path: Path) -> None:
    """Make a private key of the one kind that mdt and the keymaster know; only its owner reads it."""
    written = io.StringIO()
    paramiko.RSAKey.generate(MDT_KEY_BITS).write_private_key(written)
    write_bytes(path, written.getvalue().encode(), PRIVATE_MODE)


def public_line(key: paramiko.PKey) -> str:
    """Return the public half as authorized_keys and known_hosts write it: `ssh-rsa AAAA...`."""
    return f"{key.get_name()} {key.get_base64()}"


def fingerprint(host_key: str) -> str:
    """Return a host key as `ssh-keygen -l` shows it: SHA256:..., unpadded base64."""
    digest = hashlib.sha256(base64.b64decode(host_key.split(" ")[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _hang_up(channel: paramiko.Channel) -> None:
    # Who waited is told first; the connection may be closed before the board is.
    with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        channel.close()


def _dial(host: str, port: int) -> socket.socket:
    try:
        connection = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
    except socket.gaierror as error:
        hint = "give its address, or deploy enroll --discover to see which boards are near"
        raise Unreachable("nobody knows this name", host, hint) from error
    except (OSError, ValueError) as error:
        what = f"nobody answers: {getattr(error, 'strerror', None) or error}"
        hint = "is it on, and on this network? look around: deploy enroll --discover"
        raise Unreachable(what, f"{host}:{port}", hint) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_S * 1000)
    return connection


def _shown_key(transport: paramiko.Transport) -> str:
    return public_line(transport.get_remote_server_key())


def _algorithms(host_key: str) -> tuple[str, ...]:
    kind = host_key.split(" ")[0]
    return _RSA_ALGORITHMS if kind == _RSA else (kind,)


def _host_key_changed(where: str, shown: str) -> GateNotMet:
    what = f"this is not the board that was enrolled: its host key has changed, {shown}"
    hint = "another board at this address? flashed anew: remove boards/NAME.json in the fleet's folder"
    return GateNotMet(what, where, hint)


def _keep(kept: bytearray, data: bytes) -> bool:
    kept.extend(data[: MAX_OUTPUT_BYTES - len(kept)])
    return True
