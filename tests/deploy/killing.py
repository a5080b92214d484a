"""Kills a controller at a chosen boundary between two of its steps."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from deploy.releases import keeper, sending
from deploy.releases.ledger import Ledger
from deploy.rollouts import controller


class Killed(BaseException):
    """Ends a controller as SIGKILL would: nothing in it catches this."""


def die() -> None:
    raise Killed


@contextmanager
def killed_at(boundary: int, die: Callable[[], None] = die) -> Iterator[Callable[[], int]]:
    """Call `die` at one boundary: before or after a commit to the ledger, before or after a publish.

    Gives the block a function that says how many boundaries were passed.
    """
    numbers = itertools.count()
    passed = [0]

    def pass_boundary() -> None:
        passed[0] = next(numbers) + 1
        if passed[0] - 1 == boundary:
            die()

    real_step = Ledger.step

    @contextmanager
    def step(self: Ledger) -> Iterator[None]:
        outermost = not self._depth
        with real_step(self):
            yield
            if outermost:
                pass_boundary()
        if outermost:
            pass_boundary()

    def around(real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            pass_boundary()
            found = real(*arguments, **more)
            pass_boundary()
            return found

        return wrapped

    with (
        mock.patch.object(Ledger, "step", step),
        mock.patch.object(controller, "publish_facts", around(controller.publish_facts)),
        mock.patch.object(keeper, "publish_facts", around(keeper.publish_facts)),
        mock.patch.object(sending, "publish_release", around(sending.publish_release)),
    ):
        yield lambda: passed[0]
