"""A small WSGI server for a board: few threads, kept connections, no patience with slow or large requests."""

import contextlib
import logging
import socket
import socketserver
import threading
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from edge_agent.http_connection import Connection

_log = logging.getLogger(__name__)
_POLL_S = 0.1
_JOIN_S = 2.0
_OUT_OF_FILES_PAUSE_S = 0.1
_NO_THREAD = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

Application = Callable[[Dict[str, Any], Callable[..., Any]], Any]


class Limits(NamedTuple):
    """What one server takes at most."""

    body_bytes: int
    connections: int = 32


class WsgiServer(socketserver.TCPServer):
    """Answers with `application`, one thread for each connection. A connection may ask many times."""

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: Tuple[str, int], application: Application, limits: Limits) -> None:
        """Bind.

        Raises:
            OSError: the address cannot be had.
        """
        self.application = application
        self.limits = limits
        self._lock = threading.Lock()
        self._threads: Dict[socket.socket, threading.Thread] = {}
        self._deadlines_s: Dict[socket.socket, float] = {}
        self.is_stopping = False
        self._acceptor: Optional[threading.Thread] = None
        super().__init__(address, Connection)

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
                _cut(connection)

    def get_request(self) -> Tuple[Any, Any]:
        """Accept; without a file descriptor left, wait a little instead of trying in a hot loop."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_OUT_OF_FILES_PAUSE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, or turn it away."""
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        with self._lock:
            is_full = len(self._threads) >= self.limits.connections
            if not is_full:
                self._threads[request] = thread
        if is_full:
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


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
