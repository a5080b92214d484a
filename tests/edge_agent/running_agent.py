"""A whole agent with the tiny model and its inference process, in a thread; its broker is never there."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Optional, Tuple

import paho.mqtt.client as mqtt

from contract.topics import Topics
from edge_agent.agent import Agent
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig, HttpConfig, InferenceConfig, MqttConfig
from edge_agent.events import StopAsked
from tests.fakes.board import Board
from tests.fakes.ports import take_free_port
from tests.fakes.publisher import Publisher

PATIENCE_S = 60


def configure(folder: Path, queue: int = 64, **http: Any) -> AgentConfig:
    """Return the settings of an agent whose state lies in `folder`."""
    mqtt = MqttConfig(port=take_free_port(), reconnect_min_s=60)
    http_config = HttpConfig(**{"port": take_free_port(), **http})
    return AgentConfig(
        "board-a", str(folder), "unused", mqtt=mqtt, http=http_config, inference=InferenceConfig(queue=queue)
    )


def push(port: int, files: Dict[str, bytes], sequence: int = 2, **changes: Any) -> None:
    """Publish a release for `board-a` alone as `deploy` does: chunks first, all of it retained."""
    publisher = Publisher()
    publisher.sequence = sequence - 1
    envelope = publisher.release(publisher.manifest(files, **changes))
    messages = [message for data in files.values() for message in publisher.messages(data)]
    retain(port, [*messages, (Topics().model_desired("board-a"), envelope)])


def retain(port: int, messages: Iterable[Tuple[str, bytes]]) -> None:
    """Publish retained messages, one after the other."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def is_up(agent: Agent, is_installed: bool) -> bool:
    """Say whether the agent listens, and answers if it has a model."""
    return bool(agent._http) and (not is_installed or agent._why_not_ready() is None)


@contextlib.contextmanager
def run_agent(
    config: AgentConfig, is_installed: bool = True, clock: Optional[Clock] = None
) -> Iterator[Agent]:
    """Run an agent until the block is left; with a model it answers when the block begins."""
    board = Board(Path(config.state_dir))
    if is_installed:
        board.install()
    agent = Agent(config, board.publisher.root, clock)
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s and not is_up(agent, is_installed):
            time.sleep(0.02)
        yield agent
    finally:
        agent.mailbox.put(StopAsked())
        thread.join()
