import http.client
import json
import queue
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest

from contract.messages import Candidate, Latency, ModelVersion, Prediction, Problem
from edge_agent.config import HttpConfig
from edge_agent.errors import ConfigError
from edge_agent.events import ARRAY, IMAGE
from edge_agent.outgoing.outbox import OutboxStats
from edge_agent.serving import http_connection
from edge_agent.serving.metrics import State
from edge_agent.serving.server import Server
from edge_agent.source_config import HTTP
from edge_agent.tally import Tally

MAX_BODY_BYTES = 300_000
JPEG = b"\xff\xd8\xff\xe0 a picture"
PNG = b"\x89PNG\r\n\x1a\n a picture"
PREDICTION = Prediction(
    id="01JD8Z6M5T3Q0E9W2K7R4C1XAB",
    device="board",
    boot="01JD8Z6M5T3Q0E9W2K7R4C1XAA",
    source="http",
    seq=1,
    ts="2026-11-21T03:20:00.123Z",
    label="sneaker",
    label_id=7,
    score=0.97,
    top=(Candidate("sneaker", 7, 0.97),),
    model=ModelVersion("fashion", "3", "ab" * 32),
    backend="cpu",
    degraded=None,
    latency_ms=Latency(0.1, 0.2, 0.3, 0.4, 1.0),
)


class Loop:
    """Stands in for the agent: remembers what was asked, and answers as a test says."""

    def __init__(self):
        self.asked = []
        self.result = PREDICTION
        self.is_full = False
        self.is_silent = False
        self.reason = None
        self.servings = {}
        self.tally = Tally(time.monotonic)

    def why_not_ready(self):
        return self.reason

    def state(self):
        return State(self.servings, self.reason is None, 0, OutboxStats(0, 0, 0))

    def ask(self, event):
        if self.is_full:
            raise queue.Full
        self.asked.append(event)
        if not self.is_silent:
            threading.Thread(target=event.answer, args=(self.result,)).start()


def build_server(config, loop):
    return Server(
        config, loop.ask, state=loop.state, why_not_ready=lambda: loop.why_not_ready(), tally=loop.tally
    )


def listen(server):
    """Start, and return the host and port of the URL."""
    url = urllib.parse.urlsplit(server.start())
    return url.hostname, url.port


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def server(loop, no_thread_left):
    """A running server on a free port; `server.address` is where it listens."""
    config = HttpConfig(port=0, max_body_bytes=MAX_BODY_BYTES, timeout_s=1)
    server = build_server(config, loop)
    server.address = listen(server)
    yield server
    server.stop()


@pytest.fixture
def client(server):
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    yield connection
    connection.close()


def ask(client, method="POST", path="/predict", body=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    client.request(method, path, body, named)
    response = client.getresponse()
    return response, json.loads(response.read() or b"null")


def build_form(*parts, boundary="xyz"):
    body = b""
    for name, filename, content in parts:
        named = f'; filename="{filename}"' if filename else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("image/jpeg", JPEG, IMAGE),
        ("image/png", PNG, IMAGE),
        ("image/jpeg", b"no picture", IMAGE),
        ("application/octet-stream", JPEG, IMAGE),
        ("application/octet-stream", PNG, IMAGE),
        ("application/octet-stream", bytes(784), ARRAY),
        ("Application/Octet-Stream; x=y", bytes(784), ARRAY),
        ("application/x-www-form-urlencoded", PNG, IMAGE),
    ],
)
def test_body_is_handed_over_with_its_kind(client, loop, content_type, body, kind):
    """A picture is known by its type or its first bytes; other raw bytes are an array."""
    response, answer = ask(client, body=body, Content_Type=content_type)
    assert response.status == 200 and answer["label"] == "sneaker"
    (asked,) = loop.asked
    assert (asked.kind, asked.payload, asked.source) == (kind, body, HTTP)
    assert 0 <= time.monotonic() - asked.arrived_s < 5


def test_answer_is_the_prediction_of_the_contract(client):
    """What HTTP gives is what MQTT carries, byte for byte."""
    from contract.codec import decode

    client.request("POST", "/predict", JPEG, {"Content-Type": "image/jpeg"})
    response = client.getresponse()
    assert response.getheader("Content-Type") == "application/json"
    assert decode(Prediction, response.read()) == PREDICTION


@pytest.mark.parametrize("size", [10, 90_000, 250_000])
def test_first_file_of_a_form_is_the_picture(client, loop, size):
    """Whatever the field is called, and also beyond bottle's 100 kB."""
    picture = bytes(range(256)) * (size // 256 + 1)
    body, content_type = build_form(
        ("comment", "", b"hello"), ("anything", "a.png", picture), ("b", "b.png", b"no")
    )
    response, _ = ask(client, body=body, Content_Type=content_type)
    assert response.status == 200
    assert (loop.asked[0].kind, loop.asked[0].payload) == (IMAGE, picture)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    "arguments", [["-F", "image=@{}"], ["--data-binary", "@{}"], ["-T", "{}", "-X", "POST"]]
)
def test_curl_works_in_every_usual_way(server, loop, tmp_path, arguments):
    """As a form, as raw data with curl's own content type, as an upload; with Expect: 100-continue too."""
    path = tmp_path / "picture.png"
    path.write_bytes(PNG + bytes(200_000))
    url = "http://{}:{}/predict".format(*server.address)
    command = ["curl", "-sS", "--max-time", "10", "-H", "Expect: 100-continue", url]
    output = subprocess.check_output(command + [argument.format(path) for argument in arguments])
    assert json.loads(output.decode("utf-8"))["label"] == "sneaker"
    assert loop.asked[0].payload == path.read_bytes()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("bad_image", 400),
        ("bad_input", 400),
        ("no_model", 503),
        ("busy", 503),
        ("worker_lost", 503),
        ("model_run", 503),
        ("something_new", 503),
    ],
)
def test_problem_becomes_a_status_and_json(client, loop, code, status):
    """The client's mistakes are 400, everything else is ours; code, message and hint are told."""
    loop.result = Problem(code, "what happened", "what to try")
    response, answer = ask(client, body=JPEG, Content_Type="image/jpeg")
    assert response.status == status
    assert answer == {"error": {"code": code, "message": "what happened", "hint": "what to try"}}
    assert (response.getheader("Retry-After") is not None) == (status == 503)


def test_full_queue_is_503_with_a_time_to_retry(client, loop):
    """A client is told at once that there is no room."""
    loop.is_full = True
    response, answer = ask(client, body=JPEG, Content_Type="image/jpeg")
    assert response.status == 503 and answer["error"]["code"] == "busy"
    assert int(response.getheader("Retry-After")) >= 1


def test_no_answer_in_time_is_504(client, loop):
    """After http.timeout_s the client is told; a late answer harms nobody, and the connection goes on."""
    loop.is_silent = True
    response, answer = ask(client, body=JPEG, Content_Type="image/jpeg")
    assert response.status == 504 and answer["error"]["code"] == "timeout"
    loop.asked[0].answer(PREDICTION)
    loop.is_silent = False
    assert ask(client, body=JPEG, Content_Type="image/jpeg")[0].status == 200


@pytest.mark.parametrize("body", [b"", None])
def test_empty_body_is_400(client, loop, body):
    """Nothing is asked of the model for nothing."""
    response, answer = ask(client, body=body, Content_Type="image/jpeg")
    assert response.status == 400 and answer["error"]["code"] == "bad_input" and not loop.asked


def test_form_without_a_file_is_400(client, loop):
    """A form whose fields are only text has no picture."""
    body, content_type = build_form(("comment", "", b"hello"))
    response, answer = ask(client, body=body, Content_Type=content_type)
    assert response.status == 400 and answer["error"]["code"] == "bad_input" and not loop.asked


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"--xyz\r\nbroken", "multipart/form-data; boundary=xyz"), (b"abc", "multipart/form-data")],
)
def test_broken_form_is_400(client, loop, body, content_type):
    """A form that cannot be read is the client's mistake, told as JSON."""
    response, answer = ask(client, body=body, Content_Type=content_type)
    assert response.status == 400 and answer["error"]["code"] and not loop.asked


def test_unknown_type_is_415(client, loop):
    """What is neither picture nor array is refused with a hint."""
    response, answer = ask(client, body=b'{"a":1}', Content_Type="application/json")
    assert response.status == 415 and answer["error"]["hint"] and not loop.asked


def test_body_of_exactly_the_limit_is_taken(client, loop):
    """The limit itself is allowed."""
    body = JPEG + bytes(MAX_BODY_BYTES - len(JPEG))
    assert ask(client, body=body, Content_Type="image/jpeg")[0].status == 200


def test_too_large_body_is_413_before_it_is_read(client, loop):
    """The answer comes although most of the body was never sent."""
    client.putrequest("POST", "/predict")
    client.putheader("Content-Length", str(1 << 40))
    client.putheader("Content-Type", "image/jpeg")
    client.endheaders()
    response = client.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"]["code"] == "too_large"
    assert not loop.asked


def test_too_large_body_that_is_sent_anyway_still_gets_its_answer(client):
    """A client that sends first and reads later sees 413, not a reset connection."""
    response, answer = ask(client, body=bytes(8_000_000), Content_Type="image/jpeg")
    assert response.status == 413 and answer["error"]["code"] == "too_large"


def send_raw(server, data):
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.sendall(data)
        answer = b""
        while True:
            block = connection.recv(65536)
            if not block:
                return answer
            answer += block


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\nExpect: 100-continue\r\n\r\n",
            b"413",
        ),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n", b"400"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", b"501"),
    ],
)
def test_hostile_request_is_refused_and_the_connection_closed(server, client, data, status):
    """The answer is JSON, and the next client is served."""
    answer = send_raw(server, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert json.loads(body)["error"]["code"]
    assert ask(client, "GET", "/healthz")[0].status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/predict", 405), ("POST", "/healthz", 405), ("PUT", "/predict", 405)],
)
def test_unknown_place_or_method_is_told_as_json(client, method, path, status):
    """A machine that asks wrongly gets an answer that it can read."""
    response, answer = ask(client, method, path)
    assert response.status == status and answer["error"]["code"] == "bad_request"


def test_mistake_of_ours_is_500_and_tells_nothing(client, loop, caplog):
    """The log has the traceback, the client has not."""
    loop.why_not_ready = None
    response, answer = ask(client, "GET", "/readyz")
    assert response.status == 500 and answer["error"]["code"] == "internal"
    assert "request failed" in caplog.text


def test_health_and_readiness_differ(client, loop):
    """Alive without a model, ready only with one; the reason is told."""
    assert ask(client, "GET", "/healthz")[0].status == 200
    assert ask(client, "GET", "/readyz")[0].status == 200
    loop.reason = "no model is loaded"
    assert ask(client, "GET", "/healthz")[0].status == 200
    response, answer = ask(client, "GET", "/readyz")
    assert response.status == 503 and answer["error"]["message"] == "no model is loaded"


def test_head_has_no_body(client):
    """HEAD answers like GET, without the body, and leaves the connection usable."""
    client.request("HEAD", "/healthz")
    response = client.getresponse()
    assert response.status == 200 and response.read() == b""
    assert ask(client, "GET", "/healthz")[0].status == 200


def test_refused_head_has_no_body_either(server):
    """What follows the headers of an answer to HEAD would be taken for the next answer."""
    answer = send_raw(server, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert b" 411 " in answer and answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("query", "top_k"), [("", None), ("?k=1", 1), ("?k=100", 100), ("?a=b&k=3", 3)])
def test_client_says_how_many_labels_it_wants(client, loop, query, top_k):
    """Without a word as many as configured."""
    assert ask(client, path="/predict" + query, body=JPEG, Content_Type="image/jpeg")[0].status == 200
    assert loop.asked[0].top_k == top_k


@pytest.mark.parametrize("k", ["0", "101", "-1", "1.0", "x", "", "%C2%B2", "9" * 5000])
def test_wrong_k_is_400(client, loop, k):
    """The range is told."""
    response, answer = ask(client, path="/predict?k=" + k, body=JPEG, Content_Type="image/jpeg")
    assert response.status == 400 and "1 to 100" in answer["error"]["message"] and not loop.asked


def test_page_needs_nothing_from_elsewhere(client):
    """A board without internet shows it; the browser is told to fetch and run nothing else."""
    client.request("GET", "/")
    response = client.getresponse()
    page = response.read().decode("utf-8")
    assert response.getheader("Content-Type") == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.getheader("Content-Security-Policy")
    assert "//" not in page.replace("// ", "") and "src=" not in page
    assert 'name="viewport"' in page and "<form>" in page and "innerHTML" not in page


def test_connection_is_kept(client):
    """Many requests travel over one connection; this is what makes them fast."""
    ask(client, "GET", "/healthz")
    kept = client.sock
    for _ in range(5):
        assert ask(client, body=JPEG, Content_Type="image/jpeg")[0].status == 200
    assert client.sock is kept is not None


def test_pipelined_requests_are_answered_in_order(server):
    """Two requests in one packet get two answers."""
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    two = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = send_raw(server, one + two)
    assert answer.count(b"HTTP/1.1 ") == 2
    assert 0 == answer.index(b"HTTP/1.1 200") < answer.index(b"HTTP/1.1 404")


def test_old_client_is_answered_and_let_go(server):
    """HTTP/1.0 ends after one answer."""
    answer = send_raw(server, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert b" 200 " in answer.splitlines()[0] and b"alive" in answer


def test_many_clients_are_answered_at_once(server, loop):
    """Twenty clients, each with its own answer."""
    statuses = []

    def client():
        connection = http.client.HTTPConnection(*server.address, timeout=10)
        for _ in range(10):
            statuses.append(ask(connection, body=JPEG, Content_Type="image/jpeg")[0].status)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 200


def test_connections_are_bounded(server, client):
    """The 33rd connection is told to come back; when one leaves there is room again."""
    crowd = [socket.create_connection(server.address) for _ in range(32)]
    time.sleep(0.2)
    response, _ = ask(client, "GET", "/healthz")
    assert response.status == 503 and response.getheader("Retry-After")
    for connection in crowd:
        connection.close()
    time.sleep(0.2)
    client.close()
    assert ask(client, "GET", "/healthz")[0].status == 200


def test_slow_client_is_cut_off(monkeypatch, loop, no_thread_left):
    """Who sends a byte now and then is let go when a whole request should have been there."""
    monkeypatch.setattr(http_connection, "_READ_S", 0.5)
    server = build_server(HttpConfig(port=0), loop)
    address = listen(server)
    started_s = time.monotonic()
    with socket.create_connection(address, timeout=10) as connection, pytest.raises(OSError):
        for byte in b"POST /predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\n" + bytes(1000):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
    assert 0.4 < time.monotonic() - started_s < 3
    server.stop()


def test_client_that_leaves_early_harms_nobody(server, client, loop):
    """Half a body, or no patience for the answer: the next client is served."""
    for data in (
        b"POST /predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc",
        b"GET /healthz HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(server.address) as connection:
            connection.sendall(data)
    assert ask(client, body=JPEG, Content_Type="image/jpeg")[0].status == 200
    assert [asked.payload for asked in loop.asked] == [JPEG]


def test_stop_answers_who_waits(server, loop):
    """A client that is waiting when the agent stops is told, at once, and the port is free again."""
    loop.is_silent = True
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    connection.request("POST", "/predict", JPEG, {"Content-Type": "image/jpeg"})
    while not loop.asked:
        time.sleep(0.01)
    started_s = time.monotonic()
    server.stop()
    assert time.monotonic() - started_s < 1
    assert json.loads(connection.getresponse().read())["error"]["code"] == "stopping"
    connection.close()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(server.address)


def test_idle_connections_do_not_hold_up_the_stop(server, client):
    """A kept connection is closed."""
    ask(client, "GET", "/healthz")
    started_s = time.monotonic()
    server.stop()
    assert time.monotonic() - started_s < 1


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.100.2", "::", "board.local"])
def test_other_machines_may_not_ask_without_a_token(loop, host):
    """Without one only this machine is served; the reason is told."""
    with pytest.raises(ConfigError) as raised:
        build_server(HttpConfig(host=host), loop)
    assert raised.value.code == "http_public"


def test_taken_port_is_told(server, loop):
    """Two agents cannot share a port; which setting to change is told."""
    with pytest.raises(ConfigError) as raised:
        build_server(HttpConfig(port=server.address[1]), loop).start()
    assert raised.value.code == "http_port"


def test_server_that_never_started_can_be_stopped(loop):
    """Stopping is always allowed."""
    build_server(HttpConfig(), loop).stop()
