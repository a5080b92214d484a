"""Turns SIGTERM and Ctrl-C into an event, for commands that run until they are stopped."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Give the block an event that SIGTERM or Ctrl-C sets; the old handlers come back afterwards."""
    event = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        event.set()

    previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
