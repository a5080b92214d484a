"""One HTTP connection of a WSGI server: reads requests one after the other, refuses what cannot be served."""

import contextlib
import http.server
import io
import json
import logging
import socket
import time
import urllib.parse
from typing import Any, Dict, List, Optional, Tuple

_log = logging.getLogger(__name__)
_READ_S = 15.0
_LINGER_S = 1.0
_BLOCK_BYTES = 64 * 1024


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection; its `server` has `application`, `limits` and `allow_reading`."""

    server: Any
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
