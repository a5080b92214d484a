"""One thread for thousands of connections: sockets that are ready, calls that are due, in that order."""

import collections
import heapq
import itertools
import selectors
import time
from typing import Any, Callable, Deque, List, Tuple

_MAX_PATIENCE_S = 0.5

Call = Callable[[], None]


class Loop:
    """Runs calls one after the other until `stop`; none of them may block."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._posted: Deque[Call] = collections.deque()
        self._times: List[Tuple[float, int, Call]] = []
        self._order = itertools.count()
        self._is_stopped = False

    def watch(self, connection: Any, call: Call, *, writes: bool = False) -> None:
        """Call whenever a socket can be read, or with `writes` also when it can be written."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writes else 0)
        if connection in self._selector.get_map():
            self._selector.modify(connection, events, call)
        else:
            self._selector.register(connection, events, call)

    def unwatch(self, connection: Any) -> None:
        """Leave a socket alone; it must still be open."""
        if connection in self._selector.get_map():
            self._selector.unregister(connection)

    def post(self, call: Call) -> None:
        """Call as soon as what runs now is done."""
        self._posted.append(call)

    def after(self, pause_s: float, call: Call) -> None:
        """Call once, in `pause_s` seconds."""
        heapq.heappush(self._times, (time.monotonic() + pause_s, next(self._order), call))

    def every(self, pause_s: float, call: Call, *, first_s: float = 0.0) -> None:
        """Call for ever, with `pause_s` seconds in between."""

        def again() -> None:
            call()
            self.after(pause_s, again)

        self.after(first_s, again)

    def stop(self) -> None:
        """Let `run` return; may be called from a signal handler."""
        self._is_stopped = True

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._is_stopped:
            for key, _ in self._selector.select(self._patience_s()):
                key.data()
                self._call_posted()
            self._call_due()
            self._call_posted()

    def run_for(self, seconds: float) -> None:
        """Serve a while longer, also after `stop`."""
        self._is_stopped = False
        self.after(seconds, self.stop)
        self.run()

    def close(self) -> None:
        """Let go of the kernel's side."""
        self._selector.close()

    def _patience_s(self) -> float:
        if self._posted:
            return 0.0
        if not self._times:
            return _MAX_PATIENCE_S
        return max(0.0, min(self._times[0][0] - time.monotonic(), _MAX_PATIENCE_S))

    def _call_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()

    def _call_due(self) -> None:
        now_s = time.monotonic()
        while self._times and self._times[0][0] <= now_s:
            heapq.heappop(self._times)[2]()
            self._call_posted()
