"""A lock that one process of this computer can have; it ends with its holder, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host_cli.errors import CommandError


@contextmanager
def locked(path: Path, refusal: CommandError) -> Iterator[None]:
    """Hold the lock on a file while the block runs.

    Args:
        path: the file, made with its folder when it is not there; it stays.
        refusal: what is raised when another process has the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal from error
        yield
