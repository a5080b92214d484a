"""The folder of a model: one process at a time, and the best of several is copied."""

from pathlib import Path

import pytest

from cloud_train.bus.model_folder import ModelFolder, choose_best
from contract.artifacts import FileEntry, Preprocessing, RunRecord
from contract.codec import encode
from host_cli.errors import WrongUsage


def write_model(folder: Path, accuracy: float) -> None:
    record = RunRecord(
        name="quarters",
        model=FileEntry("model.keras", 1, "ab" * 32),
        labels=("a", "b"),
        preprocessing=Preprocessing(8, 8, 1),
        created="2026-11-21T03:20:00.123Z",
        accuracy=accuracy,
    )
    folder.mkdir(parents=True)
    for name in ("model.keras", "test.npz"):
        (folder / name).write_text(f"{name} of {folder.name}")
    (folder / "run.json").write_bytes(encode(record))


def test_only_one_process_trains_a_model(tmp_path):
    """The second is refused; when the first is through the folder is free."""
    folder = ModelFolder(tmp_path / "model")
    with folder.alone(), pytest.raises(WrongUsage, match="another process"), ModelFolder(folder.path).alone():
        pass
    with folder.alone():
        pass


def test_the_most_accurate_model_is_copied(tmp_path):
    """Again when a better one comes; one that is not finished is none."""
    write_model(tmp_path / "a", 0.7)
    write_model(tmp_path / "b", 0.8)
    (tmp_path / "unfinished").mkdir()
    assert choose_best(tmp_path).read_text() == "model.keras of b"
    write_model(tmp_path / "c", 0.9)
    assert choose_best(tmp_path).read_text() == "model.keras of c"
    assert (tmp_path / "best" / "test.npz").read_text() == "test.npz of c"
    assert ModelFolder(tmp_path / "best").record().accuracy == 0.9


def test_a_damaged_record_is_told(tmp_path):
    """With the file and what to do."""
    write_model(tmp_path / "a", 0.7)
    (tmp_path / "a" / "run.json").write_bytes(b"{")
    with pytest.raises(WrongUsage, match="not valid JSON"):
        choose_best(tmp_path)
