"""A whole agent with a model on the runtime that misbehaves, in a thread, and a client that asks it."""

import contextlib
import queue
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Union

from contract.manifest import SelfTest
from contract.messages import Prediction, Problem
from edge_agent.agent import Agent
from edge_agent.config import (
    AgentConfig,
    HttpConfig,
    InferenceConfig,
    MqttConfig,
    SamplingConfig,
    ShadowConfig,
)
from edge_agent.errors import ModelError
from edge_agent.events import ARRAY, InferenceAsked, StopAsked
from tests.fakes.board import DEVICE, Board
from tests.fakes.faulty import INPUT, fake_release
from tests.fakes.ports import take_free_port

PATIENCE_S = 20
GATE_MS = 20.0


class RecoveringAgent:
    """An agent in a thread, and a client that asks it."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.errors: List[ModelError] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.agent.run()
        except ModelError as error:
            self.errors.append(error)

    def ask(self) -> Union[Prediction, Problem]:
        """Return what one request is answered with."""
        told: queue.Queue[Any] = queue.Queue()
        self.agent.mailbox.offer(InferenceAsked(ARRAY, INPUT, "test", time.monotonic(), told.put))
        return told.get(timeout=PATIENCE_S)

    def ask_until(self, is_right: Callable[[Any], bool]) -> List[Any]:
        """Ask one after the other until an answer is right; return all answers, that one last."""
        answers: List[Any] = []
        until_s = time.monotonic() + PATIENCE_S
        while not answers or not is_right(answers[-1]):
            assert time.monotonic() < until_s, answers[-3:]
            answers.append(self.ask())
        return answers

    def problems(self) -> List[str]:
        """Return the codes of what is wrong now."""
        return [problem.code for lane in self.agent.models.lanes.values() for problem in lane.problems()]


@contextlib.contextmanager
def run_recovering(
    folder: Path,
    is_compiled: bool = True,
    inference: Optional[InferenceConfig] = None,
    shadow: Optional[ShadowConfig] = None,
) -> Iterator[RecoveringAgent]:
    """Install a release in `folder`, and run an agent that answers with it until the block is left."""
    board = Board(folder, edgetpu=":0")
    model = board.publisher.manifest().model
    board.install(**fake_release(model, is_compiled), selftest=SelfTest(p95_ms=GATE_MS))
    config = AgentConfig(
        DEVICE,
        str(folder),
        "unused",
        edgetpu=":0",
        mqtt=MqttConfig(port=take_free_port(), reconnect_min_s=60),
        http=HttpConfig(enabled=False),
        inference=inference or InferenceConfig(),
        shadow=shadow,
        sampling=SamplingConfig(enabled=shadow is not None),
    )
    running = RecoveringAgent(Agent(config, board.publisher.root))
    running.thread.start()
    try:
        yield running
    finally:
        running.agent.mailbox.put(StopAsked())
        running.thread.join(PATIENCE_S)


def is_from(backend: str) -> Callable[[Any], bool]:
    """Return a test of an answer: whether it is a prediction made there."""
    return lambda answer: isinstance(answer, Prediction) and answer.backend == backend
