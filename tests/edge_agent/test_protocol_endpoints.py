"""Promises of serving.protocol_endpoints, asked of a whole agent with tritonclient and plain HTTP."""

import http.client
import json
from types import SimpleNamespace

import numpy as np
import pytest

from contract import __version__
from contract.artifacts import TensorSpec
from contract.inference_protocol import HEADER_LENGTH
from contract.messages import ModelVersion, Problem
from edge_agent.events import WorkerReady
from edge_agent.inference.predictor import Serving
from edge_agent.inference.runnable_model import RunnableModel
from edge_agent.serving.asking import Found
from edge_agent.serving.protocol_endpoints import ProtocolEndpoints
from edge_agent.serving.routes import Request
from tests.edge_agent.running_agent import configure, run_agent
from tests.edge_agent.test_server import PREDICTION

PLACE = "/v2/models/tiny"


@pytest.fixture(scope="module")
def agent_config(tmp_path_factory):
    """The settings of the agent that serves the tiny model."""
    return configure(tmp_path_factory.mktemp("agent"))


@pytest.fixture(scope="module", autouse=True)
def agent(agent_config):
    with run_agent(agent_config) as agent:
        yield agent


@pytest.fixture
def client(agent_config):
    connection = http.client.HTTPConnection("127.0.0.1", agent_config.http.port, timeout=30)
    yield connection
    connection.close()


def ask(client, path, body=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    client.request("GET" if body is None else "POST", path, body, named)
    response = client.getresponse()
    return response, response.read()


@pytest.fixture
def tensors(client):
    """The names of the model's input and output, as its metadata tells."""
    about = json.loads(ask(client, PLACE)[1])
    return about["inputs"][0]["name"], about["outputs"][0]["name"]


@pytest.fixture
def triton(agent_config):
    library = pytest.importorskip("tritonclient.http", reason="tritonclient needs CPython 3.10 or newer")
    with library.InferenceServerClient(f"127.0.0.1:{agent_config.http.port}") as client:
        client.library = library
        yield client


@pytest.mark.parametrize("is_input_binary", [True, False])
@pytest.mark.parametrize("is_output_binary", [True, False, None])
@pytest.mark.parametrize("version", ["", "1"])
def test_tritonclient_gets_the_models_own_output(
    triton, golden, tensors, is_input_binary, is_output_binary, version
):
    """In every mix of JSON and binary the very bytes that the interpreter gave."""
    name, output = tensors
    for sample, expected in zip(golden[0][:3], golden[1]):
        tensor = triton.library.InferInput(name, [1, 28, 28, 1], "UINT8")
        tensor.set_data_from_numpy(sample[np.newaxis], binary_data=is_input_binary)
        wanted = [triton.library.InferRequestedOutput(output, binary_data=is_output_binary)]
        outputs = None if is_output_binary is None else wanted
        answer = triton.infer("tiny", [tensor], version, outputs, request_id="r-1")
        given = answer.as_numpy(output)
        assert given.dtype == np.uint8 and given.shape == (1, 10)
        assert np.abs(given[0].astype(int) - expected).max() <= 2
        assert answer.get_response()["id"] == "r-1"


def test_tritonclient_reads_what_is_served(triton):
    """Health and metadata."""
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.is_model_ready("tiny") and triton.is_model_ready("tiny", "1")
    assert not triton.is_model_ready("other") and not triton.is_model_ready("tiny", "2")
    about = triton.get_server_metadata()
    assert (about["name"], about["version"]) == ("reefline", __version__)
    assert about["extensions"] == ["binary_tensor_data"]
    model = triton.get_model_metadata("tiny", "1")
    assert (model["name"], model["versions"], model["platform"]) == ("tiny", ["1"], "tensorflow_lite")
    assert (model["inputs"][0]["shape"], model["inputs"][0]["datatype"]) == ([1, 28, 28, 1], "UINT8")
    assert (model["outputs"][0]["shape"], model["outputs"][0]["datatype"]) == ([1, 10], "UINT8")


def test_tritonclient_hears_what_is_wrong(triton, tensors):
    """Its exception carries our sentence and status; the next request is answered."""
    tensor = triton.library.InferInput(tensors[0], [1, 14, 14, 1], "UINT8")
    tensor.set_data_from_numpy(np.zeros((1, 14, 14, 1), np.uint8))
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="must have the shape") as raised:
        triton.infer("tiny", [tensor])
    assert raised.value.status() == "400"
    with pytest.raises(InferenceServerException, match="unknown_model") as raised:
        triton.infer("other", [tensor])
    assert raised.value.status() == "404"
    with pytest.raises(InferenceServerException, match="compressed") as raised:
        triton.infer("tiny", [tensor], request_compression_algorithm="gzip")
    assert raised.value.status() == "415"


def test_plain_json_is_answered_too(client, golden, tensors):
    """What curl would send; also on CPython 3.7."""
    sample = {"name": tensors[0], "shape": [1, 28, 28, 1], "datatype": "UINT8"}
    body = json.dumps({"inputs": [{**sample, "data": golden[0][0].reshape(-1).tolist()}]})
    response, answer = ask(client, PLACE + "/infer", body)
    (output,) = json.loads(answer)["outputs"]
    assert response.status == 200 and response.getheader("Content-Type") == "application/json"
    assert int(np.argmax(output["data"])) == int(golden[1][0].argmax())


def test_binary_tensors_are_answered_in_binary(client, golden, tensors):
    """The answer's header says where its JSON ends."""
    payload = golden[0][0].tobytes()
    tensor = {"name": tensors[0], "shape": [1, 28, 28, 1], "datatype": "UINT8"}
    tensor["parameters"] = {"binary_data_size": len(payload)}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {HEADER_LENGTH: str(len(head))}
    response, answer = ask(client, PLACE + "/infer", head + payload, **length)
    json_bytes = int(response.getheader(HEADER_LENGTH))
    assert response.status == 200 and len(answer) - json_bytes == 10
    assert int(np.frombuffer(answer[json_bytes:], np.uint8).argmax()) == int(golden[1][0].argmax())


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (PLACE + "/infer", b"{}", 400),
        (PLACE + "/infer", b"", 400),
        (PLACE + "/versions/1/infer", b"[[[", 400),
        (PLACE + "/versions/2/infer", b"{}", 404),
        ("/v2/models/other/infer", b"{}", 404),
        ("/v2/models/other", None, 404),
        ("/v2/models/other/ready", None, 404),
        (PLACE + "/versions/2", None, 404),
        ("/v2/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", None, 404),
        ("/v2/models/../../etc/passwd", None, 404),
        ("/v2/models/" + "x" * 5000, None, 404),
        ("/v2/nothing", None, 404),
        (PLACE + "/infer", None, 405),
        (PLACE + "/infer", bytes(5 * 1024 * 1024), 413),
    ],
)
def test_every_error_is_the_protocols_own(client, path, body, status):
    """One text under `error`, also where the request was refused before it was read."""
    response, answer = ask(client, path, body)
    document = json.loads(answer)
    assert response.status == status
    assert set(document) == {"error"} and isinstance(document["error"], str) and len(document["error"]) < 1000


def test_a_large_body_stays_in_memory(client, monkeypatch):
    """/tmp may be on the eMMC."""
    monkeypatch.setattr("bottle.NamedTemporaryFile", None)
    response, answer = ask(client, PLACE + "/infer", bytes(200_000))
    assert response.status == 400 and b"JSON" in answer


class OtherModel:
    """Stands in for the loop at the moment when another model takes over."""

    def ask(self, _kind, _payload, **_more):
        return Found(PREDICTION, b"\x01\x02")


def test_an_answer_of_another_model_is_not_passed_on():
    """Between the check of the request and the answer a release may have come in; its tensors may differ."""
    spec = TensorSpec("x", (1, 2), "uint8")
    tensor = {"name": "x", "shape": [1, 2], "datatype": "UINT8", "data": [1, 2]}
    body = json.dumps({"inputs": [tensor]}).encode()
    for version, status in ((PREDICTION.model, 200), (ModelVersion("fashion", "3", "cd" * 32), 503)):
        serving = Serving(
            None, WorkerReady(1, "fake", "cpu", (spec,), (spec,)), RunnableModel(None, version, None, 0, 0)
        )
        endpoints = ProtocolEndpoints(OtherModel(), lambda found=serving: {"": found}, lambda: None)
        assert endpoints.infer(Request("POST", "", "", {}, body), "fashion").status == status


def test_a_model_that_fails_is_not_ready_until_it_answers(agent, client, golden):
    """Being loaded is not enough; the reason is told, and the next good answer ends it."""
    agent._tally.count("http", Problem("worker_lost", "it died twice"))
    for path in ("/readyz", "/v2/health/ready", PLACE + "/ready"):
        response, answer = ask(client, path)
        assert response.status == 503 and b"it died twice" in answer
    assert ask(client, "/predict", golden[0][0].tobytes())[0].status == 200
    assert ask(client, "/readyz")[0].status == 200


def test_without_a_model_the_protocol_says_so(tmp_path):
    """Alive, not ready, and nothing to infer with; the reasons are told."""
    config = configure(tmp_path)
    with run_agent(config, is_installed=False):
        client = http.client.HTTPConnection("127.0.0.1", config.http.port, timeout=30)
        assert ask(client, "/v2/health/live")[0].status == 200
        for path, body in (("/v2/health/ready", None), (PLACE + "/ready", None), (PLACE + "/infer", b"{}")):
            response, answer = ask(client, path, body)
            assert response.status == 503 and response.getheader("Retry-After")
            assert "no model is loaded" in json.loads(answer)["error"]
        client.close()


def test_the_agents_own_answers_are_counted_and_told(client, golden):
    """k labels for k, a bomb refused, and /metrics knows of both."""
    response, answer = ask(client, "/predict?k=5", golden[0][0].tobytes())
    assert response.status == 200 and len(json.loads(answer)["top"]) == 5
    assert ask(client, "/predict", build_bomb(), Content_Type="image/png")[0].status == 400
    assert ask(client, "/readyz")[0].status == 200
    page = ask(client, "/metrics")[1].decode()
    assert 'reefline_predictions_total{source="http",backend="cpu",result="ok"}' in page
    assert 'reefline_predictions_total{source="http",backend="none",result="bad_image"} 1' in page
    assert 'reefline_http_responses_total{status="400"}' in page
    assert 'reefline_model_info{model="",name="tiny",version="1"' in page
    assert "reefline_ready 1" in page


def build_bomb():
    """Return a PNG of 200 kB that would need 40 GB."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_full_queue_is_told_to_every_protocol(tmp_path, golden):
    """Of many at once those without room get 503 and when to retry; nobody waits for ever, nobody is lost."""
    import threading

    config = configure(tmp_path, queue=1)
    payload, statuses, retries = golden[0][0].tobytes(), [], []

    def hurry():
        client = http.client.HTTPConnection("127.0.0.1", config.http.port, timeout=30)
        for _ in range(20):
            response, _ = ask(client, "/predict", payload)
            statuses.append(response.status)
            retries.append(response.getheader("Retry-After"))
        client.close()

    with run_agent(config) as agent:
        threads = [threading.Thread(target=hurry) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert agent._why_not_ready() is None
    assert len(statuses) == 240 and set(statuses) == {200, 503}
    assert [each is None for each in retries] == [status == 200 for status in statuses]


def test_a_wrong_name_is_told_the_right_ones():
    """Two models may come from releases of one name: each is called as it can be asked for."""
    serving = SimpleNamespace(model=SimpleNamespace(version=SimpleNamespace(name="tiny", version="1")))
    endpoints = ProtocolEndpoints(None, lambda: {"": serving, "defects": serving}, lambda: None)
    answer = endpoints.describe_model(None, "other")
    assert answer.status == 404 and b"only tiny 1, defects 1" in answer.body
