"""Promises of serving.app and what stands behind it, asked over HTTP of a model without TensorFlow."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser

import httpx
import numpy as np
import pytest

from cloud_train.serving.app import Places
from cloud_train.serving.config import ServeConfig
from cloud_train.serving.gate import Gate
from cloud_train.serving.metrics import Metrics
from tests.cloud_train.serving.conftest import StandIn, TestClient, picture, tensor


@contextmanager
def asking(stand_in: StandIn, **limits: object) -> Iterator[TestClient]:
    """A client of the whole application, gate and all."""
    config = ServeConfig(**limits)  # type: ignore[arg-type]
    metrics = Metrics({"name": "quarters"})
    app = Gate(Places(stand_in.served(), config, metrics).build_app(), config, metrics)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(stand_in: StandIn) -> Iterator[TestClient]:
    with asking(stand_in) as found:
        yield found


def upload(content: bytes, name: str = "a.png", field: str = "file") -> dict[str, tuple[str, bytes]]:
    return {field: (name, content)}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("field", ["file", "image"])
def test_a_picture_in_a_form_gets_its_label(client: TestClient, kind: str, field: str) -> None:
    """Whatever the field is called: `requests.post(url, files={"file": ...})` and curl -F image=@..."""
    answer = client.post("/predict", files=upload(picture(2, kind), field=field)).json()
    assert (answer["label"], answer["label_id"], answer["file"]) == ("lower left", 2, "a.png")
    assert answer["probability"] == pytest.approx(0.948, abs=0.005)
    assert len(answer["predictions"]) == 3
    assert answer["predictions"][0] == {"label": "lower left", "probability": answer["probability"]}


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "text/plain", None])
def test_a_picture_may_be_the_body(client: TestClient, content_type: str | None) -> None:
    """As curl --data-binary sends it: a JPEG or PNG is known by its first bytes."""
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post("/predict", content=picture(1, side=300), headers=headers)
    assert answer.json()["label"] == "upper <right>"


def test_an_answer_has_the_words_of_a_board(client: TestClient) -> None:
    """label, label_id, score, top, model and latency_ms, so that a client may move from one to the other."""
    answer = client.post("/predict?k=4", content=picture(3)).json()
    assert answer["score"] == answer["probability"]
    assert [set(each) for each in answer["top"]] == [{"label", "id", "score"}] * 4
    assert sorted(each["id"] for each in answer["top"]) == [0, 1, 2, 3]
    assert answer["model"] == {"name": "quarters", "version": "abc123", "sha256": "ab" * 32}
    assert answer["latency_ms"]["total"] > 0


def test_several_files_get_an_answer_each_in_their_order(client: TestClient) -> None:
    """And share a call of the model where they can."""
    files = [("file", (f"{quarter}.png", picture(quarter))) for quarter in (3, 0, 2)]
    found = client.post("/predict?k=1", files=files).json()["results"]
    assert [(each["file"], each["label_id"]) for each in found] == [("3.png", 3), ("0.png", 0), ("2.png", 2)]


def test_a_raw_tensor_is_the_models_own_input(client: TestClient) -> None:
    """float32 in row-major order, as application/octet-stream."""
    headers = {"Content-Type": "application/octet-stream"}
    answer = client.post("/predict", content=tensor(1).tobytes(), headers=headers)
    assert answer.json()["label_id"] == 1
    refused = client.post("/predict", content=tensor(1).tobytes()[:-4], headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_input")


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"files": upload(b"no picture", "x.txt")}, 400, "bad_image"),
        ({"files": upload(picture(0)[:60])}, 400, "bad_image"),
        ({"files": upload(b"")}, 400, "bad_input"),
        ({"data": {"file": "text"}}, 415, "unsupported_type"),
        ({"content": b""}, 400, "bad_input"),
        ({"content": b"{}", "headers": {"Content-Type": "application/json"}}, 415, "unsupported_type"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "bad_request"),
        (
            {"content": b"--b\r\nx\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
            400,
            "bad_request",
        ),
        ({"content": picture(0), "params": {"k": "0"}}, 400, "bad_request"),
        ({"content": picture(0), "params": {"k": "\u0663"}}, 400, "bad_request"),
        ({"content": picture(0), "headers": {"Content-Encoding": "gzip"}}, 415, "unsupported_type"),
    ],
)
def test_what_cannot_be_served_is_explained(
    client: TestClient, request_: dict[str, object], status: int, code: str
) -> None:
    """As code, message and hint, with the board's codes; the next request is served."""
    answer = client.post("/predict", **request_)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]
    assert client.post("/predict", content=picture(0)).status_code == 200


def test_the_file_that_is_no_picture_is_named(client: TestClient) -> None:
    """One bad file of several refuses them all: half an answer would be taken for a whole one."""
    files = [("file", ("good.png", picture(0))), ("file", ("bad.png", b"x"))]
    answer = client.post("/predict", files=files)
    assert answer.status_code == 400 and "bad.png" in answer.json()["error"]["message"]


def test_a_picture_of_too_many_pixels_is_refused(stand_in: StandIn) -> None:
    """Before it is decoded."""
    with asking(stand_in, max_pixels=50) as client:
        answer = client.post("/predict", content=picture(0))
    assert answer.status_code == 400 and "at most 50" in answer.json()["error"]["message"]


@pytest.mark.parametrize("is_said", [True, False])
def test_a_body_that_is_too_large_is_refused(stand_in: StandIn, is_said: bool) -> None:
    """Whether its length is said or it comes in chunks."""
    body = picture(0) + bytes(2000)
    with asking(stand_in, max_body_bytes=1024) as client:
        answer = client.post("/predict", content=body if is_said else iter([body[:1000], body[1000:]]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_too_many_files_are_refused(stand_in: StandIn) -> None:
    """A form of thousands of files costs memory before it is read."""
    with asking(stand_in, max_files=2) as client:
        answer = client.post("/predict", files=[("file", ("a.png", picture(0)))] * 3)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/predict", 405), ("PUT", "/v2", 405)]
)
def test_a_place_that_is_not_there_is_explained(
    client: TestClient, method: str, path: str, status: int
) -> None:
    """In JSON, like everything else."""
    answer = client.request(method, path)
    assert answer.status_code == status and answer.json()["error"]


def test_a_model_that_breaks_costs_one_request(client: TestClient, stand_in: StandIn) -> None:
    """500 without a word of the inside, the server lives."""

    def explode(_inputs: object) -> None:
        raise RuntimeError("secret")

    healthy, stand_in.run = stand_in.run, explode  # type: ignore[method-assign]
    answer = client.post("/predict", content=picture(0))
    assert answer.status_code == 500 and "secret" not in answer.text
    stand_in.run = healthy  # type: ignore[method-assign]
    assert client.post("/predict", content=picture(0)).status_code == 200


def test_scores_that_are_no_numbers_are_not_sent(client: TestClient, stand_in: StandIn) -> None:
    """NaN is no JSON."""
    stand_in.run = lambda inputs: np.full((len(inputs), 4), np.nan, np.float32)  # type: ignore[method-assign]
    answer = client.post("/predict", content=picture(0))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_not_finite")


def test_the_open_inference_protocol_refuses_them_too(client: TestClient, stand_in: StandIn) -> None:
    """And nothing is counted as seen."""
    stand_in.run = lambda inputs: np.full((len(inputs), 4), np.inf, np.float32)  # type: ignore[method-assign]
    given = {"name": "pixels", "shape": [1, 8, 8, 1], "datatype": "FP32", "data": tensor(2).ravel().tolist()}
    answer = client.post("/v2/models/quarters/infer", json={"inputs": [given]})
    assert answer.status_code == 500 and "model_not_finite" in answer.json()["error"]
    assert client.get("/seen").json() == {"labels": {}}


def test_who_waits_too_long_is_told(stand_in: StandIn) -> None:
    """504, not for ever."""
    go_on, run = threading.Event(), stand_in.run

    def wait(inputs):  # type: ignore[no-untyped-def]
        go_on.wait(10)
        return run(inputs)

    stand_in.run = wait  # type: ignore[method-assign]
    with asking(stand_in, timeout_s=0.1) as client:
        answer = client.post("/predict", content=picture(0))
        go_on.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_only_so_many_wait(stand_in: StandIn) -> None:
    """The next one is told when to come back; while the model computes, /health answers."""
    go_on, is_inside, run = threading.Event(), threading.Event(), stand_in.run

    def wait(inputs):  # type: ignore[no-untyped-def]
        is_inside.set()
        go_on.wait(10)
        return run(inputs)

    stand_in.run = wait  # type: ignore[method-assign]
    with asking(stand_in, max_waiting=1) as client:
        first: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: first.append(client.post("/predict", content=picture(0))))
        thread.start()
        assert is_inside.wait(10)
        refused = client.post("/predict", content=picture(0))
        assert client.get("/health").status_code == 200
        go_on.set()
        thread.join(10)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert first[0].status_code == 200


def test_what_was_seen_is_counted_and_drawn(client: TestClient) -> None:
    """Labels are escaped in the picture, and nothing in it comes from elsewhere."""
    assert b"<text" not in client.get("/cloud.svg").content
    for quarter in (1, 1, 3):
        client.post("/predict", content=picture(quarter))
    assert client.get("/seen").json() == {"labels": {"upper <right>": 2, "lower right": 1}}
    svg = client.get("/cloud.svg")
    assert svg.headers["content-type"] == "image/svg+xml"
    assert "upper &lt;right&gt;" in svg.text and "<right>" not in svg.text
    assert "@font-face" in svg.text and "http" not in svg.text.replace("http://www.w3.org/2000/svg", "")


def test_prometheus_finds_requests_and_predictions(client: TestClient) -> None:
    """Responses by status, a histogram of their time, predictions by label."""
    client.post("/predict", content=picture(1))
    client.post("/predict", content=b"")
    page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'reefline_http_responses_total{status="200"} 1.0',
        'reefline_http_responses_total{status="400"} 1.0',
        "reefline_http_request_duration_seconds_count 2.0",
        'reefline_predictions_total{label="upper <right>"} 1.0',
        'reefline_model_info{name="quarters"} 1.0',
    ):
        assert line in page.text.splitlines()


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz"])
def test_health_names_the_model(client: TestClient, path: str) -> None:
    """Under the seeds' name and under the board's; the server listens only when its model answers."""
    assert client.get(path).json() == {"status": "ready", "model": "quarters", "version": "abc123"}
    assert client.head(path).status_code == 200


class Page(HTMLParser):
    """Collects what a page loads from elsewhere, and what its parts are called."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.images_without_alt = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loaded += [str(given[name]) for name in ("src", "href", "action") if name in given]
        self.images_without_alt += tag == "img" and "alt" not in given


def test_the_page_asks_nobody_else(client: TestClient) -> None:
    """Everything is in it, and its policy lets nothing else in."""
    answer = client.get("/")
    page = Page(answer.text)
    assert page.loaded == ["data:,"] and "//" not in answer.text.split("<script>")[0]
    assert page.images_without_alt == 0 and 'lang="en"' in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "innerHTML" not in answer.text


def test_the_open_inference_protocol_takes_batches_as_json(client: TestClient, stand_in: StandIn) -> None:
    """The number of examples is the client's choice, up to the limit."""
    given = {
        "name": "pixels",
        "shape": [2, 8, 8, 1],
        "datatype": "FP32",
        "data": tensor(2, 1).ravel().tolist(),
    }
    answer = client.post("/v2/models/quarters/infer", json={"id": "7", "inputs": [given]}).json()
    (output,) = answer["outputs"]
    assert (output["name"], output["shape"], answer["id"]) == ("scores", [2, 4], "7")
    assert np.argmax(np.reshape(output["data"], (2, 4)), axis=1).tolist() == [2, 1]
    assert answer["parameters"] == {"labels": ["lower left", "upper <right>"]}
    assert stand_in.batches == [2]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/quarters/infer", 400),
        ("/v2/models/other/infer", 404),
        ("/v2/models/quarters/versions/9/infer", 404),
    ],
)
def test_the_open_inference_protocol_says_what_is_wrong_in_one_text(
    client: TestClient, path: str, status: int
) -> None:
    """{"error": "text"}, as its specification wants."""
    answer = client.post(path, content=b'{"inputs": []}')
    assert answer.status_code == status and isinstance(answer.json()["error"], str)
