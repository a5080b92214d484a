"""Stories of a whole agent, a real broker, curl and mosquitto: detectors, raw tensors, hard inputs."""

import json
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import pytest

from contract.codec import decode
from contract.learning import Sample
from contract.manifest import ReleaseModel
from contract.topics import Topics
from edge_agent.config import AgentConfig, MqttConfig, SamplingConfig
from edge_agent.inference.interpreter import Interpreter
from edge_agent.inference.workers import ModelFiles
from tests.edge_agent.conftest import DATA
from tests.edge_agent.running_agent import PATIENCE_S, configure, is_up, run_agent
from tests.edge_agent.test_sources_story import Reader, draw
from tests.fakes.publisher import Publisher

TOPICS = Topics()
DEVICE = "board-a"
pytestmark = pytest.mark.skipif(
    shutil.which("mosquitto_sub") is None or shutil.which("curl") is None,
    reason="needs mosquitto, mosquitto-clients and curl",
)


def build(tmp_path: Path, port: int, **sampling: Any) -> AgentConfig:
    config = configure(tmp_path / "state")
    mqtt = MqttConfig(port=port, reconnect_min_s=0.1)
    return replace(config, mqtt=mqtt, sampling=SamplingConfig(**sampling))


def publish(port: int, topic: str, payload: bytes, *options: str) -> None:
    command = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", topic, "-s", *options]
    subprocess.run(command, input=payload, check=True)


def curl(agent: Any, path: str, *options: str) -> Dict[str, Any]:
    done = subprocess.run(["curl", "-s", *options, agent._http + path], stdout=subprocess.PIPE, check=True)
    found: Dict[str, Any] = json.loads(done.stdout)
    return found


def push(port: int, files: ModelFiles, inputs: Any, outputs: Any) -> None:
    """Publish a signed release of these files, as deploy does."""
    publisher = Publisher(chunk_bytes=65_536)
    data = {
        role: getattr(files, role).read_bytes() for role in ("model", "labels", "preprocessing", "golden")
    }
    for content in data.values():
        for topic, payload in publisher.messages(content):
            publish(port, topic, payload, "-r")
    model = ReleaseModel("squares", "1", 0, False, False, inputs, outputs)
    publish(
        port, TOPICS.model_desired(DEVICE), publisher.release(publisher.manifest(data, model=model)), "-r"
    )


def push_and_wait(agent: Any, port: int, files: ModelFiles) -> None:
    model = Interpreter(files.model)
    push(port, files, model.inputs, model.outputs)
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s and not is_up(agent, True):
        time.sleep(0.02)


def draw_squares(path: Path) -> str:
    import numpy as np
    from PIL import Image

    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:16, 16:32, 0] = 255
    pixels[32:48, 48:, 2] = 200
    Image.fromarray(pixels).save(str(path))
    return str(path)


def ask_v2(agent: Any, tmp_path: Path, size: int) -> Dict[str, Any]:
    """Ask with a grey picture; return the outputs by name."""
    taken = curl(agent, "/v2/models/squares")["inputs"][0]
    (tmp_path / "ask.json").write_text(json.dumps({"inputs": [{**taken, "data": [64] * size}]}))
    answer = curl(agent, "/v2/models/squares/infer", "--data-binary", f"@{tmp_path}/ask.json")
    return {tensor["name"]: tensor for tensor in answer["outputs"]}


def test_a_detector_is_pushed_tested_and_asked(
    broker: Any, tmp_path: Path, detector_files: ModelFiles
) -> None:
    """Four outputs from the signed release to the answer: objects over HTTP and MQTT, tensors over /v2."""
    port, picture = broker(), draw_squares(tmp_path / "squares.png")
    reader = Reader(port, TOPICS.prediction(DEVICE, "http"), 2)
    with run_agent(build(tmp_path, port), is_installed=False) as agent:
        push_and_wait(agent, port, detector_files)
        answer = curl(agent, "/predict", "-F", f"file=@{picture}")
        tensors = ask_v2(agent, tmp_path, 64 * 64 * 3)
        published = [document for _, document in reader.read()]
        report = Reader(port, TOPICS.model_reported(DEVICE), 1).read()[0][1]
    assert [(each["label"], each["id"]) for each in answer["objects"]] == [("red", 0), ("blue", 1)]
    assert answer["objects"][0]["box"] == pytest.approx([0.25, 0, 0.5, 0.25], abs=0.01)
    assert (answer["label"], [each["label"] for each in answer["top"]]) == ("red", ["red", "blue"])
    assert published[0] == answer
    assert (published[1]["label"], published[1]["score"], published[1]["top"]) == ("", 0, [])
    assert [tensor["shape"] for tensor in tensors.values()] == [[1, 6, 4], [1, 6], [1, 6], [1]]
    assert report["golden"]["top1_agreement"] == 1 and report["phase"] == "active"


def test_raw_outputs_are_served_as_tensors_only(
    broker: Any, tmp_path: Path, detector_files: ModelFiles
) -> None:
    """/predict and MQTT say where to ask; nothing is published as a prediction, and the model is ready."""
    import numpy as np

    port, picture = broker(), draw_squares(tmp_path / "squares.png")
    model = Interpreter(DATA / "raw.tflite")
    with np.load(str(detector_files.golden)) as file:
        inputs = file["inputs"]
    answers = [np.concatenate(each) for each in zip(*(model.run([one[np.newaxis]]) for one in inputs))]
    np.savez(str(tmp_path / "g.npz"), inputs=inputs, outputs=answers[0], outputs_1=answers[1])
    files = replace(detector_files, model=DATA / "raw.tflite", golden=tmp_path / "g.npz")
    reader = Reader(port, TOPICS.infer_response(DEVICE), 1)
    with run_agent(build(tmp_path, port), is_installed=False) as agent:
        push_and_wait(agent, port, files)
        refused = curl(agent, "/predict", "-F", f"file=@{picture}")
        request = {"v": 1, "transaction": "7", "array": [9] * (64 * 64 * 3)}
        publish(port, TOPICS.infer(DEVICE), json.dumps(request).encode())
        by_mqtt = reader.read()[0][1]
        tensors = ask_v2(agent, tmp_path, 64 * 64 * 3)
        assert agent._why_not_ready() is None
    assert refused["error"]["code"] == by_mqtt["error"]["code"] == "model_output_raw"
    assert "/v2" in refused["error"]["hint"]
    assert [len(tensor["data"]) for tensor in tensors.values()] == [16 * 4, 16 * 3]


def test_hard_inputs_and_corrected_ones_are_sent_away(broker: Any, tmp_path: Path, golden: Any) -> None:
    """Durably, with the picture as it came; what was right is only counted, nonsense is dropped."""
    port = broker()
    draw(golden[0][3], tmp_path / "3.png")
    picture = (tmp_path / "3.png").read_bytes()
    config = build(tmp_path, port, enabled=True, confidence=1, min_interval_s=3600)
    reader = Reader(port, TOPICS.sample(DEVICE), 2)
    with run_agent(config) as agent:
        wait_for_connection(agent)
        answers: List[Dict[str, Any]] = [
            curl(agent, "/predict", "-F", f"file=@{tmp_path}/3.png") for _ in range(3)
        ]
        feedback = TOPICS.feedback(DEVICE)
        publish(port, feedback, b"nonsense")
        publish(port, feedback, b'{"v":1,"prediction":"01JD8Z6M5T3Q0E9W2K7R4C1XAB","label":"lake"}')
        publish(
            port, feedback, json.dumps({"v": 1, "prediction": answers[1]["id"], "label": "lake"}).encode()
        )
        right = json.dumps({"v": 1, "prediction": answers[2]["id"], "label": answers[2]["label"]})
        assert curl(agent, "/feedback", "-d", right) == {"status": "accepted"}
        assert curl(agent, "/feedback", "-d", "{}")["error"]["code"] == "bad_request"
        found = [decode(Sample, json.dumps(document).encode()) for _, document in reader.read()]
        until_s = time.monotonic() + PATIENCE_S
        while sum(agent._tally.feedback.values()) < 3 and time.monotonic() < until_s:
            time.sleep(0.02)
        assert agent._tally.feedback == {"right": 1, "wrong": 1, "unknown": 1}
        metrics = subprocess.run(["curl", "-s", agent._http + "/metrics"], stdout=subprocess.PIPE).stdout
    assert [(each.reason, each.true_label) for each in found] == [("confidence", None), ("feedback", "lake")]
    assert [each.prediction for each in found] == [answers[0]["id"], answers[1]["id"]]
    assert all(each.data == picture and each.content_type == "image/png" for each in found)
    assert b'reefline_feedback_total{verdict="wrong"} 1' in metrics
    assert b'reefline_samples_total{reason="confidence"} 1' in metrics


def wait_for_connection(agent: Any) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not agent._link._client.is_connected() and time.monotonic() < until_s:
        time.sleep(0.02)
