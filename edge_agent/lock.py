"""One agent for each state folder: the lock that says so."""

import fcntl
from pathlib import Path
from typing import IO

from edge_agent.errors import ConfigError
from edge_agent.files import explain

ALREADY_RUNNING = "already_running"


def lock_folder(folder: Path) -> IO[str]:
    """Make sure that no second agent uses the folder, until what is returned is closed.

    Raises:
        ConfigError: one does; its code is ALREADY_RUNNING.
        StorageError: the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise explain(error, folder) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(
            ALREADY_RUNNING, f"another agent uses {folder}", "stop it, or give this one its own state_dir"
        ) from error
    return lock
