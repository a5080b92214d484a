"""Reads the Edge TPU's temperature every few seconds, away from the loop: a dying chip is slow to answer."""

import threading
from typing import Callable

from edge_agent.events import HeatMeasured
from edge_agent.sensors import EDGETPU, Sensors

_EVERY_S = 5.0


class Thermometer:
    """A thread that posts `HeatMeasured`."""

    def __init__(self, post: Callable[[HeatMeasured], None], sensors: Sensors) -> None:
        """Prepare; `post` must not block."""
        self._post = post
        self._sensors = sensors
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="thermometer", daemon=True)

    def start(self) -> None:
        """Begin with a first reading at once."""
        self._thread.start()

    def stop(self) -> None:
        """No reading follows. A reading that hangs is not waited for."""
        self._is_stopped.set()

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            self._post(HeatMeasured(self._sensors.hottest_celsius(EDGETPU)))
            self._is_stopped.wait(_EVERY_S)
