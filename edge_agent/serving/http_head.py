"""The head of an HTTP/1 request: its line and its headers, read strictly. Nothing here answers.

Source: RFC 9112, sections 2 to 5.
"""

import re
from http import HTTPStatus
from io import BufferedIOBase
from typing import Dict, NamedTuple

MAX_LINE_BYTES = 64 * 1024
MAX_HEADERS = 100

_LINE = re.compile(r"([A-Z]{1,16}) (\S+) HTTP/(\d)\.(\d)")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


class HeadError(Exception):
    """The head cannot be understood; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Head(NamedTuple):
    """What a client wants.

    Attributes:
        method: as sent.
        target: path and query, as sent.
        is_kept: the connection may be used again.
        headers: values by lower-case name; one that came several times is joined with ", ".
    """

    method: str
    target: str
    is_kept: bool
    headers: Dict[str, str]


def read_head(line: bytes, stream: BufferedIOBase) -> Head:
    """Read the rest of a head.

    Args:
        line: its first line.
        stream: what follows; afterwards the body.

    Raises:
        HeadError: it is none, too long, or of another HTTP version.
    """
    found = _LINE.fullmatch(_decode(line))
    if found is None:
        raise HeadError(HTTPStatus.BAD_REQUEST, "the first line is no HTTP request")
    method, target, major, minor = found.groups()
    if major != "1":
        raise HeadError(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"HTTP/{major}.{minor} is not spoken here, only HTTP/1.1"
        )
    headers = _read_headers(stream)
    wish = headers.get("connection", "").lower()
    return Head(method, target, "close" not in wish if minor != "0" else "keep-alive" in wish, headers)


def _read_headers(stream: BufferedIOBase) -> Dict[str, str]:
    headers: Dict[str, str] = {}
    for _ in range(MAX_HEADERS + 1):
        line = stream.readline(MAX_LINE_BYTES + 1)
        if len(line) > MAX_LINE_BYTES:
            raise HeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "a header is too long")
        text = _decode(line)
        if not text:
            return headers
        found = _HEADER.fullmatch(text)
        if found is None:
            raise HeadError(HTTPStatus.BAD_REQUEST, "a header is not NAME: VALUE")
        name, value = found.group(1).lower(), found.group(2).rstrip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    raise HeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MAX_HEADERS} headers")


def _decode(line: bytes) -> str:
    """Return a line without its end; the standard lets a server take a bare line feed for one."""
    return line.decode("latin-1").rstrip("\n").rstrip("\r")
