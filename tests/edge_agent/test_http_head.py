"""Promises of serving.http_head: one meaning for each head, or none."""

import io
from typing import Tuple

import pytest

from edge_agent.serving.http_head import MAX_HEADERS, MAX_LINE_BYTES, Head, HeadError, read_head


def read(data: bytes) -> Tuple[Head, bytes]:
    """Return the head, and what is left for the body."""
    stream = io.BytesIO(data)
    return read_head(stream.readline(), stream), stream.read()


def test_a_head_is_read_and_the_body_left_alone() -> None:
    """Names in any case; blanks around a value do not belong to it."""
    head, body = read(b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nCONTENT-Length:\t 5 \r\nEmpty:\r\n\r\nhello")
    assert head == Head("POST", "/a?b=c", True, {"host": "x", "content-length": "5", "empty": ""})
    assert body == b"hello"


def test_a_header_that_comes_twice_is_joined() -> None:
    """Two lengths are then not one number, and the request is refused."""
    assert read(b"GET / HTTP/1.1\nContent-Length: 5\nContent-length: 6\n\n")[0].headers == {
        "content-length": "5, 6"
    }


@pytest.mark.parametrize(
    ("version", "connection", "is_kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: Close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
    ],
)
def test_who_keeps_the_connection(version: bytes, connection: bytes, is_kept: bool) -> None:
    """RFC 9112, section 9.3."""
    assert read(b"GET / HTTP/" + version + b"\r\n" + connection + b"\r\n")[0].is_kept is is_kept


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1 x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nName : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: x\r\n y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: x\ry\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: x\0y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * MAX_LINE_BYTES + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes, status: int) -> None:
    """A proxy before us must not see other requests than we do."""
    with pytest.raises(HeadError) as raised:
        read(data)
    assert raised.value.status == status


def test_as_many_headers_as_allowed_are_read() -> None:
    """The limit itself is good."""
    assert read(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * MAX_HEADERS + b"\r\n")[0].headers["a"].count("b") == 100
