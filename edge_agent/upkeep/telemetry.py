"""How this device is, told every few seconds: the tally, the outbox and the sensors as one document."""

import math
import os
from typing import Callable, Iterable, Optional, Sequence, Tuple

from contract.codec import encode
from contract.telemetry import (
    ActiveProblem,
    CpuHealth,
    Disk,
    Memory,
    MqttHealth,
    OutboxLoad,
    ShadowResult,
    Telemetry,
    Timing,
    TpuHealth,
)
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.link import Link
from edge_agent.outgoing.outbox import OutboxStats
from edge_agent.sensors import BOARD, Sensors, free_bytes
from edge_agent.tally import Tally

_MEGABYTE = 10**6
# Each one wakes the loop up when it has been sent; more often, they would keep it from everything else.
_LEAST_EVERY_S = 1.0


class Telegraph:
    """Publishes Telemetry, retained, every `telemetry.every_s`. It belongs to the agent's loop."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        boot: str,
        clock: Clock,
        link: Link,
        tally: Tally,
        outbox: Callable[[], OutboxStats],
        problems: Callable[[], Tuple[ActiveProblem, ...]],
        workers: Callable[[], Iterable[int]],
        shadow: Callable[[], Optional[ShadowResult]],
        sensors: Sensors,
        edgetpu_celsius: Callable[[], Optional[float]],
    ) -> None:
        """Prepare.

        Args:
            config: who we are, and how often to tell.
            boot: the id of this start of the agent.
            clock: the time.
            link: the way to the broker.
            tally: what was answered.
            outbox: returns how full the outbox is.
            problems: returns what is wrong now.
            workers: returns the process ids of the agent's children.
            shadow: returns how a shadow model does, None without one.
            sensors: what the kernel tells.
            edgetpu_celsius: returns the Edge TPU's temperature; a dying chip is slow to tell it.
        """
        self._topic = Topics(config.mqtt.base).telemetry(config.device)
        self._state_dir = config.state_dir
        self._every_s = config.telemetry.every_s
        self._boot = boot
        self._clock = clock
        self._link = link
        self._tally = tally
        self._outbox = outbox
        self._problems = problems
        self._workers = workers
        self._shadow = shadow
        self._sensors = sensors
        self._edgetpu_celsius = edgetpu_celsius
        self._connections = 0
        self._sent_s = clock.monotonic_s()
        self._sent_predictions = 0

    def configure(self, config: AgentConfig) -> None:
        """Go on with other settings."""
        self._every_s = config.telemetry.every_s

    def connected(self) -> None:
        """A new connection: tell at once, unless telemetry is off."""
        self._connections += 1
        if self._every_s:
            self._send()

    def tick(self) -> None:
        """Tell if it is time."""
        every_s = max(self._every_s, _LEAST_EVERY_S)
        if self._every_s and self._clock.monotonic_s() - self._sent_s >= every_s:
            self._send()

    def _send(self) -> None:
        # What the next one says makes up for one that is lost: QoS 0.
        self._link.publish(self._topic, encode(self._measure()), retain=True, qos=0)

    def _measure(self) -> Telemetry:
        counts, outbox, sensors = self._tally.counts(), self._outbox(), self._sensors
        return Telemetry(
            ts=self._clock.stamp(),
            boot=self._boot,
            uptime_s=self._tally.uptime_s(),
            predictions_total=counts.predictions,
            errors_total=counts.errors,
            dropped_total=outbox.dropped_total,
            outbox=OutboxLoad(outbox.messages, outbox.bytes),
            inference_ms=_time(counts.inference_s),
            fps=self._rate(counts.predictions),
            tpu=TpuHealth(sensors.has_edgetpu(), self._edgetpu_celsius()),
            cpu=CpuHealth(sensors.hottest_celsius(BOARD), sensors.cpu_percent()),
            ram=Memory(
                sensors.available_bytes() / _MEGABYTE,
                sensors.resident_bytes([os.getpid(), *self._workers()]) / _MEGABYTE,
            ),
            disk=Disk(free_bytes(self._state_dir) / _MEGABYTE, sensors.written_bytes() / _MEGABYTE),
            mqtt=MqttHealth(max(0, self._connections - 1)),
            labels=counts.labels,
            problems=self._problems(),
            shadow=self._shadow(),
            clock_synced=self._clock.is_synced(),
        )

    def _rate(self, predictions: int) -> float:
        """Return predictions per second since the last time."""
        now_s = self._clock.monotonic_s()
        passed_s = now_s - self._sent_s
        made = predictions - self._sent_predictions
        self._sent_s, self._sent_predictions = now_s, predictions
        return made / passed_s if passed_s > 0 else 0.0


def _time(seconds: Sequence[float]) -> Timing:
    """Return the 50th and 95th percentile, by nearest rank, and the maximum, in milliseconds."""
    if not seconds:
        return Timing(0, 0, 0, 0)
    ordered = sorted(seconds)

    def percentile(percent: int) -> float:
        return ordered[math.ceil(percent * len(ordered) / 100) - 1] * 1000

    return Timing(percentile(50), percentile(95), ordered[-1] * 1000, len(ordered))
