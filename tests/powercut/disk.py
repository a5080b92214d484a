"""A disk in memory that knows what a power cut would leave of it.

A file's bytes last once the file is synced, a name lasts once its folder is; until then each write and each
change of a name may be there afterwards or not, on its own, in any order; bytes also by half.
"""

import errno
import hashlib
from pathlib import Path
from random import Random
from typing import Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from edge_agent.disk import Disk, Part

FREE_BYTES = 1 << 40
# Which of the unsynced changes survive. Of torn ones, which only bytes can be, a piece is wrong.
NOTHING, EVERYTHING, FIRST, LAST, SOME, TORN = "nothing", "everything", "first", "last", "some", "torn"
NAME_LOSSES = (NOTHING, EVERYTHING, FIRST, LAST, SOME)
BYTE_LOSSES = (*NAME_LOSSES, TORN)


class Write(NamedTuple):
    """Bytes put at a place, or with `data` None the file cut or filled up to `offset` bytes."""

    offset: int
    data: Optional[bytes]

    def apply(self, content: bytes) -> bytes:
        """Return the content afterwards."""
        filled = content.ljust(self.offset, b"\0")
        if self.data is None:
            return filled[: self.offset]
        return filled[: self.offset] + self.data + filled[self.offset + len(self.data) :]


class Inode(NamedTuple):
    """A file without a name: what would be left of it, what a reader sees, and what lies between."""

    durable: bytes = b""
    current: bytes = b""
    pending: Tuple[Write, ...] = ()

    def written(self, write: Write) -> "Inode":
        """Return it after one more write."""
        return Inode(self.durable, write.apply(self.current), (*self.pending, write))

    def synced(self) -> "Inode":
        """Return it after a sync."""
        return Inode(self.current, self.current)


class Naming(NamedTuple):
    """A change of names: what is taken away, what is given. A rename does both, or neither."""

    gone: Optional[str]
    given: Optional[str]
    inode: int

    def apply(self, names: Dict[str, int]) -> None:
        """Change the names."""
        if self.gone is not None:
            names.pop(self.gone, None)
        if self.given is not None:
            names[self.given] = self.inode

    def touches(self, folder: str) -> bool:
        """Say whether a sync of this folder makes it last."""
        return any(path is not None and _folder_of(path) == folder for path in (self.gone, self.given))


class CrashDisk(Disk):
    """The operations of `Disk` over inodes and names.

    Attributes:
        inodes: the files, by number.
        names_now: which file a path leads to, as a program sees it.
        names_durable: the same, as a power cut would leave it if every change of `namings` were lost.
        namings: changes of names that wait for a sync.
        before_change: is called before each operation that changes or syncs anything, with what it is.
    """

    def __init__(self) -> None:
        self.inodes: Dict[int, Inode] = {}
        self.names_now: Dict[str, int] = {}
        self.names_durable: Dict[str, int] = {}
        self.namings: Tuple[Naming, ...] = ()
        self.before_change: Callable[[str], None] = lambda _what: None
        self._folders: Set[str] = set()
        self._next = 0

    # What a program sees.

    def make_folder(self, path: Path) -> None:
        self._folders.add(str(path))

    def names(self, folder: Path) -> List[str]:
        start = str(folder) + "/"
        found = (path[len(start) :] for path in self.names_now if path.startswith(start))
        return sorted(name for name in found if "/" not in name)

    def size(self, path: Path) -> Optional[int]:
        inode = self.names_now.get(str(path))
        return None if inode is None else len(self.inodes[inode].current)

    def read(self, path: Path) -> bytes:
        return self.inodes[self._inode(str(path))].current

    def write(self, path: Path, data: bytes) -> None:
        self.before_change(f"write {path.name}")
        inode = self._create(str(path))
        self.change(inode, Write(0, None))
        self.change(inode, Write(0, data))

    def sync(self, path: Path) -> None:
        self.before_change(f"sync {path.name}")
        self.sync_inode(self._inode(str(path)))

    def sync_folder(self, folder: Path) -> None:
        self.before_change(f"sync_folder {folder.name}")
        later = []
        for naming in self.namings:
            if naming.touches(str(folder)):
                naming.apply(self.names_durable)
            else:
                later.append(naming)
        self.namings = tuple(later)

    def rename(self, source: Path, target: Path) -> None:
        self.before_change(f"rename {target.name}")
        self._name(Naming(str(source), str(target), self._inode(str(source))))

    def remove(self, path: Path) -> None:
        self.before_change(f"remove {path.name}")
        self._name(Naming(str(path), None, self._inode(str(path))))

    def open_part(self, path: Path, size_bytes: int) -> Part:
        self.before_change(f"open_part {path.name}")
        inode = self._create(str(path))
        if len(self.inodes[inode].current) != size_bytes:
            self.change(inode, Write(size_bytes, None))
        return CrashPart(self, path, inode)

    def free_bytes(self, _folder: Path) -> int:
        return FREE_BYTES

    def hash_file(self, path: Path) -> str:
        return hashlib.sha256(self.read(path)).hexdigest()

    # What only the explorer sees.

    def change(self, inode: int, write: Write) -> None:
        """Write, without a sync."""
        self.inodes[inode] = self.inodes[inode].written(write)

    def sync_inode(self, inode: int) -> None:
        """Make a file's bytes last."""
        self.inodes[inode] = self.inodes[inode].synced()

    def copy(self) -> "CrashDisk":
        """Return a disk in the same state: what a killed program leaves, its syncs still to be made."""
        other = CrashDisk()
        other.inodes, other.namings, other._next = dict(self.inodes), self.namings, self._next
        other.names_now, other.names_durable = dict(self.names_now), dict(self.names_durable)
        other._folders = set(self._folders)
        return other

    def after_power_cut(self, bytes_kept: str, names_kept: str, chance: Random) -> "CrashDisk":
        """Return what is left.

        Args:
            bytes_kept: which unsynced writes survive, one of BYTE_LOSSES.
            names_kept: which unsynced changes of names do, one of NAME_LOSSES.
            chance: decides where the loss leaves it open.
        """
        other = CrashDisk()
        other._folders, other._next = set(self._folders), self._next
        names = dict(self.names_durable)
        for naming in _survivors(self.namings, names_kept, chance):
            naming.apply(names)
        for inode in sorted(set(names.values())):
            content = _left(self.inodes[inode], bytes_kept, chance)
            other.inodes[inode] = Inode(content, content)
        other.names_now, other.names_durable = names, dict(names)
        return other

    def damage(self, path: str) -> None:
        """Let a file rot, if it is there."""
        if path in self.names_now:
            self.inodes[self.names_now[path]] = Inode(b"rotten", b"rotten")

    def unsynced_bytes(self) -> int:
        """Return how many bytes of one file, the one with the most, wait for a sync."""
        sizes = (sum(len(write.data or b"") for write in inode.pending) for inode in self.inodes.values())
        return max(sizes, default=0)

    def contents(self) -> Dict[str, bytes]:
        """Return every file as a reader sees it."""
        return {path: self.inodes[inode].current for path, inode in self.names_now.items()}

    def _inode(self, path: str) -> int:
        try:
            return self.names_now[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "No such file", path) from None

    def _create(self, path: str) -> int:
        if path not in self.names_now:
            if _folder_of(path) not in self._folders:
                raise FileNotFoundError(errno.ENOENT, "No such folder", path)
            self._next += 1
            self.inodes[self._next] = Inode()
            self._name(Naming(None, path, self._next))
        return self.names_now[path]

    def _name(self, naming: Naming) -> None:
        naming.apply(self.names_now)
        self.namings = (*self.namings, naming)


class CrashPart(Part):
    """A part on a CrashDisk."""

    def __init__(self, disk: CrashDisk, path: Path, inode: int) -> None:
        self._disk, self._path, self._number = disk, path, inode

    def pread(self, length: int, offset: int) -> bytes:
        return self._disk.inodes[self._number].current[offset : offset + length]

    def pwrite(self, data: bytes, offset: int) -> None:
        self._disk.before_change(f"pwrite {self._path.name}")
        self._disk.change(self._number, Write(offset, data))

    def sync_data(self) -> None:
        self._disk.before_change(f"sync_data {self._path.name}")
        self._disk.sync_inode(self._number)

    def sync(self) -> None:
        self._disk.before_change(f"sync {self._path.name}")
        self._disk.sync_inode(self._number)

    def close(self) -> None:
        pass


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _survivors(changes: Tuple, kept: str, chance: Random) -> Tuple:
    if kept == NOTHING or not changes:
        return ()
    if kept == EVERYTHING:
        return changes
    if kept in (FIRST, LAST):
        place = chance.randrange(len(changes) + 1)
        return changes[:place] if kept == FIRST else changes[place:]
    return tuple(change for change in changes if chance.random() < 0.5)


def _left(inode: Inode, kept: str, chance: Random) -> bytes:
    if kept == EVERYTHING or not inode.pending:
        return inode.current
    content = inode.durable
    for write in _survivors(inode.pending, kept, chance):
        content = (_tear(write, chance) if kept == TORN else write).apply(content)
    return content


def _tear(write: Write, chance: Random) -> Write:
    """Return what may be left of a write that was under way: all, a beginning, zeros, or zeros at its end."""
    if not write.data:
        return write
    begin = write.data[: chance.randrange(len(write.data))]
    length = len(write.data)
    return write._replace(data=chance.choice((write.data, begin, bytes(length), begin.ljust(length, b"\0"))))
