"""Writing bundles: whole or not at all."""

from pathlib import Path

import pytest

from host_cli.errors import Failed, WrongUsage
from quantize.bundle import require_target, write_bundle

OLD = {"manifest.json": b"old", "gone.txt": b"gone"}
NEW = {"manifest.json": b"new", "model.tflite": b"model"}


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_writes_every_file_and_leaves_nothing_beside(tmp_path):
    """The folder, its parents, and no temporary names."""
    write_bundle(tmp_path / "deep" / "build", NEW)
    assert listing(tmp_path / "deep" / "build") == NEW
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["build"]


def test_replaces_an_earlier_bundle_whole(tmp_path):
    """No file of the old one survives in the new one."""
    write_bundle(tmp_path / "build", OLD)
    require_target(tmp_path / "build")
    write_bundle(tmp_path / "build", NEW)
    assert listing(tmp_path / "build") == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.parametrize("failing", ["new", "build"])
def test_an_earlier_bundle_survives_a_failing_disk(tmp_path, monkeypatch, failing):
    """Whatever step fails, the old bundle is there and nothing else is."""
    write_bundle(tmp_path / "build", OLD)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == failing:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(Failed, match="No space left"):
        write_bundle(tmp_path / "build", NEW)
    assert listing(tmp_path / "build") == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


def test_never_replaces_a_folder_that_is_no_bundle(tmp_path):
    """A mistyped -o must not cost anyone their files."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WrongUsage):
        require_target(tmp_path)
    with pytest.raises(WrongUsage):
        require_target(tmp_path / "thesis.txt")


def test_takes_an_empty_folder(tmp_path):
    """mkdir build; quantize -o build is fine."""
    require_target(tmp_path)
    require_target(tmp_path / "new")


@pytest.mark.parametrize("there", [{}, OLD])
def test_refuses_the_folder_one_stands_in(tmp_path, monkeypatch, there):
    """It would be replaced by another one, and the shell be left in the deleted one."""
    for name, content in there.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrongUsage, match="replaces its folder") as error:
        require_target(tmp_path)
    assert error.value.hint.endswith(f"-o {tmp_path / 'build'}")


def test_refuses_a_mounted_folder(tmp_path, monkeypatch):
    """It cannot be renamed; a container's /out is one."""
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(WrongUsage, match="replaces its folder"):
        require_target(tmp_path)
    require_target(tmp_path / "build")


def test_refuses_a_place_where_no_folder_can_be_made(tmp_path, monkeypatch):
    """Below a file, or where one may not write: told before the work, not after."""
    (tmp_path / "file").touch(0o755)
    with pytest.raises(WrongUsage, match="nothing can be written there"):
        require_target(tmp_path / "file" / "new" / "build")
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(WrongUsage, match="nothing can be written there"):
        require_target(tmp_path / "new" / "build")
