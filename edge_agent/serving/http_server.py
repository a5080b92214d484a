"""A small HTTP server for a board: few threads, kept connections, no patience with slow or large requests."""

import contextlib
import logging
import socket
import socketserver
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple, Union

from edge_agent.serving.answers import Answer
from edge_agent.serving.http_connection import Connection
from edge_agent.serving.routes import Request
from edge_agent.tally import CROWDED, SLOW, Tally

_log = logging.getLogger(__name__)
_POLL_S = 0.1
_JOIN_S = 2.0
_OUT_OF_FILES_PAUSE_S = 0.1
_NO_THREAD = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

_SOCKET_MODE = 0o660
_PROBE_S = 1.0

Application = Callable[[Request], Answer]
Allow = Callable[[str, str], bool]
Address = Union[Tuple[str, int], str]


class Limits(NamedTuple):
    """What one server takes at most."""

    body_bytes: int
    connections: int = 32


class HttpServer(socketserver.TCPServer):
    """Answers with `application`, one thread for each connection. A connection may ask many times."""

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self, address: Address, application: Application, *, limits: Limits, is_allowed: Allow, tally: Tally
    ) -> None:
        """Bind.

        Args:
            address: host and port, or the path of a Unix socket.
            application: answers the requests that are let in.
            limits: what is taken at most.
            is_allowed: whether a path may be asked for with an Authorization header.
            tally: counts responses, and connections that are cut.

        Raises:
            OSError: the address cannot be had.
        """
        self.application = application
        self.limits = limits
        self.is_allowed = is_allowed
        self.tally = tally
        self.address_family = _family(address)
        self._socket_path = Path(address) if isinstance(address, str) else None
        self._lock = threading.Lock()
        self._threads: Dict[socket.socket, threading.Thread] = {}
        self._deadlines_s: Dict[socket.socket, float] = {}
        self.is_stopping = False
        self._acceptor: Optional[threading.Thread] = None
        if self._socket_path is not None:
            _remove_abandoned(self._socket_path)
        super().__init__(address, Connection)  # type: ignore[arg-type]

    @property
    def name(self) -> Tuple[str, int]:
        """Host and port; of a Unix socket localhost and 0."""
        if self._socket_path is not None:
            return "localhost", 0
        return str(self.server_address[0]), int(self.server_address[1])

    def server_bind(self) -> None:
        """Take the address. Nobody can connect yet, so that a Unix socket has its mode from the start."""
        super().server_bind()
        if self._socket_path is not None:
            self._socket_path.chmod(_SOCKET_MODE)

    def start(self) -> None:
        """Begin to accept."""
        self._acceptor = threading.Thread(
            target=self.serve_forever, args=(_POLL_S,), name="http", daemon=True
        )
        self._acceptor.start()

    def stop_accepting(self) -> None:
        """Take no more connections."""
        if self._acceptor is not None:
            self.shutdown()
            self._acceptor.join()
        self.server_close()
        if self._socket_path is not None:
            with contextlib.suppress(OSError):
                self._socket_path.unlink()

    def stop(self) -> None:
        """Close the connections that wait for a request, then those that had a moment to get their answer."""
        with self._lock:
            self.is_stopping = True
            threads = dict(self._threads)
            for connection in self._deadlines_s:
                _cut(connection)
        until_s = time.monotonic() + _JOIN_S
        for connection, thread in threads.items():
            thread.join(max(0.0, until_s - time.monotonic()))
            _cut(connection)

    def allow_reading(self, connection: socket.socket, seconds: Optional[float]) -> None:
        """Cut the connection off if it has not sent a whole request in time; None ends the watch."""
        with self._lock:
            self._deadlines_s.pop(connection, None)
            if seconds is not None and self.is_stopping:
                _cut(connection)
            elif seconds is not None:
                self._deadlines_s[connection] = time.monotonic() + seconds

    def service_actions(self) -> None:
        """Cut off who is too slow; called all the time by the accepting thread."""
        now_s = time.monotonic()
        with self._lock:
            for connection in [one for one, until_s in self._deadlines_s.items() if until_s < now_s]:
                del self._deadlines_s[connection]
                self.tally.count_cut(SLOW)
                _cut(connection)

    def get_request(self) -> Tuple[Any, Any]:
        """Accept; without a file descriptor left, wait a little instead of trying in a hot loop."""
        try:
            connection, client = super().get_request()
        except OSError:
            time.sleep(_OUT_OF_FILES_PAUSE_S)
            raise
        return connection, client or ("unix", 0)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, or turn it away."""
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        with self._lock:
            is_full = len(self._threads) >= self.limits.connections
            if not is_full:
                self._threads[request] = thread
        if is_full:
            self.tally.count_cut(CROWDED)
            with contextlib.suppress(OSError):
                request.sendall(_NO_THREAD)
            self.shutdown_request(request)
            return
        try:
            thread.start()
        except RuntimeError:
            self._threads.pop(request)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection; mostly the client has gone."""
        _log.debug("connection from %s ended", client_address, exc_info=True)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.allow_reading(request, None)
            self.shutdown_request(request)
            with self._lock:
                self._threads.pop(request, None)


def _family(address: Address) -> socket.AddressFamily:
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _remove_abandoned(path: Path) -> None:
    """Remove a Unix socket that a dead process has left; one that is in use, or another file, stays."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            if path.is_socket():
                path.unlink()
        except OSError:
            return


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
