"""A file that is visible is complete."""

import pytest

from deploy.files import write_atomically


def test_the_new_content_replaces_the_old(tmp_path):
    """No temporary file stays behind."""
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new", 0o600)
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_content(tmp_path, monkeypatch):
    """The disk refuses at the last moment: the old file is still whole."""
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
