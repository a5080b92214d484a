"""Promises of serving.served_model: a model and its run.json are served together, or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cloud_train import store
from cloud_train.serving.served_model import load_served
from contract.artifacts import Preprocessing
from host_cli.errors import WrongUsage
from tests.cloud_train.serving.conftest import LABELS, SIDE, tensor, write_record
from tests.fakes.object_store import ObjectStore


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    """A run's folder that a test may spoil."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.mark.parametrize("where", ["{}", "{}/model.keras", "file://{}", "file://{}/model.keras"])
def test_a_run_is_named_by_its_folder_or_its_model(run_folder: Path, tmp_path: Path, where: str) -> None:
    """As a path or a URL; labels, name and preprocessing come from run.json."""
    served = load_served(where.format(run_folder), tmp_path)
    assert (served.version.name, served.labels) == ("quarters", LABELS)
    assert served.version.sha256.startswith(served.version.version)
    assert (served.taken.name, served.taken.shape) == ("pixels", (1, SIDE, SIDE, 1))
    assert (served.given.name, served.given.shape) == ("scores", (1, 4))
    assert served.run(tensor(1, 3)).argmax(axis=1).tolist() == [1, 3]


def test_a_run_in_object_storage_is_served(
    object_store: ObjectStore, run_folder: Path, tmp_path: Path
) -> None:
    """By the URL of its folder; model and run.json are fetched."""
    for name in ("model.keras", "run.json"):
        store.put(run_folder / name, f"{object_store.url}/runs/7/{name}")
    assert load_served(f"{object_store.url}/runs/7", tmp_path).labels == LABELS
    with pytest.raises(WrongUsage, match="no such object"):
        load_served(f"{object_store.url}/runs/8", tmp_path)


def test_a_model_in_the_current_folder_is_found(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cloud-train serve model.keras`."""
    monkeypatch.chdir(run_folder)
    assert load_served("model.keras", tmp_path).labels == LABELS


def test_pixels_become_what_the_model_learned_from(copy: Path, tmp_path: Path) -> None:
    """By the scale and offset of run.json."""
    write_record(copy, preprocessing=Preprocessing(SIDE, SIDE, 1, scale=1 / 127.5, offset=-1.0))
    prepared = load_served(str(copy), tmp_path).prepare(np.array([0, 51, 255], np.uint8))
    assert prepared.dtype == np.float32 and prepared == pytest.approx([-1, -0.6, 1], abs=1e-6)


def remove_record(folder: Path) -> None:
    (folder / "run.json").unlink()


def spoil_record(folder: Path) -> None:
    (folder / "run.json").write_text('{"v": 1, "name": "x"}')


def remove_model(folder: Path) -> None:
    (folder / "model.keras").unlink()


def cut_model(folder: Path) -> None:
    model = folder / "model.keras"
    model.write_bytes(model.read_bytes()[:1000])
    write_record(folder)


def swap_model(folder: Path) -> None:
    model = folder / "model.keras"
    model.write_bytes(model.read_bytes() + b" ")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (remove_record, "there is no run.json"),
        (spoil_record, "model is missing"),
        (remove_model, "no such file"),
        (cut_model, "no whole Keras model"),
        (swap_model, "not the model that"),
        (lambda folder: write_record(folder, labels=LABELS[:3]), "4 scores, run.json has 3 labels"),
        (lambda folder: write_record(folder, preprocessing=Preprocessing(9, 9, 1)), "makes pictures of"),
        (
            lambda folder: write_record(folder, preprocessing=Preprocessing(SIDE, SIDE, 1, "nearest")),
            "run.json says nearest",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(
    copy: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    """A server with wrong labels would answer with confidence."""
    spoil(copy)
    with pytest.raises(WrongUsage, match=said):
        load_served(str(copy), tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(WrongUsage) as caught:
        load_served(str(tmp_path / "nothing"), tmp_path)
    assert "nothing" in caught.value.where
