"""One HTTP connection: reads requests one after the other, refuses what cannot be served."""

import contextlib
import email.utils
import functools
import http
import http.server
import json
import logging
import socket
import time
from typing import Any, Dict, Optional, Union

from edge_agent.serving.answers import Answer
from edge_agent.serving.http_head import HeadError, read_head
from edge_agent.serving.routes import Request

_log = logging.getLogger(__name__)
_READ_S = 15.0
_LINGER_S = 1.0
_BLOCK_BYTES = 64 * 1024
_CODES = {401: "unauthorized", 413: "too_large", 415: "unsupported_type"}
# Errors under it are one text, as the Open Inference Protocol wants them.
_PROTOCOL_PATH = "/v2"


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection; its `server` is an `HttpServer`."""

    server: Any
    raw_requestline: bytes
    headers: Any
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

    def parse_request(self) -> bool:
        """Read the head of a request; False if it has been refused."""
        self.close_connection = True
        self.command, self.path, self.request_version = "", "", self.protocol_version
        try:
            head = read_head(self.raw_requestline, self.rfile)
        except HeadError as error:
            self.send_error(error.status, str(error))
            return False
        self.command, self.path, self.headers = head.method, head.target, head.headers
        self.close_connection = not head.is_kept
        is_expecting = head.headers.get("expect", "").lower() == "100-continue"
        return self.handle_expect_100() if is_expecting else True

    def handle_expect_100(self) -> bool:
        """Refuse a body that will not be read before the client sends it."""
        if self._check_head() is None:
            return False
        is_expected = super().handle_expect_100()
        self.wfile.flush()
        return is_expected

    def do_POST(self) -> None:
        """Let the server's application answer."""
        length = self._check_head()
        if length is None:
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self.server.allow_reading(self.connection, None)
        path, _, query = self.path.partition("?")
        self._reply(self.server.application(Request(self.command, path, query, self.headers, body)))

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
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if code == http.HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        self._reply(Answer(int(code), headers, _dump_error(text if is_protocol else problem)))
        self._linger()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log what the base class has to say where nobody is bothered."""
        _log.debug("%s " + format, self.address_string(), *arguments)

    def _check_head(self) -> Optional[int]:
        """Return how long the body is; None if the request has been refused before reading it."""
        path = self.path.partition("?")[0]
        if not self.server.is_allowed(path, self.headers.get("authorization", "")):
            self.send_error(401, "the token is missing or wrong", "send Authorization: Bearer TOKEN")
            return None
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            self.send_error(415, "compressed bodies are not read", "send it without Content-Encoding")
            return None
        if "transfer-encoding" in self.headers:
            self.send_error(411, "the length of the body must be said", "send Content-Length, not chunks")
            return None
        text = self.headers.get("content-length", "0")
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            self.send_error(400, "Content-Length is not one number")
            return None
        if int(text) > self.server.limits.body_bytes:
            self.send_error(
                413, f"the body has {text} bytes, at most {self.server.limits.body_bytes} are allowed"
            )
            return None
        return int(text)

    def _reply(self, answer: Answer) -> None:
        self.server.tally.count_response(answer.status)
        reason = self.responses.get(answer.status, ("", ""))[0]
        lines = [f"{self.protocol_version} {answer.status} {reason}", "Server: reefline"]
        lines += [f"Date: {_spell_date(int(time.time()))}", f"Content-Length: {len(answer.body)}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self.wfile.write(head if self.command == "HEAD" else head + answer.body)
        self.wfile.flush()

    def _linger(self) -> None:
        """Read what the client still sends for a moment; closing at once would take the answer from it."""
        until_s = time.monotonic() + _LINGER_S
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_S)
            while time.monotonic() < until_s and self.connection.recv(_BLOCK_BYTES):
                pass


@functools.lru_cache(maxsize=1)
def _spell_date(seconds: int) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


def _dump_error(problem: Union[str, Dict[str, str]]) -> bytes:
    return json.dumps({"error": problem}, ensure_ascii=False).encode("utf-8", "replace")
