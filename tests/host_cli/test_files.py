"""Promises of host_cli.files."""

import errno
import hashlib
from pathlib import Path

import pytest

from host_cli.files import describe, write_bytes, write_with


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Nothing is half-written."""
    path = tmp_path / "model.keras"
    write_bytes(path, b"old")

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"ne")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_with(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    """The system's own error does not, once a file is open."""

    def fail(temporary: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        write_with(tmp_path / "model.keras", fail)
    assert caught.value.filename == str(tmp_path / "model.keras")
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    """Keras and numpy choose a format by it."""
    seen: list[str] = []
    write_with(tmp_path / "a.npz", lambda temporary: seen.append(temporary.suffix) or temporary.touch())
    assert seen == [".npz"]


def test_a_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    """The mode is set before the first byte."""
    write_bytes(tmp_path / "key", b"secret", 0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_file_is_described_by_name_size_and_hash(tmp_path: Path) -> None:
    """As it stands in a manifest."""
    write_bytes(tmp_path / "deep" / "x.bin", b"abc")
    entry = describe(tmp_path / "deep" / "x.bin")
    assert (entry.path, entry.size, entry.sha256) == ("x.bin", 3, hashlib.sha256(b"abc").hexdigest())
