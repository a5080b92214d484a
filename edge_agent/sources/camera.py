"""A camera: the newest picture is asked about as soon as the one before is answered.

A program reads the camera (camera_program.py). If it ends, or shows nothing for a while, it is started anew.
"""

import time
from typing import Callable, Optional

from contract.messages import Problem
from edge_agent.events import InferenceAsked
from edge_agent.source_config import SourceConfig, hide_secrets
from edge_agent.sources.camera_program import build_command
from edge_agent.sources.source import Source
from edge_agent.sources.stream import Stream, StreamLost

SILENT_S = 10.0
MIN_PAUSE_S, MAX_PAUSE_S = 1.0, 60.0
# A camera that was well for so long has overcome what was wrong before.
_WELL_AFTER_S = 60.0
_AFTER_A_PROBLEM_S = 1.0


class Camera(Source):
    """Never fatal: a camera that is lost is a problem, until it is back."""

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        ask: Callable[[InferenceAsked], None],
        silent_s: float = SILENT_S,
    ) -> None:
        """Prepare; a camera that shows nothing for `silent_s` seconds hangs."""
        super().__init__(name, config, ask)
        self._silent_s = silent_s
        self._stream: Optional[Stream] = None
        self._pause_s = 0.0

    def step(self) -> float:
        """Ask about what the camera shows until it is lost; return the pause after that."""
        begun_s = time.monotonic()
        try:
            stream = Stream(build_command(self._config))
        except StreamLost as lost:
            self._tell(_explain(lost, self._config))
        else:
            self._stream = stream
            self._watch(stream)
            self._stream = None
            stream.close()
        self._pause_s = next_pause_s(self._pause_s, time.monotonic() - begun_s)
        return self._pause_s

    def stop(self) -> None:
        """Say that it shall end."""
        super().stop()
        stream = self._stream
        if stream is not None:
            stream.interrupt()

    def _watch(self, stream: Stream) -> None:
        try:
            while not self._stopping.is_set():
                picture = stream.newest(self._silent_s)
                self._tell(None)
                if isinstance(self._ask(picture), Problem):
                    self._stopping.wait(_AFTER_A_PROBLEM_S)
        except StreamLost as lost:
            if not self._stopping.is_set():
                self._tell(_explain(lost, self._config))


def next_pause_s(pause_s: float, lived_s: float) -> float:
    """Return how long to wait before the camera is started anew.

    Args:
        pause_s: how long it was the last time, 0 at first.
        lived_s: how long the camera was there since then.
    """
    if lived_s >= _WELL_AFTER_S or not pause_s:
        return MIN_PAUSE_S
    return min(2 * pause_s, MAX_PAUSE_S)


def _explain(lost: StreamLost, config: SourceConfig) -> Problem:
    return Problem(
        "camera_lost",
        hide_secrets(f"{config.device}: {lost}")[:1000],
        "is it plugged in, may the agent's user read it (group video), and is GStreamer or OpenCV installed?",
    )
