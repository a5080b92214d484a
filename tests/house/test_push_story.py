"""Stories of a push: a real broker, a real agent process, and what goes wrong on the way."""

import http.client
import json
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from contract.topics import Topics
from tests.fakes.publisher import DATA, Publisher, tiny_files
from tests.fakes.waiting import wait_for
from tests.house.conftest import HOST_BIN, Agent, Broker, running_broker

TOPICS = Topics()
DEVICE = "board-a"
SAVED_WITHIN_S = 1.5


def publish_files(broker: Broker, publisher: Publisher) -> None:
    for data in tiny_files().values():
        for topic, payload in publisher.messages(data):
            broker.retain(topic, payload)


def order(broker: Broker, publisher: Publisher, **changes: object) -> None:
    envelope = publisher.release(publisher.manifest(**changes))  # type: ignore[arg-type]
    broker.retain(TOPICS.model_desired(DEVICE), envelope)


def predict(
    agent: Agent, body: bytes, kind: str = "application/octet-stream"
) -> "tuple[int, dict[str, object]]":
    host, _, port = agent.address().removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("POST", "/predict", body, {"Content-Type": kind})
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def test_a_release_arrives_and_answers(broker: Broker, agent: Agent, publisher: Publisher) -> None:
    """From retained chunks to a prediction over HTTP, and a clean goodbye."""
    publish_files(broker, publisher)
    order(broker, publisher)
    agent.start()
    report = broker.wait_for_phase(DEVICE, "active", "1")
    assert report.golden is not None and report.golden.top1_agreement == 1.0
    status, answer = predict(agent, bytes(28 * 28))
    assert status == 200 and answer["device"] == DEVICE and answer["seq"] == 1
    assert broker.heard[TOPICS.status(DEVICE)] == b"online"
    assert agent.stop() == 0
    wait_for("offline", lambda: broker.heard[TOPICS.status(DEVICE)] == b"offline")


def test_a_killed_agent_resumes_and_finishes(broker: Broker, agent: Agent, publisher: Publisher) -> None:
    """SIGKILL in the middle of a download: what is on disk is not fetched again."""
    model = list(publisher.messages(tiny_files()["model"]))
    half = len(model) // 2
    for topic, payload in model[:half]:
        broker.retain(topic, payload)
    order(broker, publisher)
    agent.start()
    part = agent.state / "parts" / publisher.blob(tiny_files()["model"]).sha256
    last = model[half - 1][1]
    wait_for("half of the model on disk", lambda: part.exists() and last in part.read_bytes())
    agent.kill()
    publish_files(broker, publisher)
    agent.start()
    broker.wait_for_phase(DEVICE, "active", "1")
    received = int(agent.log.read_text().rsplit("received ", 1)[1].split()[0])
    everything = sum(
        len(payload) for data in tiny_files().values() for _, payload in publisher.messages(data)
    )
    assert received <= everything - sum(len(payload) for _, payload in model[1:half])


def test_a_flipped_bit_is_refused_and_repaired(broker: Broker, agent: Agent, publisher: Publisher) -> None:
    """The damaged chunk is asked for on model/need; the good one ends the download."""
    publish_files(broker, publisher)
    topic, good = list(publisher.messages(tiny_files()["model"]))[5]
    broker.retain(topic, bytes([good[0] ^ 1]) + good[1:])
    order(broker, publisher)
    agent.start()
    wait_for("the agent asks", lambda: TOPICS.model_need(DEVICE) in broker.heard)
    assert broker.wait_for_phase(DEVICE, "downloading").current is None
    broker.retain(topic, good)
    broker.wait_for_phase(DEVICE, "active", "1")


def test_a_release_signed_by_a_stranger_changes_nothing(
    broker: Broker, agent: Agent, publisher: Publisher
) -> None:
    """It is refused with the reason, and what ran goes on."""
    publish_files(broker, publisher)
    order(broker, publisher)
    agent.start()
    broker.wait_for_phase(DEVICE, "active", "1")
    stranger = publisher.release(publisher.manifest(), roles=["timestamp"])
    broker.retain(TOPICS.model_desired(DEVICE), stranger)
    report = broker.wait_for_phase(DEVICE, "failed", "1")
    assert report.error is not None and report.error.code == "signature"
    assert predict(agent, bytes(28 * 28))[0] == 200


def test_a_hash_valid_file_that_is_no_model_kills_only_the_child(
    broker: Broker, agent: Agent, publisher: Publisher
) -> None:
    """Signed by us by mistake: the agent stays, and says what is wrong."""
    files = {**tiny_files(), "model": b"TFL3" + os.urandom(5000)}
    for data in files.values():
        for topic, payload in publisher.messages(data):
            broker.retain(topic, payload)
    order(broker, publisher, files=files)
    agent.start()
    report = broker.wait_for_phase(DEVICE, "failed")
    assert report.error is not None and report.current is None
    assert predict(agent, b"x")[0] == 503


def test_a_compiled_release_is_answered_by_its_fallback(
    broker: Broker, agent: Agent, publisher: Publisher
) -> None:
    """No Edge TPU here: the CPU model answers, and the prediction says so."""
    files = {**tiny_files(), "fallback": tiny_files()["model"], "model": b"compiled for an Edge TPU"}
    for data in files.values():
        for topic, payload in publisher.messages(data):
            broker.retain(topic, payload)
    compiled = replace(publisher.manifest().model, compiled=True)
    order(broker, publisher, files=files, model=compiled)
    agent.start()
    broker.wait_for_phase(DEVICE, "active")
    status, answer = predict(agent, bytes(28 * 28))
    assert (status, answer["backend"]) == (200, "cpu")
    assert "no Edge TPU" in str(answer["degraded"])


def test_an_agent_serves_without_a_broker(broker: Broker, agent: Agent, publisher: Publisher) -> None:
    """The cable is out: predictions go on, and are told when it is back."""
    publish_files(broker, publisher)
    order(broker, publisher)
    agent.start()
    broker.wait_for_phase(DEVICE, "active", "1")
    agent.stop()
    config = agent.config.read_text()
    agent.config.write_text(config.replace(f"port = {broker.port}", "port = 1"))
    agent.log.unlink()
    agent.start()
    wait_for("a prediction", lambda: predict(agent, bytes(28 * 28))[0] == 200)
    time.sleep(SAVED_WITHIN_S)
    agent.kill()
    heard: list[bytes] = []
    broker.client.message_callback_add("coral/+/prediction/#", lambda _c, _u, m: heard.append(m.payload))
    broker.client.subscribe("coral/+/prediction/#", 1)
    agent.config.write_text(config)
    agent.start()
    wait_for("the prediction made without a broker", lambda: heard)


def test_two_agents_cannot_share_a_state_folder(agent: Agent) -> None:
    """The second one says so and exits with 2."""
    agent.start()
    agent.address()
    second = subprocess.run(
        [HOST_BIN / "edge-agent", "run", "-c", agent.config],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert second.returncode == 2
    assert "another agent uses" in second.stderr and "try:" in second.stderr


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_a_picture_is_answered_like_the_golden_sample(
    broker: Broker, agent: Agent, publisher: Publisher, tmp_path: Path
) -> None:
    """curl sends a PNG, the label is the recorded one."""
    import numpy as np
    from PIL import Image

    publish_files(broker, publisher)
    order(broker, publisher)
    agent.start()
    broker.wait_for_phase(DEVICE, "active", "1")
    with np.load(DATA / "tiny_golden.npz") as golden:
        pixels, answer = golden["inputs"][0], golden["outputs"][0]
    picture = tmp_path / "picture.png"
    Image.fromarray(pixels.reshape(28, 28)).save(picture)
    done = subprocess.run(
        ["curl", "-s", "-F", f"file=@{picture}", agent.address() + "/predict"],
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert json.loads(done.stdout)["label_id"] == int(answer.argmax())


def test_the_embedded_broker_serves_where_no_mosquitto_is(tmp_path: Path, publisher: Publisher) -> None:
    """MQTT 3.1.1 only: the agent falls back to it, and the release arrives all the same."""
    with running_broker(tmp_path, "--embedded") as broker:
        (tmp_path / "agent").mkdir()
        agent = Agent(tmp_path / "agent", broker.port, publisher)
        publish_files(broker, publisher)
        order(broker, publisher)
        agent.start()
        try:
            broker.wait_for_phase(DEVICE, "active", "1")
        finally:
            agent.close()
