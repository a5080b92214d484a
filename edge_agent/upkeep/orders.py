"""How `edge-agent model` reaches a running agent: an order in its state folder, answered by an outcome."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from contract.artifacts import VERSION_PATTERN
from contract.codec import decode, encode
from contract.errors import ContractError
from contract.messages import Problem
from contract.records import Maybe, Nested, Record, Text, rule
from edge_agent.errors import AgentError, StorageError, UnreachableError
from edge_agent.files import write_whole

_log = logging.getLogger(__name__)
_ORDER, _OUTCOME = "model-order.json", "model-outcome.json"
_LOOK_EVERY_S = 0.5
_ANSWERED_WITHIN_S = 15.0
_POLL_S = 0.05
_ID = Text(r"^[0-9a-f]{16}$")


@dataclass(frozen=True)
class Order(Record):
    """Make an installed version active; None is the last known good."""

    id: str = rule(_ID)
    version: Optional[str] = rule(Maybe(Text(VERSION_PATTERN)), default=None)


@dataclass(frozen=True)
class Outcome(Record):
    """What became of an order; without a problem it is on disk."""

    id: str = rule(_ID)
    problem: Optional[Problem] = rule(Maybe(Nested(Problem)), default=None)


class OrderDesk:
    """The agent's side: looks twice a second whether an order lies there. It belongs to the agent's loop."""

    def __init__(self, folder: Path, do: Callable[[Optional[str]], None]) -> None:
        """Throw away what an earlier agent left undone; `do` takes a version and may raise AgentError."""
        self._folder = folder
        self._do = do
        self._look_at_s = 0.0
        _remove(folder / _ORDER)

    def tick(self, now_s: float) -> None:
        """Do an order, if there is one."""
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + _LOOK_EVERY_S
        order = _take(self._folder / _ORDER)
        if order is not None:
            self._answer(order)

    def _answer(self, order: Order) -> None:
        problem = None
        try:
            self._do(order.version)
        except AgentError as error:
            _log.warning("order refused: %s: %s", error.code, error.message)
            problem = error.problem()
        try:
            write_whole(self._folder / _OUTCOME, encode(Outcome(order.id, problem)))
        except StorageError as error:
            _log.error("an order was done, but nobody can be told: %s", error.message)


def send_order(
    folder: Path, version: Optional[str], timeout_s: float = _ANSWERED_WITHIN_S
) -> Optional[Problem]:
    """Have the agent that uses `folder` make a version active; return why it did not.

    Raises:
        StorageError: the order cannot be put there.
        UnreachableError: the agent does not answer in time; the order is taken back.
    """
    order = Order(os.urandom(8).hex(), version)
    write_whole(folder / _ORDER, encode(order))
    until_s = time.monotonic() + timeout_s
    try:
        while time.monotonic() < until_s:
            outcome = _read_outcome(folder / _OUTCOME)
            if outcome is not None and outcome.id == order.id:
                return outcome.problem
            time.sleep(_POLL_S)
    finally:
        _remove(folder / _ORDER)
    raise UnreachableError(
        "agent_silent", f"the running agent did not answer in {timeout_s:.0f} s", "see the agent's log"
    )


def _take(path: Path) -> Optional[Order]:
    """Read an order and remove it first: it is done at most once."""
    try:
        payload = path.read_bytes()
        path.unlink()
        return decode(Order, payload)
    except FileNotFoundError:
        return None
    except (OSError, ContractError) as error:
        _log.error("an order cannot be taken: %s", error)
        return None


def _read_outcome(path: Path) -> Optional[Outcome]:
    try:
        return decode(Outcome, path.read_bytes())
    except (OSError, ContractError):
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.error("cannot remove %s: %s", path, error)
