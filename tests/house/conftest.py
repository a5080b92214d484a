"""A real broker, real agents, real commands: what the stories in this folder are told with."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contract.codec import decode
from contract.messages import ModelReport
from contract.topics import Topics
from tests.fakes.publisher import Publisher
from tests.fakes.waiting import wait_for

ROOT = Path(__file__).parents[2]
HOST_BIN = Path(sys.executable).parent
BOARD_BIN = ROOT / ".venv37" / "bin"
PATIENCE_S = 30.0


def agent_command() -> str:
    """The agent on the board's Python where there is one, else on this one."""
    folder = BOARD_BIN if (BOARD_BIN / "edge-agent").exists() else HOST_BIN
    return str(folder / "edge-agent")


class Broker:
    """A real broker and a client that publishes and remembers what it hears."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: dict[str, bytes] = {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_socket_open = lambda _c, _u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.on_message = lambda _c, _u, message: self.heard.update({message.topic: message.payload})
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe([("coral/+/model/+", 1), ("coral/+/status", 1), ("coral/+/info", 1)])

    def retain(self, topic: str, payload: bytes) -> None:
        self.client.publish(topic, payload, qos=1, retain=True).wait_for_publish(PATIENCE_S)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def report(self, device: str) -> "ModelReport | None":
        payload = self.heard.get(Topics().model_reported(device))
        return decode(ModelReport, payload) if payload else None

    def wait_for_phase(self, device: str, phase: str, version: str = "") -> ModelReport:
        def look() -> "ModelReport | None":
            report = self.report(device)
            current = report.current.version if report and report.current else ""
            return report if report and report.phase == phase and version in ("", current) else None

        found = wait_for(f"{device} {phase} {version}, is {self.report(device)}", look)
        assert isinstance(found, ModelReport)
        return found


@contextmanager
def running_broker(folder: Path, *more: str) -> Iterator[Broker]:
    """Start a broker as a person would, on a free port."""
    command = [HOST_BIN / "deploy", "broker", "--dir", folder / "broker", "--port", "0", "--json", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = Broker(json.loads(process.stdout.readline())["port"])
    try:
        yield found
    finally:
        found.close()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as found:
        yield found


class Agent:
    """A real agent process with its own state folder, which may be killed and started again."""

    def __init__(self, folder: Path, port: int, publisher: Publisher, device: str = "board-a") -> None:
        self.folder, self.device = folder, device
        self.state = folder / "state"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "root.json").write_bytes(publisher.root_envelope())
        self.config = folder / "agent.toml"
        self.config.write_text(
            f'device = "{device}"\nstate_dir = "{self.state}"\nroot = "{folder / "root.json"}"\n'
            f"[mqtt]\nport = {port}\nreconnect_min_s = 0.2\n[http]\nport = 0\n"
            "[update]\nreserve_bytes = 0\nstall_s = 1\n"
        )
        self.log = folder / "agent.log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [agent_command(), "run", "-c", self.config], stderr=log, env={**os.environ, "COLUMNS": "80"}
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(10)

    def wait(self) -> int:
        """Return how it ended by itself."""
        assert self._process is not None
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def address(self) -> str:
        def look() -> str:
            lines = [line for line in self.log.read_text().splitlines() if "serving on " in line]
            return lines[-1].rsplit(" ", 1)[1] if lines else ""

        return str(wait_for("the agent serves HTTP", look))


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(chunk_bytes=256)


@pytest.fixture
def agent(tmp_path: Path, broker: Broker, publisher: Publisher) -> Iterator[Agent]:
    (tmp_path / "agent").mkdir()
    found = Agent(tmp_path / "agent", broker.port, publisher)
    yield found
    found.close()
