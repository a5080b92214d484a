"""Promises of edge_agent.lane, told with a whole agent and a real broker: several models, each on its own."""

import json
import subprocess
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from contract.codec import decode
from contract.manifest import ReleaseModel
from contract.messages import ModelReport
from contract.topics import Topics
from edge_agent.config import ModelConfig, MqttConfig, ShadowConfig
from tests.edge_agent.running_agent import PATIENCE_S, configure, retain, run_agent
from tests.fakes.publisher import Publisher, tiny_files
from tests.fakes.waiting import wait_for

TOPICS = Topics()
DEFECTS_FILES = {**tiny_files(), "labels": b"\n".join(b"defect %d" % n for n in range(10))}


@pytest.fixture
def port(broker):
    """A real broker's port."""
    return broker("topic readwrite #")


@pytest.fixture
def agent(port, tmp_path):
    """A board with its main model, room for another and for a shadow, and a broker."""
    config = configure(tmp_path / "state")
    config = replace(
        config,
        mqtt=MqttConfig(port=port),
        models={"defects": ModelConfig("defects")},
        shadow=ShadowConfig("next", share=1.0, max_temp_c=120),
    )
    with run_agent(config) as running:
        yield running


def release(port, channel, files, version):
    """Publish a release for a channel as `deploy` does: chunks first."""
    publisher = Publisher()
    publisher.sequence = 10
    base = publisher.manifest(files)
    old = base.model
    model = ReleaseModel(channel, version, 0, False, False, old.inputs, old.outputs)
    envelope = publisher.release(replace(base, channel=channel, model=model))
    messages = [message for data in files.values() for message in publisher.messages(data)]
    retain(port, [*messages, (TOPICS.channel_desired(channel), envelope)])


def ask(agent, path, body=None):
    """Return the JSON answer to a GET or POST, or the status if it is a refusal."""
    asked = urllib.request.Request(agent._http + path, body, {"Content-Type": "application/octet-stream"})
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code


def read_report(port, name):
    """Return the retained report of a model."""
    topic = TOPICS.model_reported("board-a", name)
    command = ["mosquitto_sub", "-p", str(port), "-t", topic, "-C", "1", "-W", "1"]
    payload = subprocess.run(command, stdout=subprocess.PIPE).stdout
    return decode(ModelReport, payload.strip()) if payload else None


def test_a_second_model_comes_in_by_its_own_channel_and_answers_under_its_own_name(agent, port, golden):
    """No model's release, report or answers are mixed with another's; a name nobody knows is refused."""
    body = golden[0][0].tobytes()
    assert ask(agent, "/predict?model=defects", body) == 503
    release(port, "defects", DEFECTS_FILES, "7")
    wait_for("a model", lambda: ask(agent, "/predict?model=defects", body) != 503)
    found = ask(agent, "/predict?model=defects", body)
    assert (found["model"]["name"], found["model"]["version"]) == ("defects", "7")
    assert found["label"].startswith("defect ")
    assert ask(agent, "/predict", body)["model"]["name"] == "tiny"
    assert ask(agent, "/predict?model=nobody", body) == 404
    assert ask(agent, "/predict?model=shadow", body) == 404
    wait_for("active", lambda: read_report(port, "defects").phase == "active")
    assert read_report(port, "defects").current.version == "7"
    assert read_report(port, "").current.version == "1"


def test_both_names_of_a_model_lead_to_it_over_the_open_inference_protocol(agent, port, golden):
    """The release's name, and the one that the configuration gives it."""
    release(port, "defects", DEFECTS_FILES, "7")
    wait_for("ready", lambda: ask(agent, "/v2/models/defects") != 404)
    assert ask(agent, "/v2/models/tiny")["versions"] == ["1"]
    assert ask(agent, "/v2/models/defects/versions/8") == 404
    metrics = urllib.request.urlopen(agent._http + "/metrics", timeout=PATIENCE_S).read().decode()
    assert 'model="",name="tiny"' in metrics and 'model="defects",name="defects"' in metrics


def test_a_shadow_is_compared_with_the_main_model_and_never_heard(agent, port, golden):
    """It sees what the main model sees; its labels differ here, so that they never agree."""
    release(port, "next", DEFECTS_FILES, "2")
    wait_for("the shadow", lambda: agent.models.lanes["shadow"].predictor.serving)
    body = golden[0][0].tobytes()
    wait_for("an answer", lambda: ask(agent, "/predict", body)["model"]["name"] == "tiny")
    wait_for("a comparison", lambda: agent.models.shadow_result and agent.models.shadow_result.compared)
    result = agent.models.shadow_result
    assert (result.version, result.agreed) == ("2", 0)
    assert ask(agent, "/v2/models/next") == 404
