"""The first model of a board that has none: a tiny one that tells bright from dark, sent as any other is."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from deploy.boards.answer import clean
from deploy.flashing.proof import NotProven, Witness
from deploy.releases import push, unpin
from deploy.releases.keeper import Say
from deploy.releases.sending import Result
from host_mqtt.address import Address

BUNDLE = Path(__file__).with_name("first_model")
RUNS_WITHIN_S = 120.0


@dataclass(frozen=True)
class StartingModel:
    """Sends it, signed with the fleet's key; one board after another, for each release gets a number.

    `alone` is held meanwhile: sending shows a progress of its own.
    """

    fleet: Path
    alone: Callable[[], AbstractContextManager[None]] = nullcontext
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def bring(self, witness: Witness, broker: Address, base: str, say: Say) -> None:
        """Give a board the first model if it has none and none is on its way; then it follows its channel.

        Raises:
            NotProven: it does not run the model.
            WrongUsage, GateNotMet, Unreachable: as push and unpin.
        """
        is_bare = witness.lacks_model()
        if not is_bare and not witness.is_pinned_to_first_model():
            return
        names, channel = (witness.name,), witness.channel
        with self._turn, self.alone():
            if is_bare:
                say("it has no model: sending the first one")
                order = push.Order(
                    BUNDLE, self.fleet, broker, names, channel=channel, base=base, timeout_s=RUNS_WITHIN_S
                )
                _require_good(push.push(order, say))
            back = unpin.Order(self.fleet, broker, names, channel=channel, base=base, wait=False)
            unpin.unpin(back, time.time(), say)


def _require_good(result: Result | push.Preview) -> None:
    for outcome in result.bad if isinstance(result, Result) else ():
        why = clean(outcome.error.message) if outcome.error else outcome.phase
        raise NotProven(f"it does not run the first model: {why}")
