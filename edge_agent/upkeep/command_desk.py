"""Signed orders to this device over MQTT: each is obeyed once, or refused with the reason."""

import logging
from typing import Callable

from contract.codec import encode
from contract.messages import CommandAnswer, Problem
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError
from edge_agent.events import MessageArrived
from edge_agent.lane import Lane
from edge_agent.link import Link
from edge_agent.updates.trust import Trust

_log = logging.getLogger(__name__)
_RESTART = Problem("restart_ordered", "a signed order asked for it", "the service manager starts it again")
_UNKNOWN = 0


class CommandDesk:
    """Takes what arrives on `command`. It belongs to the agent's loop.

    Attributes:
        topic: where orders to this device arrive.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        trust: Trust,
        link: Link,
        clock: Clock,
        main: Lane,
        restart: Callable[[Problem], None],
    ) -> None:
        """Prepare.

        Args:
            config: who we are.
            trust: decides what is obeyed, and remembers it.
            link: the way to the broker.
            clock: the time.
            main: whose model is rolled back, and whose newest signed time the clock is not behind.
            restart: ends the agent, so that its service manager starts it again.
        """
        topics = Topics(config.mqtt.base)
        self.topic = topics.command(config.device)
        self._response = topics.command_response(config.device)
        self._trust = trust
        self._link = link
        self._clock = clock
        self._main = main
        self._restart = restart

    def take(self, message: MessageArrived) -> None:
        """Obey an order and answer. It is written down before it is obeyed: a crash does not repeat it."""
        message.acknowledge()
        if message.retained:
            _log.warning("an order that the broker has kept is ignored")
            return
        counter, problem = _UNKNOWN, None
        try:
            now_s = max(self._clock.now_s(), self._main.slots.state.time_floor_s)
            command = self._trust.take_command(message.payload, now_s)
            counter = command.counter
            self._obey(command.command)
        except AgentError as error:
            _log.warning("order refused: %s: %s", error.code, error.message)
            problem = error.problem()
        answer = CommandAnswer(counter, "error" if problem else "ok", problem)
        self._link.publish(self._response, encode(answer))

    def _obey(self, command: str) -> None:
        _log.info("ordered: %s", command)
        if command == "restart":
            self._restart(_RESTART)
        else:
            self._main.use(None)
