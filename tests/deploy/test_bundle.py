"""A bundle is sent only as its manifest describes it."""

from pathlib import Path

import pytest

import deploy
from deploy.releases.bundle import load_bundle
from host_cli.errors import GateNotMet, WrongUsage
from tests.deploy.helpers import write_bundle

FIRST_MODEL = Path(deploy.__file__).parent / "flashing" / "first_model"


def test_the_first_model_of_a_new_board_is_what_its_manifest_says():
    """It is part of the program: nobody makes it again before sending it."""
    manifest = load_bundle(FIRST_MODEL).manifest
    assert (manifest.name, manifest.compiled) == ("brightness", False)


def test_a_good_bundle_is_loaded(bundle):
    """The files that travel, by role; the report stays."""
    loaded = load_bundle(bundle)
    assert set(loaded.files) == {"model", "labels", "preprocessing", "golden"}
    assert len(loaded.files["model"]) == loaded.manifest.model.size


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt", "golden.npz", "report.json"])
@pytest.mark.parametrize("damage", [lambda data: data + b"x", lambda data: b"X" + data[1:]])
def test_a_changed_file_is_refused(bundle, name, damage):
    """Another length or other bytes: a gate is not met, also for the report that stays here."""
    path = bundle / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(GateNotMet, match="not the one") as caught:
        load_bundle(bundle)
    assert name in caught.value.where


def test_a_missing_file_is_refused(bundle):
    """A bundle without its model is not complete."""
    (bundle / "model.tflite").unlink()
    with pytest.raises(GateNotMet, match="missing"):
        load_bundle(bundle)


def test_a_file_too_large_for_a_board_is_refused(tmp_path):
    """16 MiB is what a board takes; more is not even hashed."""
    with pytest.raises(GateNotMet, match="more than 16777216 bytes"):
        load_bundle(write_bundle(tmp_path, model_bytes=16 * 1024**2 + 1))


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"v":1,"name":"../x"}'])
def test_no_manifest_is_wrong_usage(tmp_path, text):
    """A folder that is no bundle is the caller's mistake, not a failed gate."""
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(WrongUsage):
        load_bundle(tmp_path)
