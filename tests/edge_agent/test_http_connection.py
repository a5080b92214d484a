"""Promises of serving.http_connection and serving.http_server: hostile clients meet limits, never a fault."""

import contextlib
import json
import shutil
import socket
import stat
import subprocess

import pytest

from edge_agent.config import HttpConfig
from edge_agent.errors import ConfigError
from edge_agent.serving import http_connection
from edge_agent.tally import CROWDED, SLOW
from tests.edge_agent.test_server import JPEG, Loop, build_server, listen

TOKEN = "correct-horse-battery"


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def socket_path(tmp_path):
    return tmp_path / "http.sock"


@pytest.fixture
def serve(loop, no_thread_left):
    """Start a server with some settings; `address` is where it listens."""
    started = []

    def start(**settings):
        server = build_server(HttpConfig(port=0, max_body_bytes=10_000, timeout_s=1, **settings), loop)
        server.address = listen(server)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return str(path)


def talk(connection, data):
    """Send, read until the other side closes; return the first status and the last body."""
    with connection:
        connection.settimeout(10)
        # Cut off while we still speak, we can read what was said before.
        with contextlib.suppress(OSError):
            connection.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            for block in iter(lambda: connection.recv(65536), b""):
                answer += block
    return int(answer.split(b" ", 2)[1]) if answer else 0, answer


def request(method=b"POST", path=b"/predict", body=b"", *headers):
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def ask(server, data):
    return talk(socket.create_connection(server.address), data)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(b"POST", b"/predict", b"0" * 9, b"Content-Length: 5", b"Content-Length: 9"), 400),
        (request(b"POST", b"/predict", b"", b"Content-Length: 5, 5"), 400),
        (request(b"POST", b"/predict", b"", b"Content-Length: +5"), 400),
        (request(b"POST", b"/predict", b"", b"Content-Length: 0x10"), 400),
        (request(b"POST", b"/predict", b"", b"Content-Length: \xb2"), 400),
        (request(b"POST", b"/predict", b"", b"Content-Length:"), 400),
        (request(b"POST", b"/predict", b"", b"Content-Length: 10001"), 413),
        (request(b"POST", b"/predict", b"x" * 500_000, b"Content-Length: 500000"), 413),
        (request(b"POST", b"/predict", b"", b"Content-Length: 5", b"Transfer-Encoding: chunked"), 411),
        (request(b"POST", b"/predict", b"1\r\nx\r\n" * 9999, b"Transfer-Encoding: chunked"), 411),
        (request(b"POST", b"/predict", b"", b"Content-Length: 5", b"Content-Encoding: gzip"), 415),
        (request(b"POST", b"/predict", b"", b"Content-Length: 5", b"Content-Encoding: identity, br"), 415),
        (request(b"GET", b"/../../etc/passwd"), 404),
        (request(b"GET", b"/%2e%2e/%2e%2e/etc/passwd"), 404),
        (request(b"GET", b"/healthz/../../etc/passwd"), 404),
        (request(b"GET", b"//etc/passwd"), 404),
        (request(b"GET", b"/healthz%00.png"), 404),
        (request(b"GET", b"http://elsewhere/healthz"), 404),
        (request(b"GET", b"/page.html"), 404),
        (request(b"GET", b"*"), 404),
        (request(b"CONNECT", b"elsewhere:443"), 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /healthz HTTP/9.9\r\n\r\n", 505),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
    ],
)
def test_a_hostile_request_is_refused_counted_and_survived(serve, loop, data, status):
    """As JSON; nothing reaches the model, the next client is served."""
    server = serve()
    found, answer = ask(server, data)
    assert found == status
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]
    assert loop.asked == []
    assert loop.tally.responses == {status: 1}
    assert ask(server, request(b"GET", b"/healthz"))[0] == 200


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"P",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
    ],
)
def test_who_never_ends_a_request_is_cut_off_and_counted(monkeypatch, serve, loop, start):
    """In the line, the headers or the body: the thread is free again."""
    monkeypatch.setattr(http_connection, "_READ_S", 0.2)
    server = serve()
    assert ask(server, start) == (0, b"")
    assert loop.tally.cut == {SLOW: 1, CROWDED: 0} and loop.asked == []
    assert ask(server, request(b"GET", b"/healthz"))[0] == 200


def test_who_never_reads_is_cut_off(monkeypatch, serve):
    """A client that asks and asks, and leaves the answers in the pipe, does not keep its thread."""
    monkeypatch.setattr(http_connection.Connection, "timeout", 0.2)
    server = serve()
    with socket.create_connection(server.address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        with pytest.raises(OSError) as raised:
            while True:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
    assert not isinstance(raised.value, socket.timeout)
    assert ask(server, request(b"GET", b"/healthz"))[0] == 200


def test_a_crowd_is_turned_away_and_counted(serve, loop):
    """33 at once are one too many."""
    server = serve()
    crowd = [socket.create_connection(server.address) for _ in range(32)]
    status, answer = ask(server, b"")
    assert status == 503 and b"Retry-After: 1" in answer
    assert loop.tally.cut[CROWDED] == 1
    for connection in crowd:
        connection.close()


def test_a_compressed_body_is_never_unpacked(serve, loop):
    """A decompression bomb has nothing to go off in, whatever it calls itself."""
    import gzip

    bomb = gzip.compress(bytes(9_000_000))
    assert len(bomb) < 10_000
    sent = (b"Content-Length: %d" % len(bomb), b"Content-Type: image/png")
    assert ask(serve(), request(b"POST", b"/predict", bomb, *sent, b"Content-Encoding: gzip"))[0] == 415
    assert ask(serve(), request(b"POST", b"/predict", bomb, *sent))[0] == 200
    assert loop.asked[0].payload == bomb


@pytest.mark.parametrize("path", [b"/predict", b"/readyz", b"/metrics", b"/v2", b"/v2/models/x", b"/nothing"])
@pytest.mark.parametrize("header", [None, b"Authorization: Bearer wrong", b"Authorization: Basic Og=="])
def test_without_the_token_nothing_is_told(serve, loop, token_file, path, header, caplog):
    """Before the body is read, and whether the place exists or not; the token stands in no log."""
    headers = [b"Content-Length: 9000", *([header] if header else [])]
    status, answer = ask(serve(token_file=token_file), request(b"POST", path, b"", *headers))
    assert status == 401 and b"WWW-Authenticate: Bearer\r\n" in answer
    assert loop.asked == [] and TOKEN not in caplog.text


def test_with_the_token_everything_is_served(serve, loop, token_file):
    """On every address, and without one only the page and the sign of life."""
    server = serve(token_file=token_file, host="0.0.0.0")
    server.address = ("127.0.0.1", server.address[1])
    header = b"Authorization: Bearer " + TOKEN.encode()
    sent = (b"Content-Type: image/jpeg", b"Content-Length: %d" % len(JPEG))
    assert ask(server, request(b"POST", b"/predict", JPEG, header, *sent))[0] == 200
    for path in (b"/readyz", b"/metrics", b"/v2"):
        assert ask(server, request(b"GET", path, b"", header))[0] == 200
    for path in (b"/", b"/healthz"):
        assert ask(server, request(b"GET", path))[0] == 200


def test_a_bad_token_file_stops_the_start(tmp_path, loop):
    """Better no agent than one that anybody may ask."""
    with pytest.raises(ConfigError) as raised:
        build_server(HttpConfig(host="0.0.0.0", token_file=str(tmp_path / "absent")), loop)
    assert raised.value.code == "token_file"


def test_ipv6_is_served(serve):
    """::1 is this machine too."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    server = serve(host="::1")
    assert server.address[0] == "::1" and ask(server, request(b"GET", b"/healthz"))[0] == 200


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


def test_a_unix_socket_serves_the_same_without_a_token(serve, loop, socket_path, token_file):
    """The rights of the file take the token's place; it is gone after the stop."""
    server = serve(socket=str(socket_path), token_file=token_file)
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o660
    sent = (b"Content-Type: image/jpeg", b"Content-Length: %d" % len(JPEG))
    assert talk(connect(socket_path), request(b"POST", b"/predict", JPEG, *sent))[0] == 200
    assert talk(connect(socket_path), b"nonsense\r\n\r\n")[0] == 400
    assert ask(server, request(b"GET", b"/readyz"))[0] == 401
    server.stop()
    assert not socket_path.exists()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_works_over_the_unix_socket(serve, socket_path):
    """As docs/agent.md shows."""
    serve(socket=str(socket_path))
    command = [
        "curl",
        "-sS",
        "--max-time",
        "10",
        "--unix-socket",
        str(socket_path),
        "http://localhost/readyz",
    ]
    assert json.loads(subprocess.check_output(command).decode()) == {"status": "ready"}


def test_a_socket_that_a_dead_agent_left_is_replaced(serve, socket_path):
    """A power cut leaves the file behind."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    serve(socket=str(socket_path))
    assert talk(connect(socket_path), request(b"GET", b"/healthz"))[0] == 200


@pytest.mark.parametrize("obstacle", ["in use", "file", "no folder"])
def test_a_socket_that_cannot_be_had_is_told_and_nothing_is_harmed(serve, loop, socket_path, obstacle):
    """Another agent's socket, somebody's file: both are left alone; the port is free again."""
    wanted = str(socket_path)
    if obstacle == "in use":
        serve(socket=wanted)
    elif obstacle == "file":
        socket_path.write_text("precious")
    else:
        wanted = str(socket_path.parent / "none" / "s")
    with pytest.raises(ConfigError) as raised:
        serve(socket=wanted)
    assert raised.value.code == "http_socket"
    if obstacle == "in use":
        assert talk(connect(socket_path), request(b"GET", b"/healthz"))[0] == 200
    elif obstacle == "file":
        assert socket_path.read_text() == "precious"
