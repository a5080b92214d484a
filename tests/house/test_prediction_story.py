"""Stories of a prediction: asked with mosquitto_pub, read with mosquitto_sub, stored by the collector."""

import json
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from contract.topics import Topics
from tests.fakes.publisher import DATA, Publisher
from tests.fakes.waiting import wait_for
from tests.house.conftest import HOST_BIN, ROOT, Agent, Broker
from tests.house.test_push_story import DEVICE, order, predict, publish_files

pytestmark = pytest.mark.skipif(
    not shutil.which("mosquitto_pub"), reason="mosquitto-clients is not installed"
)
TOPICS = Topics()
SUBSCRIBED_WITHIN_S = 0.3


@pytest.fixture
def serving(broker: Broker, agent: Agent, publisher: Publisher) -> Agent:
    """An agent with a model."""
    publish_files(broker, publisher)
    order(broker, publisher)
    agent.start()
    broker.wait_for_phase(DEVICE, "active", "1")
    return agent


def golden_sample() -> "tuple[np.ndarray, int]":
    with np.load(DATA / "tiny_golden.npz") as golden:
        return golden["inputs"][0], int(golden["outputs"][0].argmax())


def ask(broker: Broker, payload: bytes, reply_to: str, version: str = "5") -> "dict[str, object]":
    """Ask with mosquitto_pub, hear the answer with mosquitto_sub."""
    where = ["-p", str(broker.port), "-V", version]
    reader = subprocess.Popen(
        ["mosquitto_sub", *where, "-t", reply_to, "-C", "1", "-W", "10"], stdout=subprocess.PIPE
    )
    time.sleep(SUBSCRIBED_WITHIN_S)
    reply = ["-D", "publish", "response-topic", reply_to] if version == "5" else []
    request = ["mosquitto_pub", *where, "-t", TOPICS.infer(DEVICE), "-s", *reply]
    subprocess.run(request, input=payload, timeout=20, check=True)
    printed, _ = reader.communicate(timeout=20)
    found: dict[str, object] = json.loads(printed)
    return found


def png(pixels: np.ndarray, folder: Path) -> bytes:
    from PIL import Image

    path = folder / "picture.png"
    Image.fromarray(pixels.reshape(28, 28)).save(path)
    return path.read_bytes()


def test_a_raw_picture_with_mqtt_5_is_answered(broker: Broker, serving: Agent, tmp_path: Path) -> None:
    """The response topic is the client's own."""
    pixels, label_id = golden_sample()
    answer = ask(broker, png(pixels, tmp_path), TOPICS.client("me"))
    assert answer.get("error") is None
    assert (answer["status"], answer["label_id"], answer["source"]) == ("ok", label_id, "mqtt")


def test_json_with_mqtt_3_1_1_is_answered_on_the_devices_own_topic(broker: Broker, serving: Agent) -> None:
    """A picture or the bare tensor; the transaction comes back."""
    pixels, label_id = golden_sample()
    request = {"v": 1, "transaction": "t-9", "array": pixels.reshape(-1).tolist()}
    answer = ask(broker, json.dumps(request).encode(), TOPICS.infer_response(DEVICE), "mqttv311")
    assert (answer["transaction"], answer["label_id"]) == ("t-9", label_id)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"not json", "bad_request"),
        (b'{"v":1,"transaction":"x"}', "bad_request"),
        (b'{"v":1,"transaction":"x","array":[1,2,3]}', "bad_input"),
        (b"\x89PNG\r\n\x1a\n truncated", "bad_image"),
        (b'{"v":1,"transaction":"x","image_b64":"R0lGODlh"}', "bad_image"),
    ],
)
def test_a_bad_request_is_told_so_and_the_agent_goes_on(
    broker: Broker, serving: Agent, payload: bytes, code: str
) -> None:
    """A clear error to the sender, nothing else."""
    answer = ask(broker, payload, TOPICS.client("me"))
    assert answer["status"] == "error"
    assert answer["error"]["code"] == code  # type: ignore[index]
    assert predict(serving, bytes(28 * 28))[0] == 200


def test_a_requester_cannot_make_a_device_publish_elsewhere(broker: Broker, serving: Agent) -> None:
    """The status topic is not an answer topic."""
    victim = TOPICS.status(DEVICE)
    broker.heard.pop(victim)
    broker.client.unsubscribe("coral/+/status")
    broker.client.subscribe(victim, 1)
    wait_for("the retained status", lambda: broker.heard.get(victim) == b"online")
    to = ["-p", str(broker.port), "-t", TOPICS.infer(DEVICE)]
    reply = ["-D", "publish", "response-topic", victim]
    subprocess.run(["mosquitto_pub", "-V", "5", *to, "-m", "{}", *reply], check=True)
    ask(broker, b"{}", TOPICS.client("me"))
    assert broker.heard[victim] == b"online"


def test_predictions_are_read_with_mosquitto_sub(broker: Broker, serving: Agent) -> None:
    """The README's line works."""
    command = [
        "mosquitto_sub",
        "-p",
        str(broker.port),
        "-v",
        "-t",
        "coral/+/prediction/#",
        "-C",
        "2",
        "-W",
        "10",
    ]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(SUBSCRIBED_WITHIN_S)
    predict(serving, bytes(28 * 28))
    predict(serving, bytes(28 * 28))
    printed, _ = reader.communicate(timeout=15)
    lines = [line.split(" ", 1) for line in printed.splitlines()]
    assert [topic for topic, _ in lines] == [TOPICS.prediction(DEVICE, "http")] * 2
    assert [json.loads(body)["seq"] for _, body in lines] == [1, 2]


def test_every_prediction_is_stored_once(broker: Broker, serving: Agent, tmp_path: Path) -> None:
    """What was answered is in SQL, without gaps."""
    store = tmp_path / "results.db"
    command = [HOST_BIN / "deploy", "collect", "--broker", f"mqtt://127.0.0.1:{broker.port}"]
    command += ["--store", f"sqlite:///{store}", "--json"]
    collector = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert collector.stderr is not None
    collector.stderr.readline()
    for _ in range(25):
        assert predict(serving, bytes(28 * 28))[0] == 200

    def count() -> int:
        with sqlite3.connect(store) as database:
            return int(database.execute("SELECT count(*) FROM predictions").fetchone()[0])

    wait_for("25 rows", lambda: count() == 25)
    collector.send_signal(signal.SIGTERM)
    printed, _ = collector.communicate(timeout=15)
    counts = json.loads(printed.splitlines()[-1])
    assert (counts["stored"], counts["gaps"]) == (25, 0)


def test_the_example_prints_predictions(broker: Broker, serving: Agent) -> None:
    """Twenty lines are enough to listen to a fleet."""
    program = [HOST_BIN / "python", ROOT / "examples" / "print_predictions.py", "127.0.0.1", str(broker.port)]
    reader = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    try:
        time.sleep(1.0)
        predict(serving, bytes(28 * 28))
        assert DEVICE in reader.stdout.readline()
    finally:
        reader.kill()
        reader.communicate()
