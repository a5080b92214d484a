"""Waiting for what must come true, as tests do."""

import time
from typing import Callable, TypeVar

_PATIENCE_S = 60.0
_Answer = TypeVar("_Answer")


def wait_for(what: str, ask: Callable[[], _Answer], timeout_s: float = _PATIENCE_S) -> _Answer:
    """Return the first true answer of `ask`; fail when none comes in time."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
