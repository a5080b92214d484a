"""Listens, and serves until it is stopped. uvicorn is imported here."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cloud_train.serving.app import Places
from cloud_train.serving.config import ServeConfig
from cloud_train.serving.gate import Gate
from cloud_train.serving.metrics import Metrics
from cloud_train.serving.served_model import ServedModel
from contract.records import dump_record
from host_cli.errors import WrongUsage

LOGGER = uvicorn.__name__
BACKLOG = 512
MAX_HEAD_BYTES = 64 * 1024
# How long a connection may wait for its next request.
IDLE_S = 30
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def take_port(host: str, port: int) -> socket.socket:
    """Return a socket that has the address and does not listen yet, so that nobody finds half a server.

    Args:
        host: a name or address of this computer.
        port: 0 takes a free one.

    Raises:
        WrongUsage: the port is taken, or the address is not this computer's.
    """
    found: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        found.bind(address)
    except (OSError, UnicodeError) as error:  # a name with an empty or a long part is no IDNA
        if found is not None:
            found.close()
        reason = getattr(error, "strerror", None) or str(error)
        hint = "give another --port, 0 for a free one; --host takes an address of this computer"
        raise WrongUsage(f"cannot listen: {reason}", f"{host}:{port}", hint) from error
    return found


def url_of(listener: socket.socket) -> str:
    """Return where clients ask."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(model: ServedModel, config: ServeConfig, listener: socket.socket, tell: Callable[[], None]) -> None:
    """Answer until SIGTERM or Ctrl-C; who has asked by then is still answered.

    Args:
        model: who answers.
        config: the limits.
        listener: from `take_port`; closed at the end.
        tell: called when clients may ask.
    """
    metrics = Metrics(dump_record(model.version))
    app = Gate(Places(model, config, metrics).build_app(), config, metrics)
    settings = uvicorn.Config(
        app,
        http=partial(_Connection, read_s=config.read_s),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        limit_concurrency=config.max_connections,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=int(config.read_s + config.timeout_s) + 1,
    )
    with _stopping_is_no_error():
        _Server(settings, tell).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, tell: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._tell()


class _Connection(H11Protocol):
    """A connection whose request must have a whole head in limited time; uvicorn would wait for ever."""

    def __init__(self, *arguments: Any, read_s: float, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._read_s = read_s
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self._read_s, transport.close)

    def data_received(self, data: bytes) -> None:
        """Read on; the time begins with the first byte of a head and ends with its last one."""
        if self._deadline is None and self.conn.their_state is h11.IDLE:
            self._deadline = self.loop.call_later(self._read_s, self.transport.close)
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._forget_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._forget_deadline()
        super().connection_lost(exc)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


@contextmanager
def _stopping_is_no_error() -> Iterator[None]:
    """uvicorn raises the signal that stopped it again when all is done; by then it has been heard."""

    def ignore(number: int, frame: FrameType | None) -> None:
        pass

    previous = {number: signal.signal(number, ignore) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
