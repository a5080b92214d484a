"""Promises of recovery.thermometer."""

import queue
from pathlib import Path
from typing import Any

import pytest

from edge_agent.events import HeatMeasured
from edge_agent.recovery import thermometer
from edge_agent.recovery.thermometer import Thermometer
from edge_agent.sensors import Sensors


def test_the_temperature_is_told_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, then at intervals; None where the driver says nothing."""
    monkeypatch.setattr(thermometer, "_EVERY_S", 0.01)
    told: queue.Queue[Any] = queue.Queue()
    device = Thermometer(told.put, Sensors(tmp_path))
    device.start()
    assert told.get(timeout=10) == HeatMeasured(None)
    apex = tmp_path / "sys/class/apex/apex_0"
    apex.mkdir(parents=True)
    (apex / "temp").write_text("81500\n")
    while told.get(timeout=10) != HeatMeasured(81.5):
        pass
    device.stop()
