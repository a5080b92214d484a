"""Files that are either whole or not there, also after a power cut."""

import errno
import os
from pathlib import Path

from edge_agent.errors import StorageError

_EXPLAINED = {
    errno.ENOSPC: ("disk_full", "free some space on the board"),
    errno.EDQUOT: ("disk_full", "raise the quota of the agent's user"),
    errno.EROFS: ("disk_read_only", "remount it, and see dmesg for the reason"),
    errno.EACCES: ("disk_error", "let the agent's user write there"),
    errno.EPERM: ("disk_error", "let the agent's user write there"),
    errno.ENOENT: ("disk_error", "make the folder, and let the agent's user write there"),
    errno.ENOTDIR: ("disk_error", "name a folder in which files can be made"),
    errno.EEXIST: ("disk_error", "name a folder, not a file"),
}


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` so that a reader sees the old file or the new one, never half of one.

    Raises:
        StorageError: the disk is full, broken or read-only.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        move_whole(temporary, path)
    except OSError as error:
        raise explain(error, path) from error


def move_whole(source: Path, target: Path) -> None:
    """Rename a file that is already on disk, and make the new name last."""
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make creations, renames and removals in `folder` last."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain(error: OSError, path: Path) -> StorageError:
    """Turn what the disk said into something a person can act on."""
    code, hint = _EXPLAINED.get(error.errno or 0, ("disk_error", "see dmesg; the eMMC may be worn out"))
    return StorageError(code, f"{path}: {os.strerror(error.errno or 0)}", hint)
