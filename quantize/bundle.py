"""Writes a bundle: a folder that is there whole or not at all, and whose bytes follow from its inputs."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from contract.artifacts import BUNDLE_FILE, FileEntry
from host_cli.errors import Failed, WrongUsage
from host_cli.files import sync


def describe_file(name: str, content: bytes) -> FileEntry:
    """Return a file's entry in the manifest."""
    return FileEntry(path=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def require_target(target: Path) -> None:
    """Refuse a place where a bundle must not be written, before any work is done.

    Raises:
        WrongUsage: it is a file, a folder with something else in it, or one that cannot be replaced.
    """
    if target.is_mount() or target.resolve() == Path.cwd():
        hint = f"give a folder inside it: -o {target / 'build'}"
        raise WrongUsage("a bundle replaces its folder, which this one does not allow", str(target), hint)
    require_writable(target)
    if target.is_dir() and (target / BUNDLE_FILE).is_file():
        return
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise WrongUsage("there is something else already", str(target), "give a new folder with -o")


def require_writable(place: Path) -> None:
    """Refuse a place where nothing can be written, before any work is done.

    Raises:
        WrongUsage: the nearest folder above it is none, or may not be written to.
    """
    there = next(parent for parent in place.absolute().parents if parent.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise WrongUsage("nothing can be written there", str(there), "give a folder you may write to")


def write_bundle(target: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder and put it in place of an earlier bundle.

    Whoever looks sees the old bundle, for an instant none, or the new one; never a mixture.

    Args:
        target: the bundle's folder; an earlier bundle there is replaced.
        files: content by name.

    Raises:
        Failed: the disk refuses.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _write_folder(workshop / "new", files)
            _swap(workshop / "new", target, workshop / "old")
            sync(target.parent)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    except OSError as error:
        raise Failed(
            f"cannot write the bundle: {error.strerror}", str(target), "check space and rights"
        ) from error


def _swap(new: Path, target: Path, aside: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        aside.rename(target)
        raise


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sync(folder)
