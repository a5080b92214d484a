"""One HTTP connection of a WSGI server: reads requests one after the other, refuses what cannot be served."""

import contextlib
import http
import http.server
import io
import json
import logging
import socket
import time
import urllib.parse
from typing import Any, Dict, List, Optional, Tuple, Union

_log = logging.getLogger(__name__)
_READ_S = 15.0
_LINGER_S = 1.0
_BLOCK_BYTES = 64 * 1024
_CODES = {401: "unauthorized", 413: "too_large", 415: "unsupported_type"}
# Errors under it are one text, as the Open Inference Protocol wants them.
_PROTOCOL_PATH = "/v2"


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection; its `server` is a `WsgiServer`."""

    server: Any
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = _READ_S

    def setup(self) -> None:
        """Prepare to read; answer at once over TCP (a Unix socket never waits)."""
        super().setup()
        if self.connection.family != socket.AF_UNIX:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def handle_one_request(self) -> None:
        """Read a request and answer it, in limited time."""
        self.server.allow_reading(self.connection, _READ_S)
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        """Refuse a body that will not be read before the client sends it."""
        if self._check_head() is None:
            return False
        is_expected = super().handle_expect_100()
        self.wfile.flush()
        return is_expected

    def do_POST(self) -> None:
        """Let the application answer."""
        length = self._check_head()
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
            "code": _CODES.get(code, "bad_request"),
            "message": text,
            "hint": explain or "",
        }
        is_protocol = getattr(self, "path", "").startswith(_PROTOCOL_PATH)
        self.close_connection = True
        self.request_version = self.protocol_version
        headers = [("Content-Type", "application/json"), ("Connection", "close")]
        if code == http.HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", "Bearer"))
        status = f"{int(code)} {self.responses.get(code, ('Error', ''))[0]}"
        self._reply(status, headers, _dump_error(text if is_protocol else problem))
        self._linger()

    def version_string(self) -> str:
        """Return what stands in the Server header."""
        return "reefline"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log requests where nobody is bothered."""
        _log.debug("%s " + format, self.address_string(), *arguments)

    def _check_head(self) -> Optional[int]:
        """Return how long the body is; None if the request has been refused before reading it."""
        path = self.path.partition("?")[0]
        if not self.server.is_allowed(path, self.headers.get("Authorization", "")):
            self.send_error(401, "the token is missing or wrong", "send Authorization: Bearer TOKEN")
            return None
        if self.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            self.send_error(415, "compressed bodies are not read", "send it without Content-Encoding")
            return None
        if "Transfer-Encoding" in self.headers:
            self.send_error(411, "the length of the body must be said", "send Content-Length, not chunks")
            return None
        texts = {text.strip() for text in self.headers.get_all("Content-Length", ["0"])}
        text = texts.pop()
        if texts or not (text.isascii() and text.isdigit()) or len(text) > 18:
            self.send_error(400, "Content-Length is not one number")
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
        host, port = self.server.name
        environ = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": urllib.parse.unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": host,
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
        self.server.tally.count_response(int(code))
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


def _dump_error(problem: Union[str, Dict[str, str]]) -> bytes:
    return json.dumps({"error": problem}, ensure_ascii=False).encode("utf-8", "replace")
