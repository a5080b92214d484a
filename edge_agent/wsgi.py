"""A small WSGI server for a board: few threads, kept connections, no patience with slow or large requests."""

import contextlib
import http.server
import io
import json
import logging
import socket
import socketserver
import threading
import time
import urllib.parse
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

_log = logging.getLogger(__name__)
_READ_S = 15.0
_LINGER_S = 1.0
_BLOCK_BYTES = 64 * 1024
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
        super().__init__(address, _Handler)

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


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: WsgiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = _READ_S

    def handle_one_request(self) -> None:
        """Read a request and answer it, in limited time."""
        self.server.allow_reading(self.connection, _READ_S)
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        """Refuse a body that is too large before the client sends it."""
        if self._body_length() is None:
            return False
        is_expected = super().handle_expect_100()
        self.wfile.flush()
        return is_expected

    def do_POST(self) -> None:
        """Let the application answer."""
        length = self._body_length()
        if length is None:
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self.server.allow_reading(self.connection, None)
        status, headers, answer = self._ask_application(body)
        self._reply(status, headers, answer)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST

    def send_error(self, code: int, message: Optional[str] = None, explain: Optional[str] = None) -> None:
        """Say as JSON what is wrong with the request, then close: what else was sent cannot be trusted."""
        text = message or self.responses.get(code, ("error", ""))[0]
        problem = {
            "code": "bad_request" if code != 413 else "too_large",
            "message": text,
            "hint": explain or "",
        }
        self.close_connection = True
        self.request_version = self.protocol_version
        headers = [("Content-Type", "application/json"), ("Connection", "close")]
        self._reply(
            f"{int(code)} {self.responses.get(code, ('Error', ''))[0]}", headers, _dump_error(problem)
        )
        self._linger()

    def version_string(self) -> str:
        """Return what stands in the Server header."""
        return "reefline"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log requests where nobody is bothered."""
        _log.debug("%s " + format, self.address_string(), *arguments)

    def _body_length(self) -> Optional[int]:
        """Return how long the body is; None if the request has been refused for it."""
        if "Transfer-Encoding" in self.headers:
            self.send_error(411, "the length of the body must be said", "send Content-Length, not chunks")
            return None
        text = self.headers.get("Content-Length", "0").strip()
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            self.send_error(400, "Content-Length is not a number")
            return None
        if int(text) > self.server.limits.body_bytes:
            self.send_error(
                413, f"the body has {text} bytes, at most {self.server.limits.body_bytes} are allowed"
            )
            return None
        return int(text)

    def _ask_application(self, body: bytes) -> Tuple[str, List[Tuple[str, str]], bytes]:
        started: List[Any] = []

        def start_response(status: str, headers: List[Tuple[str, str]], exc_info: Any = None) -> None:
            started[:] = [status, headers]

        parts = self.server.application(self._environ(body), start_response)
        try:
            answer = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return started[0], started[1], answer

    def _environ(self, body: bytes) -> Dict[str, Any]:
        """Describe the request as PEP 3333 says."""
        path, _, query = self.path.partition("?")
        host, port = self.server.server_address[:2]
        environ = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": urllib.parse.unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            environ.setdefault("HTTP_" + name.upper().replace("-", "_"), value.strip())
        return environ

    def _reply(self, status: str, headers: List[Tuple[str, str]], body: bytes) -> None:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        has_length = False
        for name, value in headers:
            has_length = has_length or name.lower() == "content-length"
            self.send_header(name, value)
        if not has_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _linger(self) -> None:
        """Read what the client still sends for a moment; closing at once would take the answer from it."""
        until_s = time.monotonic() + _LINGER_S
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_S)
            while time.monotonic() < until_s and self.connection.recv(_BLOCK_BYTES):
                pass


def _dump_error(problem: Dict[str, str]) -> bytes:
    return json.dumps({"error": problem}, ensure_ascii=False).encode("utf-8", "replace")


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
