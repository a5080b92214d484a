"""Only one controller of a fleet at a time; the lock ends with its process, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host_cli.errors import WrongUsage

LOCK_FILE = "controller.lock"


@contextmanager
def only_controller(fleet: Path) -> Iterator[None]:
    """Hold the lock that only one controller of a fleet can have; it ends with the process.

    Raises:
        WrongUsage: another one has it.
    """
    with (fleet / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "wait for it, or end its rollout: deploy rollout abort ID"
            raise WrongUsage("another rollout is being controlled", str(fleet), hint) from error
        yield


def is_controlled(fleet: Path) -> bool:
    """Whether somebody controls a rollout now."""
    try:
        with only_controller(fleet):
            return False
    except WrongUsage:
        return True
