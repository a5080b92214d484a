"""The story of sources, told with a whole agent, a real broker and mosquitto_sub: a folder and a camera."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import pytest

from contract.topics import Topics
from edge_agent.config import AgentConfig, MqttConfig
from edge_agent.source_config import SourceConfig
from tests.edge_agent.running_agent import configure, run_agent
from tests.edge_agent.test_camera import GENERATED, needs_gstreamer

TOPICS = Topics()
DEVICE = "board-a"
needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto_sub") is None, reason="needs mosquitto and mosquitto-clients"
)


class Reader:
    """A mosquitto_sub that ends after some messages; it hears what is retained too."""

    def __init__(self, port: int, topic: str, messages: int) -> None:
        command = ["mosquitto_sub", "-p", str(port), "-v", "-t", topic, "-C", str(messages), "-W", "30"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def read(self) -> "List[tuple[str, Dict[str, Any]]]":
        """Return (topic, document) of each."""
        printed, _ = self._process.communicate()
        lines = (line.split(" ", 1) for line in printed.decode().splitlines())
        return [(topic, json.loads(body)) for topic, body in lines]


def build(tmp_path: Path, port: int, **sources: SourceConfig) -> AgentConfig:
    config = configure(tmp_path / "state")
    return replace(config, mqtt=MqttConfig(port=port, reconnect_min_s=0.1), sources=sources)


def draw(pixels: Any, path: Path) -> None:
    """Save a golden sample (28, 28, 1) as a picture."""
    from PIL import Image

    Image.fromarray(pixels.reshape(28, 28)).save(str(path))


@needs_mosquitto
def test_pictures_that_are_put_into_a_folder_are_predicted(broker: Any, tmp_path: Path, golden: Any) -> None:
    """Each once, numbered and named, on its own topic; the newest label is retained; they go away."""
    port = broker()
    inputs, outputs = golden
    labels = outputs.argmax(axis=1)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    source = SourceConfig(kind="folder", path=str(inbox), every_s=0.1, after="delete")
    reader = Reader(port, TOPICS.prediction(DEVICE, "inbox"), 3)
    with run_agent(build(tmp_path, port, inbox=source)):
        for number in range(3):
            draw(inputs[number], inbox / f"{number}.png")
        found = [document for _, document in reader.read()]
        state = Reader(port, TOPICS.state(DEVICE, "inbox"), 1).read()
        info = Reader(port, TOPICS.info(DEVICE), 1).read()
    assert [each["seq"] for each in found] == [1, 2, 3]
    assert sorted(each["label_id"] for each in found) == sorted(int(label) for label in labels[:3])
    assert sorted(each["file"] for each in found) == ["0.png", "1.png", "2.png"]
    assert state[0][1]["source"] == "inbox" and state[0][1]["label_id"] in labels[:3]
    assert info[0][1]["sources"] == ["http", "mqtt", "inbox"]
    assert list(inbox.iterdir()) == []


@needs_mosquitto
def test_what_is_held_back_is_published_in_time(broker: Any, tmp_path: Path, golden: Any) -> None:
    """Also when nothing else happens."""
    port = broker()
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    source = SourceConfig(kind="folder", path=str(inbox), every_s=0.1, publish="aggregate", window_s=0.2)
    reader = Reader(port, TOPICS.prediction(DEVICE, "inbox"), 1)
    with run_agent(build(tmp_path, port, inbox=source)):
        draw(golden[0][0], inbox / "only.png")
        ((_, found),) = reader.read()
    assert (found["seq"], found["window"]["predictions"]) == (1, 1)


@needs_mosquitto
@needs_gstreamer
def test_a_camera_publishes_the_best_of_each_window(broker: Any, tmp_path: Path) -> None:
    """Many frames, few messages without a gap, and the picture that it saw."""
    port = broker()
    source = SourceConfig(
        kind="camera",
        device=GENERATED,
        fps=30,
        publish="aggregate",
        window_s=0.7,
        image=True,
        width=64,
        height=48,
    )
    reader = Reader(port, TOPICS.prediction(DEVICE, "door"), 2)
    with run_agent(build(tmp_path, port, door=source)):
        found = [document for _, document in reader.read()]
        image = subprocess.run(
            [
                "mosquitto_sub",
                "-p",
                str(port),
                "-t",
                TOPICS.image(DEVICE, "door"),
                "-C",
                "1",
                "-N",
                "-W",
                "10",
            ],
            stdout=subprocess.PIPE,
        ).stdout
    assert [each["seq"] for each in found] == [1, 2]
    for each in found:
        window = each["window"]
        assert window["predictions"] > 1 and window["seconds"] >= 0.7
        assert sum(window["labels"].values()) == window["predictions"] and each["label"] in window["labels"]
    assert image.startswith(b"\xff\xd8\xff")
