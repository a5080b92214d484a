"""Promises of serving.metrics: a page that Prometheus' own parser reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contract.artifacts import TensorSpec
from contract.messages import ModelVersion, Problem
from edge_agent.events import WorkerReady
from edge_agent.inference.predictor import Serving
from edge_agent.inference.runnable_model import RunnableModel
from edge_agent.outgoing.outbox import OutboxStats
from edge_agent.serving.metrics import State, render
from edge_agent.tally import SLOW, Tally
from tests.edge_agent.test_server import PREDICTION

SPEC = TensorSpec("x", (1, 2), "uint8")
SERVING = Serving(
    None,
    WorkerReady(1, 'odd "runtime"\n\\', "cpu", (SPEC,), (SPEC,)),
    RunnableModel(None, ModelVersion("fashion", "3", "ab" * 32), None, 0, 0),
)


@pytest.fixture
def tally():
    return Tally(lambda: 7.0)


def read(tally, serving=SERVING, tmp_path=None):
    """Return {(name, labels): value} as Prometheus reads the page."""
    page = render(
        tally,
        State({"": serving} if serving else {}, serving is not None, 4, OutboxStats(5, 600, 7)),
        tmp_path,
    )
    found = {}
    for family in text_string_to_metric_families(page):
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
        for sample in family.samples:
            place = (sample.name, tuple(sorted(sample.labels.items())))
            assert place not in found and sample.name.startswith("reefline_")
            found[place] = sample.value
    return found


def test_predictions_are_told_by_backend_and_result(tally, tmp_path):
    """With the time they took, in seconds."""
    for result in (PREDICTION, PREDICTION, Problem("bad_image", "no")):
        tally.count("http", result)
    found = read(tally, tmp_path=tmp_path)
    name = "reefline_predictions_total"
    assert found[name, (("backend", "cpu"), ("result", "ok"), ("source", "http"))] == 2
    assert found[name, (("backend", "none"), ("result", "bad_image"), ("source", "http"))] == 1
    assert found["reefline_prediction_duration_seconds_bucket", (("le", "0.001"),)] == 2
    assert found["reefline_prediction_duration_seconds_count", ()] == 2
    assert found["reefline_prediction_duration_seconds_sum", ()] == pytest.approx(0.002)
    assert found["reefline_inference_duration_seconds_bucket", (("le", "+Inf"),)] == 2


def test_the_state_is_told(tally, tmp_path):
    """What waits, what was dropped, how long it has been up."""
    tally.count_response(413)
    tally.count_cut(SLOW)
    tally.count_skip("inbox", "too_large")
    found = read(tally, tmp_path=tmp_path)
    for name, value in (
        ("ready", 1),
        ("queue_length", 4),
        ("outbox_waiting_messages", 5),
        ("outbox_waiting_bytes", 600),
        ("outbox_dropped_total", 7),
        ("uptime_seconds", 0),
    ):
        assert found["reefline_" + name, ()] == value
    assert found["reefline_http_responses_total", (("status", "413"),)] == 1
    assert found["reefline_http_connections_cut_total", (("reason", "slow"),)] == 1
    skipped = (("reason", "too_large"), ("source", "inbox"))
    assert found["reefline_source_skipped_total", skipped] == 1


def test_the_model_is_told_whatever_its_runtime_is_called(tally, tmp_path):
    """Quotes, backslashes and line ends are escaped; without a model there is no line."""
    labels = [
        dict(labels) for (name, labels) in read(tally, tmp_path=tmp_path) if name == "reefline_model_info"
    ]
    assert [(each["name"], each["version"], each["runtime"]) for each in labels] == [
        ("fashion", "3", 'odd "runtime"\n\\')
    ]
    found = read(tally, serving=None, tmp_path=tmp_path)
    assert found["reefline_ready", ()] == 0
    assert not [name for name, _ in found if name == "reefline_model_info"]


def test_temperatures_are_told_in_degrees_and_a_broken_sensor_left_out(tally, tmp_path):
    """The kernel has thousandths; a sensor that cannot be read harms nobody."""
    for sensor, text in (
        ("apex/apex_0", "61500\n"),
        ("thermal/thermal_zone0", "48000"),
        ("thermal/thermal_zone1", ""),
    ):
        folder = tmp_path / "sys" / "class" / sensor
        folder.mkdir(parents=True)
        (folder / "temp").write_text(text)
    found = read(tally, tmp_path=tmp_path)
    name = "reefline_temperature_celsius"
    assert {labels: value for (each, labels), value in found.items() if each == name} == {
        (("place", "edgetpu"), ("sensor", "apex_0")): 61.5,
        (("place", "board"), ("sensor", "thermal_zone0")): 48.0,
    }
