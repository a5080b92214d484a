"""Promises of upkeep.telemetry: one retained document that says how the device is."""

import os
import threading
from dataclasses import replace

import pytest

from contract.codec import decode
from contract.messages import Problem
from contract.telemetry import ActiveProblem, ShadowResult, Telemetry
from contract.topics import Topics
from edge_agent.config import AgentConfig, TelemetryConfig
from edge_agent.outgoing.outbox import OutboxStats
from edge_agent.sensors import Sensors
from edge_agent.tally import Tally
from edge_agent.upkeep.telemetry import Telegraph
from tests.edge_agent.test_server import PREDICTION
from tests.fakes.board import BOOT, DEVICE, FakeClock
from tests.fakes.broker import FakeBroker, FakeLink

TOPIC = Topics().telemetry(DEVICE)


class Desk:
    """A telegraph with what it looks at."""

    def __init__(self, folder, every_s=30):
        self.clock, self.broker = FakeClock(), FakeBroker()
        self.tally = Tally(self.clock.monotonic_s)
        self.config = AgentConfig(DEVICE, str(folder), "unused", telemetry=TelemetryConfig(every_s))
        self.problems = ()
        self.shadow = None
        self.telegraph = Telegraph(
            self.config,
            boot=BOOT,
            clock=self.clock,
            link=FakeLink(self.broker),
            tally=self.tally,
            outbox=lambda: OutboxStats(3, 500, 7),
            problems=lambda: self.problems,
            workers=lambda: [1],
            shadow=lambda: self.shadow,
            sensors=Sensors(folder),
            edgetpu_celsius=lambda: 61.5,
        )

    def answer(self, result, source="http"):
        self.tally.count(source, result)

    def infer(self, milliseconds, label="sneaker"):
        latency = replace(PREDICTION.latency_ms, inference=milliseconds)
        self.answer(replace(PREDICTION, label=label, latency_ms=latency))

    def pass_time(self, seconds):
        self.clock.monotonic += seconds
        self.telegraph.tick()

    @property
    def told(self):
        return [decode(Telemetry, payload) for topic, payload in self.broker.published if topic == TOPIC]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_it_is_told_at_once_and_then_every_thirty_seconds(desk):
    """A new connection may be to a broker that has forgotten us. It is retained, with QoS 0."""
    desk.telegraph.connected()
    assert len(desk.told) == 1 and TOPIC in desk.broker.retained
    desk.pass_time(29.9)
    assert len(desk.told) == 1
    desk.pass_time(0.1)
    desk.pass_time(0.1)
    assert len(desk.told) == 2


def test_it_can_be_switched_off_and_on(tmp_path):
    """0 is never; another setting counts from the next tick on."""
    desk = Desk(tmp_path, every_s=0)
    desk.telegraph.connected()
    desk.pass_time(1000)
    assert desk.told == []
    desk.telegraph.configure(replace(desk.config, telemetry=TelemetryConfig(5)))
    desk.pass_time(0.1)
    assert len(desk.told) == 1


def test_once_a_second_is_the_most(tmp_path):
    """An order that asks for thousands a second must not keep the loop busy."""
    desk = Desk(tmp_path, every_s=0.001)
    for _ in range(20):
        desk.pass_time(0.1)
    assert len(desk.told) in (1, 2)


def test_it_counts_what_was_answered(desk):
    """Predictions, errors, labels, and how many a second since the last time."""
    for _ in range(6):
        desk.infer(2.0)
    desk.infer(2.0, "bag")
    desk.answer(Problem("bad_image", "no"), "mqtt")
    desk.pass_time(30)
    told = desk.told[-1]
    assert (told.predictions_total, told.errors_total, told.dropped_total) == (7, 1, 7)
    assert (told.outbox.messages, told.outbox.bytes) == (3, 500)
    assert told.labels == {"sneaker": 6, "bag": 1}
    assert told.fps == round(7 / 30, 2) and told.uptime_s == 30.0 and told.boot == BOOT
    desk.infer(2.0)
    desk.pass_time(30)
    assert desk.told[-1].fps == round(1 / 30, 2)


def test_latencies_are_of_the_newest_256(desk):
    """By nearest rank, in milliseconds."""
    for _ in range(1000):
        desk.infer(5000.0)
    for number in range(256):
        desk.infer(float(number + 1))
    desk.pass_time(30)
    timing = desk.told[-1].inference_ms
    assert (timing.p50, timing.p95, timing.max, timing.n) == (128.0, 244.0, 256.0, 256)


def test_without_a_prediction_there_is_no_latency(desk):
    """Zeros with n = 0, not an error."""
    desk.pass_time(30)
    assert (desk.told[0].inference_ms.n, desk.told[0].inference_ms.p95, desk.told[0].fps) == (0, 0, 0)


def test_labels_are_bounded(desk):
    """A model of a thousand classes fits: 63 by name, the rest together."""
    for number in range(1000):
        desk.infer(1.0, f"class {number}")
    desk.infer(1.0, "class 0")
    desk.pass_time(30)
    labels = desk.told[0].labels
    assert len(labels) == 64 and labels["other"] == 937 and labels["class 0"] == 2


def test_reconnects_are_counted(desk):
    """The first connection is none."""
    for _ in range(3):
        desk.telegraph.connected()
    assert [told.mqtt.reconnects for told in desk.told] == [0, 1, 2]


def test_problems_are_listed(desk):
    """As they are at the moment."""
    desk.problems = (ActiveProblem("tpu_hot", "86 degrees", desk.clock.stamp()),)
    desk.pass_time(30)
    assert desk.told[0].problems == desk.problems


def test_a_shadow_model_is_told_of(desk):
    """If there is one."""
    desk.pass_time(30)
    desk.shadow = ShadowResult("8", 100, 97, 4, 3.1)
    desk.pass_time(30)
    assert [told.shadow for told in desk.told] == [None, desk.shadow]


def test_a_clock_that_is_not_set_is_said(desk):
    """Readers must not believe `ts` then."""
    desk.clock.now = 7.0
    desk.pass_time(30)
    assert desk.told[0].clock_synced is False


def test_a_chip_that_is_slow_to_tell_its_temperature_holds_nobody_up(desk, tmp_path):
    """It is read elsewhere; here a file that nobody writes to would be waited for."""
    (tmp_path / "sys/class/apex/apex_0").mkdir(parents=True)
    os.mkfifo(str(tmp_path / "sys/class/apex/apex_0/temp"))
    telling = threading.Thread(target=desk.telegraph.connected, daemon=True)
    telling.start()
    telling.join(5)
    assert not telling.is_alive() and desk.told[0].tpu.temp_c == 61.5
