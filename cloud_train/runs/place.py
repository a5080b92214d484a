"""A folder with two names: where it is worked in on this computer, and where others find it."""

from dataclasses import dataclass
from pathlib import Path

from cloud_train import store
from host_cli.errors import WrongUsage


@dataclass(frozen=True)
class Place:
    """A folder that is worked in here and kept there.

    Attributes:
        path: on this computer.
        where: the same folder as others find it; the path itself, or a URL, and then `path` is a copy.
    """

    path: Path
    where: str

    @classmethod
    def of(cls, where: str, copies: Path) -> "Place":
        """Return the place of `where`; `copies` is where a remote folder is worked in."""
        return cls(copies, where) if store.is_remote(where) else cls(store.local_path(where), where)

    @classmethod
    def here(cls, path: Path) -> "Place":
        """Return the place of a folder on this computer."""
        return cls(path, str(path))

    @property
    def is_remote(self) -> bool:
        """Whether `path` is only a copy."""
        return store.is_remote(self.where)

    def address(self, path: Path) -> str:
        """Return where others find a file of this folder."""
        if not self.is_remote:
            return str(path)
        below = path.relative_to(self.path)
        return store.join(self.where, str(below)) if below.parts else self.where

    def share(self, path: Path) -> None:
        """Put a file that is complete where others find it."""
        if self.is_remote:
            store.put(path, self.address(path))

    def require(self, name: str, hint: str) -> None:
        """Refuse a folder that lacks a file, by the name that others know.

        Raises:
            WrongUsage: the file is not there.
        """
        if not (self.path / name).is_file():
            raise WrongUsage(f"there is no {name}", self.where, hint)

    def fetch_all(self, folder: Path) -> None:
        """Copy every file that lies directly in a folder of this one, and is not here yet."""
        if self.is_remote:
            for name in store.names(self.address(folder)):
                if "." in name and not (folder / name).is_file():  # a folder has no dot in its name
                    store.fetch(self.address(folder / name), folder)
