"""What the tasks decide and remember; the programs that they call have tests of their own."""

import json
import sys
from pathlib import Path

import pytest

from cloud_train import store
from cloud_train.pipeline import programs, steps
from host_cli.errors import WrongUsage
from tests.fakes.object_store import ObjectStore

MANIFEST = Path(__file__).parents[2] / "golden" / "bundle_manifest.v1.json"


def put_bundle(where: str, accuracy: float, work: Path) -> str:
    """Leave a bundle's manifest that tells of `accuracy`."""
    about = json.loads(MANIFEST.read_text())
    about["accuracy"]["int8"] = accuracy
    path = work / "manifest.json"
    path.write_text(json.dumps(about))
    store.put(path, store.join(where, "manifest.json"))
    return where


def put_state(where: str, accuracy: float, work: Path) -> None:
    """Leave what says that a model of `accuracy` was pushed."""
    path = work / "state"
    path.write_text(json.dumps({"v": 1, "bundle": "s3://reef/old", "accuracy": accuracy}))
    store.put(path, store.join(where, "pushed.json"))


def test_the_first_model_is_worth_a_push(tmp_path: Path) -> None:
    """There is none to compare it with."""
    assert steps.is_better(put_bundle(f"{tmp_path}/bundle", 0.1, tmp_path), 0.5, str(tmp_path))


@pytest.mark.parametrize(("accuracy", "expected"), [(0.81, False), (0.82, False), (0.83, True), (0.5, False)])
def test_a_model_is_worth_a_push_when_it_gained_enough(
    accuracy: float, expected: bool, object_store: ObjectStore, tmp_path: Path
) -> None:
    """More than the minimum over the last one that was pushed, wherever that is kept."""
    bundle = put_bundle("s3://reef/runs/2/bundle", accuracy, tmp_path)
    put_state("s3://reef/runs", 0.8, tmp_path)
    assert steps.is_better(bundle, 0.025, "s3://reef/runs") is expected


def test_a_state_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    """Nobody guesses what the boards run."""
    (tmp_path / "pushed.json").write_text('{"bundle": ')
    with pytest.raises(WrongUsage) as caught:
        steps.pushed(str(tmp_path))
    assert "pushed.json" in caught.value.where


def test_a_push_that_fails_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, definition: object
) -> None:
    """The next run of the pipeline tries again."""
    bundle = put_bundle(f"{tmp_path}/bundle", 0.9, tmp_path)
    failing = tmp_path / "deploy"
    failing.write_text("#!/bin/sh\nexit 3\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(programs.Failed, match="exit code 3"):
        steps.push(bundle, ["--all"], str(tmp_path))
    assert steps.pushed(str(tmp_path)) is None
