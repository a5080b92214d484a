"""Files that are either whole or not there, also after a power cut."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Optional

from edge_agent.disk import Disk
from edge_agent.errors import StorageError

DISK_FULL = "disk_full"
_EXPLAINED = {
    errno.ENOSPC: (DISK_FULL, "free some space on the board"),
    errno.EDQUOT: (DISK_FULL, "raise the quota of the agent's user"),
    errno.EROFS: ("disk_read_only", "remount it, and see dmesg for the reason"),
    errno.EACCES: ("disk_error", "let the agent's user write there"),
    errno.EPERM: ("disk_error", "let the agent's user write there"),
    errno.ENOENT: ("disk_error", "make the folder, and let the agent's user write there"),
    errno.ENOTDIR: ("disk_error", "name a folder in which files can be made"),
    errno.EEXIST: ("disk_error", "name a folder, not a file"),
}


def write_whole(path: Path, data: bytes, disk: Optional[Disk] = None) -> None:
    """Write `data` so that a reader sees the old file or the new one, never half of one.

    Raises:
        StorageError: the disk is full, broken or read-only.
    """
    disk = disk or Disk()
    temporary = path.with_name(path.name + ".tmp")
    try:
        disk.write(temporary, data)
        disk.sync(temporary)
        move_whole(temporary, path, disk)
    except OSError as error:
        with contextlib.suppress(OSError):
            disk.remove(temporary)
        raise explain(error, path) from error


def is_lost(error: OSError) -> bool:
    """Say whether a file that cannot be read is absent or damaged; anything else may pass."""
    return error.errno in (errno.ENOENT, errno.EIO)


def move_whole(source: Path, target: Path, disk: Disk) -> None:
    """Rename a file that is already on disk, and make the new name last."""
    disk.rename(source, target)
    disk.sync_folder(target.parent)


def explain(error: OSError, path: Path) -> StorageError:
    """Turn what the disk said into something a person can act on."""
    code, hint = _EXPLAINED.get(error.errno or 0, ("disk_error", "see dmesg; the eMMC may be worn out"))
    return StorageError(code, f"{path}: {os.strerror(error.errno or 0)}", hint)
