"""Promises of serving.server, asked of one real `cloud-train serve` by real clients."""

import json
import re
import socket
import subprocess
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

from cloud_train.serving.server import take_port, url_of
from host_cli.errors import WrongUsage
from tests.cloud_train.serving.conftest import PATIENCE_S, Process, picture, tensor
from tests.fakes.waiting import wait_for

CURLS = 50


@pytest.fixture
def triton(server: Process) -> tritonclient.http.InferenceServerClient:
    client = tritonclient.http.InferenceServerClient(server.address)
    yield client
    client.close()


def ask(client: tritonclient.http.InferenceServerClient, *quarters: int, is_binary: bool) -> "np.ndarray":
    inputs = tensor(*quarters)
    given = tritonclient.http.InferInput("pixels", inputs.shape, "FP32")
    given.set_data_from_numpy(inputs, binary_data=is_binary)
    wanted = tritonclient.http.InferRequestedOutput("scores", binary_data=is_binary)
    return client.infer("quarters", [given], outputs=[wanted]).as_numpy("scores")


def test_tritonclient_finds_the_model(
    server: Process, triton: tritonclient.http.InferenceServerClient
) -> None:
    """Live, ready, and what goes in and out."""
    assert triton.is_server_live() and triton.is_server_ready() and triton.is_model_ready("quarters")
    assert not triton.is_model_ready("another")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = triton.get_model_metadata("quarters")
    assert metadata["versions"] == [server.said["version"]]
    assert metadata["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 8, 8, 1]}]
    assert metadata["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 4]}]


@pytest.mark.parametrize("is_binary", [True, False])
def test_tritonclient_gets_the_scores_of_a_batch(
    triton: tritonclient.http.InferenceServerClient, is_binary: bool
) -> None:
    """The same numbers as text and as bytes, for one picture and for three."""
    found = ask(triton, 2, 0, 3, is_binary=is_binary)
    assert found.shape == (3, 4) and found.argmax(axis=1).tolist() == [2, 0, 3]
    assert found.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert ask(triton, 0, is_binary=is_binary)[0] == pytest.approx(found[1], abs=1e-6)


def test_tritonclient_is_told_what_is_wrong(triton: tritonclient.http.InferenceServerClient) -> None:
    """In the words of the server."""
    given = tritonclient.http.InferInput("other", [1, 8, 8, 1], "FP32")
    given.set_data_from_numpy(tensor(0))
    with pytest.raises(InferenceServerException, match="no input 'other'"):
        triton.infer("quarters", [given])
    with pytest.raises(InferenceServerException, match="no model 'another'"):
        triton.infer("another", [given])


def test_fifty_clients_at_the_same_time_all_get_their_own_answer(server: Process, tmp_path) -> None:
    """curl, as the page says it."""
    for quarter in range(4):
        (tmp_path / f"{quarter}.png").write_bytes(picture(quarter))
    command = ["curl", "-sS", f"{server.url}/predict?k=1"]
    started = [
        subprocess.Popen(
            [*command, "-F", f"file=@{tmp_path / f'{number % 4}.png'}"], stdout=subprocess.PIPE, text=True
        )
        for number in range(CURLS)
    ]
    answers = [json.loads(process.communicate(timeout=PATIENCE_S)[0]) for process in started]
    assert [answer["label_id"] for answer in answers] == [number % 4 for number in range(CURLS)]


def resident_kib(server: Process) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))  # type: ignore[union-attr]


def test_memory_does_not_grow_with_requests(server: Process) -> None:
    """A thousand pictures, good and bad, leave no more than 8 MiB behind."""
    bodies = [picture(0), picture(1, "JPEG", side=200), b"no picture"]
    with httpx.Client(base_url=server.url) as client:

        def send(count: int) -> None:
            for number in range(count):
                client.post("/predict", files={"file": ("a", bodies[number % 3])})

        send(100)
        before = resident_kib(server)
        send(1000)
    assert resident_kib(server) - before < 8 * 1024


def connect(server: Process) -> socket.socket:
    host, port = server.address.split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def receive(client: socket.socket) -> bytes:
    """Return everything until the server closes."""
    return b"".join(iter(lambda: client.recv(4096), b""))


HEAD = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"POST /predict HTTP/1.1\r\nHost: h"])
def test_a_client_that_never_ends_its_head_is_cut_off(server: Process, sent: bytes) -> None:
    """After `read_s`; it would hold a connection for ever."""
    with connect(server) as client:
        client.sendall(sent)
        assert client.recv(1024) == b""


def test_a_head_in_drops_is_cut_off(server: Process) -> None:
    """A byte now and then does not begin the time anew; here on a connection that was served before."""
    with connect(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
        assert client.recv(1024).startswith(b"HTTP/1.1 200")
        with pytest.raises(OSError):
            for _ in range(600):
                client.sendall(b"G")
                time.sleep(0.1)


def test_a_body_in_drops_is_refused(server: Process) -> None:
    """With 408, after `read_s`."""
    with connect(server) as client:
        client.sendall(HEAD % 1000 + b"x")
        assert client.recv(1024).startswith(b"HTTP/1.1 408")


def test_a_client_that_hangs_up_harms_nobody(server: Process) -> None:
    """In the middle of its body, and before its answer; no traceback in the log."""
    content = picture(0)
    for sent in (HEAD % 1000 + content[:20], HEAD % len(content) + content):
        with connect(server) as client:
            client.sendall(sent)
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert "Traceback" not in (server.folder / "logs" / "serve.log").read_text()


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
def test_a_large_upload_gets_its_refusal(server: Process, more: bytes) -> None:
    """A client that sends everything before it reads still finds the answer, also one that wants to close."""
    with connect(server) as client:
        client.sendall((HEAD % 20_000_000).replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n") + bytes(20_000_000))
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")


def test_every_request_has_a_line_in_a_log_that_rotates(server: Process) -> None:
    """And no more files are kept than the configuration says."""
    httpx.get(f"{server.url}/health?a%0Ab")
    logs = server.folder / "logs"
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO 127\.0\.0\.1 GET /health\?a%0Ab 200 \d+ B \d+\.\d ms"

    def look() -> bool:  # the line comes when the client has its answer
        return any(re.fullmatch(pattern, line) for line in (logs / "access.log").read_text().splitlines())

    wait_for("the line of the request", look)
    assert sorted(path.name for path in logs.glob("access*")) == [
        "access.log",
        "access.log.1",
        "access.log.2",
    ]
    assert all(path.stat().st_size <= 4096 for path in logs.iterdir())


def test_a_port_that_is_taken_is_told_at_once(server: Process) -> None:
    """Three lines and exit code 2, before a model is loaded."""
    host, port = server.address.split(":")
    with pytest.raises(WrongUsage) as caught:
        take_port(host, int(port))
    assert (caught.value.where, caught.value.exit_code) == (server.address, 2)
    assert "in use" in caught.value.what and "--port" in caught.value.hint


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.name.invalid", "a" * 70])
def test_an_address_that_is_not_ours_is_told(host: str) -> None:
    """Also one that is no name at all."""
    with pytest.raises(WrongUsage, match="cannot listen"):
        take_port(host, 0)


def test_an_address_of_version_6_is_spelled_in_brackets() -> None:
    """As a URL wants it."""
    with take_port("::1", 0) as listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_sigterm_waits_for_who_is_being_answered(server: Process) -> None:
    """The request under way gets its answer, what was seen is on disk, the exit code is 0."""
    content = picture(3)
    expecting = (HEAD % len(content)).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    with connect(server) as client:
        client.sendall(expecting)
        assert client.recv(1024).startswith(b"HTTP/1.1 100")
        server.process.terminate()
        client.sendall(content)
        assert b"lower right" in receive(client)
    server.process.communicate(timeout=PATIENCE_S)
    assert server.process.returncode == 0
    seen = json.loads((server.folder / "seen.json").read_text())
    assert seen["lower right"] >= 1 and sum(seen.values()) > CURLS
