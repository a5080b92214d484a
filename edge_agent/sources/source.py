"""What every source is: a thread that looks, asks, waits for the answer, looks again, until it is stopped."""

import abc
import logging
import threading
from typing import Callable, Optional, Union

from contract.messages import Prediction, Problem
from edge_agent.events import IMAGE, InferenceAsked
from edge_agent.serving.asking import Asker
from edge_agent.source_config import SourceConfig

_log = logging.getLogger(__name__)
# Longer than a model takes to load: what was asked is answered, and never asked twice.
_ANSWER_WITHIN_S = 120.0
_GOODBYE_S = 3.0


class Source(abc.ABC):
    """One source. Any thread may read `problem`.

    Attributes:
        name: as in the prediction topic.
        problem: why nothing comes from it now, None while it is well.
    """

    def __init__(self, name: str, config: SourceConfig, ask: Callable[[InferenceAsked], None]) -> None:
        """Prepare.

        Args:
            name: as in the prediction topic.
            config: where its pictures come from.
            ask: takes a question from any thread; raises `queue.Full` when there is no room.
        """
        self.name = name
        self.problem: Optional[Problem] = None
        self._config = config
        self._asker = Asker(ask, name, _ANSWER_WITHIN_S)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source-{name}", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Say that it shall end."""
        self._stopping.set()
        self._asker.stop()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join(_GOODBYE_S)

    @abc.abstractmethod
    def step(self) -> float:
        """Look once and ask about what is there; return after how many seconds to look again."""

    def finish(self) -> None:
        """Called at the end, by the source's own thread."""
        _log.debug("source %s has ended", self.name)

    def _run(self) -> None:
        pause_s = 0.0
        try:
            while not self._stopping.wait(pause_s):
                pause_s = self.step()
        finally:
            self.finish()

    def _ask(self, picture: bytes, file: Optional[str] = None) -> Union[Prediction, Problem]:
        """Ask the source's model about a JPEG or PNG, from which file if any, and wait for the answer."""
        return self._asker.ask(IMAGE, picture, model=self._config.model, file=file).result

    def _tell(self, problem: Optional[Problem]) -> None:
        """Keep what is wrong, and log it when that changes."""
        if problem is not None and problem != self.problem:
            _log.warning("source %s: %s: %s", self.name, problem.code, problem.message)
        elif problem is None and self.problem is not None:
            _log.info("source %s is well again", self.name)
        self.problem = problem
