"""Only one controller of a fleet at a time; the lock ends with its process, however that ends."""

from contextlib import AbstractContextManager
from pathlib import Path

from host_cli.errors import WrongUsage
from host_cli.lock import locked

LOCK_FILE = "controller.lock"


def only_controller(fleet: Path) -> AbstractContextManager[None]:
    """Hold the lock that only one controller of a fleet can have; it ends with the process.

    Raises:
        WrongUsage: another one has it.
    """
    hint = "wait for it, or end its rollout: deploy rollout abort ID"
    refusal = WrongUsage("another rollout is being controlled", str(fleet), hint)
    return locked(fleet / LOCK_FILE, refusal)


def is_controlled(fleet: Path) -> bool:
    """Whether somebody controls a rollout now."""
    try:
        with only_controller(fleet):
            return False
    except WrongUsage:
        return True
