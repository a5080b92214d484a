"""Promises of upkeep.operations, told with a whole agent, a real broker and mosquitto's own clients."""

import json
import shutil
import subprocess
import time
from dataclasses import replace

import pytest

from contract.codec import decode
from contract.messages import ConfigReport, DeviceInfo
from contract.telemetry import ErrorReport, Telemetry
from edge_agent.config import MqttConfig, TelemetryConfig
from tests.edge_agent.running_agent import PATIENCE_S, configure, run_agent

pytestmark = pytest.mark.skipif(shutil.which("mosquitto_sub") is None, reason="needs mosquitto-clients")
DEVICE = "board-a"
DISCOVERY = f"homeassistant/device/coral_{DEVICE}/config"


class Bus:
    """What a person with mosquitto_sub and mosquitto_pub sees and says."""

    def __init__(self, port):
        self.port = port

    def hear(self, topic, *words):
        """Return the first message that comes on a topic, b"" if none does in a second."""
        command = ["mosquitto_sub", "-p", str(self.port), "-t", topic, "-C", "1", "-N", "-W", "1", *words]
        return subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE_S, check=False).stdout

    def wait_for(self, kind, leaf, condition=lambda _document: True):
        """Return the retained document on a device's topic when it is as wanted."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            payload = self.hear(f"coral/{DEVICE}/{leaf}")
            document = decode(kind, payload) if payload else None
            if document is not None and condition(document):
                return document
        raise AssertionError(f"{leaf} is {document}")

    def publish(self, leaf, message, *words):
        """Say something."""
        command = ["mosquitto_pub", "-p", str(self.port), "-t", f"coral/{DEVICE}/{leaf}", "-q", "1"]
        subprocess.run([*command, "-m", message, *words], timeout=PATIENCE_S, check=True)


@pytest.fixture
def bus(broker):
    return Bus(broker("topic readwrite #"))


@pytest.fixture
def config(bus, tmp_path):
    config = configure(tmp_path / "state")
    return replace(config, mqtt=MqttConfig(port=bus.port), telemetry=TelemetryConfig(0.2))


def test_telemetry_tells_how_the_device_is(bus, config):
    """Retained, with what was answered, this process's memory, and what is wrong."""
    with run_agent(config, is_installed=False) as agent:
        told = bus.wait_for(Telemetry, "telemetry", lambda told: told.problems)
        assert told.boot == agent._boot and told.ram.rss_mb > 10 and told.disk.free_mb > 0
        assert [problem.code for problem in told.problems] == ["not_ready"]
        assert "no model is loaded" in told.problems[0].message
        assert bus.hear(f"coral/{DEVICE}/telemetry", "-q", "1", "-F", "%r %q") == b"1 0"


def test_a_new_problem_is_one_error_report(bus, config):
    """With QoS 1 from the outbox: it also tells what went wrong before there was a broker."""
    listener = subprocess.Popen(
        ["mosquitto_sub", "-p", str(bus.port), "-t", f"coral/{DEVICE}/error", "-C", "1", "-N", "-q", "1"],
        stdout=subprocess.PIPE,
    )
    with run_agent(config, is_installed=False):
        payload, _ = listener.communicate(timeout=PATIENCE_S)
        assert decode(ErrorReport, payload).code == "not_ready"
        assert bus.hear(f"coral/{DEVICE}/error") == b""


def test_a_start_is_no_problem(bus, config):
    """That the model is being loaded is nobody's error."""
    errors = subprocess.Popen(
        ["mosquitto_sub", "-p", str(bus.port), "-t", f"coral/{DEVICE}/error", "-W", "5", "-N", "-q", "1"],
        stdout=subprocess.PIPE,
    )
    with run_agent(config):
        told = bus.wait_for(Telemetry, "telemetry", lambda told: told.uptime_s > 1.5)
        assert told.problems == ()
    errors.terminate()
    assert errors.communicate(timeout=PATIENCE_S)[0] == b""


def test_settings_change_over_mqtt(bus, config, golden):
    """At once, in what is answered; the report says what was changed, or why not."""
    with run_agent(config) as agent:
        bus.wait_for(ConfigReport, "config/reported")
        bus.publish("config/set", '{"inference":{"top_k":1}}')
        told = bus.wait_for(ConfigReport, "config/reported", lambda told: told.overrides)
        assert told.config["inference"]["top_k"] == 1 and told.error is None
        transaction = json.dumps({"v": 1, "transaction": "7", "array": golden[0][0].flatten().tolist()})
        answer = subprocess.Popen(
            ["mosquitto_sub", "-p", str(bus.port), "-t", f"coral/{DEVICE}/infer/response", "-C", "1"],
            stdout=subprocess.PIPE,
        )
        while answer.poll() is None:
            bus.publish("infer", transaction)
            time.sleep(0.1)
        assert len(json.loads(answer.stdout.read())["top"]) == 1
        answer.stdout.close()
        bus.publish("config/set", '{"mqtt":{"host":"elsewhere"}}')
        told = bus.wait_for(ConfigReport, "config/reported", lambda told: told.error)
        assert told.error.code == "config_not_live" and told.config["mqtt"]["host"] == "127.0.0.1"
        assert agent._config.inference.top_k == 1


def test_home_assistant_is_told_and_forgets(bus, config):
    """Switched on and off over MQTT; the empty message takes the device away."""
    with run_agent(config, is_installed=False):
        bus.wait_for(ConfigReport, "config/reported")
        assert bus.hear(DISCOVERY) == b""
        bus.publish("config/set", '{"home_assistant":{"enabled":true}}')
        bus.wait_for(ConfigReport, "config/reported", lambda told: told.overrides)
        assert json.loads(bus.hear(DISCOVERY))["device"]["name"] == DEVICE
        bus.publish("config/set", '{"home_assistant":null}')
        bus.wait_for(ConfigReport, "config/reported", lambda told: not told.overrides)
        assert bus.hear(DISCOVERY) == b""


def test_a_device_that_was_stopped_says_so(bus, config):
    """`offline` alone would also be its last will; the next start takes it back."""
    with run_agent(config, is_installed=False) as agent:
        info = bus.wait_for(DeviceInfo, "info")
        assert info.stopped is None and info.boot == agent._boot
    info = bus.wait_for(DeviceInfo, "info")
    assert info.stopped is not None and info.stopped >= info.ts and info.boot == agent._boot
    assert bus.hear(f"coral/{DEVICE}/status") == b"offline"
    with run_agent(config, is_installed=False):
        assert bus.wait_for(DeviceInfo, "info", lambda info: info.boot != agent._boot).stopped is None


def test_the_runtime_is_told_as_soon_as_a_model_is_loaded(bus, config):
    """`info` is written at the connection, when the model may not be there yet."""
    with run_agent(config) as agent:
        runtime = agent.models.main.predictor.serving.ready.runtime
        assert bus.wait_for(DeviceInfo, "info", lambda info: info.runtime).runtime == runtime
