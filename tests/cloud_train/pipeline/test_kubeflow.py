"""The compiled pipeline: the tasks, their order and what each may take. What it does is in test_page.py."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud_train.pipeline.settings import PipelineSettings
from cloud_train.runs.definition import RunDefinition
from tests.house.conftest import HOST_BIN

pytestmark = pytest.mark.filterwarnings(
    # kfp 2.17 calls what protobuf and Python have replaced; only its own modules are excused.
    "ignore::DeprecationWarning:kfp.*",
    "ignore::FutureWarning:kfp.*",
)
SETTINGS = PipelineSettings(out="s3://reef/runs", broker="mqtts://broker.example:8883", tag="lab")


def compiled(definition: RunDefinition, settings: PipelineSettings, path: Path) -> dict[str, Any]:
    """Compile and read back."""
    from cloud_train.pipeline import kubeflow

    kubeflow.compile_to(path, definition, settings)
    return yaml.safe_load(path.read_text())


def test_the_same_definition_gives_the_same_bytes(definition: RunDefinition, tmp_path: Path) -> None:
    """A pipeline can be kept under version control."""
    compiled(definition, SETTINGS, tmp_path / "one.yaml")
    compiled(definition, SETTINGS, tmp_path / "two.yaml")
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "two.yaml").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.yaml", "two.yaml"]


def test_the_sdk_reads_what_was_compiled(definition: RunDefinition, tmp_path: Path) -> None:
    """It is a valid pipeline, which whoever starts it may give another data set and place."""
    from kfp import components

    compiled(definition, SETTINGS, tmp_path / "pipeline.yaml")
    loaded = components.load_component_from_file(str(tmp_path / "pipeline.yaml"))
    inputs = loaded.component_spec.inputs
    assert {name: spec.default for name, spec in inputs.items()} == {
        "dataset": "s3://reef/caltech-101.zip",
        "out": "s3://reef/runs",
    }


def test_rounds_follow_each_other_and_shards_stand_side_by_side(
    definition: RunDefinition, tmp_path: Path
) -> None:
    """Each round waits for the average of the one before; the push stands behind a condition."""
    spec = compiled(definition, SETTINGS, tmp_path / "pipeline.yaml")
    tasks = spec["root"]["dag"]["tasks"]
    rounds = [task for task in tasks.values() if "parameterIterator" in task]
    assert [task["taskInfo"]["name"] for task in rounds] == ["round-1", "round-2", "round-3"]
    assert all(task["parameterIterator"]["items"]["raw"] == "[0, 1]" for task in rounds)
    assert [task["dependentTasks"] for task in rounds] == [["start"], ["average"], ["average-2"]]
    assert tasks["evaluate"]["dependentTasks"] == ["average-3"]
    condition = next(task for task in tasks.values() if "triggerPolicy" in task)
    assert "is-better" in condition["dependentTasks"] and "true" in condition["triggerPolicy"]["condition"]


def test_every_task_has_its_image_its_limits_and_its_tries(definition: RunDefinition, tmp_path: Path) -> None:
    """As `[runner]` says; only trainers get a GPU, and nothing is installed or cached."""
    spec = compiled(definition, SETTINGS, tmp_path / "pipeline.yaml")
    executors = spec["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        container = executor["container"]
        assert container["image"] == "registry.example/reefline:1"
        assert container["resources"]["resourceCpuRequest"] == "2"
        assert container["resources"]["resourceMemoryLimit"] == "4Gi"
        assert ("accelerator" in container["resources"]) == name.startswith("exec-fit"), name
        assert "pip install" not in str(container["command"])
    dags = [spec["root"], *(part for part in spec["components"].values() if "dag" in part)]
    tasks = [task for dag in dags for task in dag["dag"]["tasks"].values()]
    single = [task for task in tasks if "parameterIterator" not in task and "triggerPolicy" not in task]
    assert all(task["cachingOptions"] == {} for task in single)
    assert all(task["retryPolicy"]["maxRetryCount"] == 3 for task in single)


def test_without_a_broker_the_bundle_is_the_end(definition: RunDefinition, tmp_path: Path) -> None:
    """And the keys of no fleet are asked for."""
    spec = compiled(definition, replace(SETTINGS, broker=None), tmp_path / "pipeline.yaml")
    names = set(spec["root"]["dag"]["tasks"])
    assert "quantize" in names and not names & {"is-better", "push"}


def test_a_task_that_fails_ends_the_command_with_its_own_words(tmp_path: Path) -> None:
    """Three lines, exit code 1, and the whole story in the log."""
    (tmp_path / "train.toml").write_text('[data]\ndataset = "no-such.zip"\n[pipeline]\nout = "runs"\n')
    command = [HOST_BIN / "cloud-train", "pipeline", "-c", "train.toml", "--local"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "no-such.zip" in done.stderr and "try: look at the end of pipeline.log" in done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    assert "no-such.zip" in (tmp_path / "pipeline.log").read_text()


@pytest.mark.parametrize("options", [[], ["--local", "--compile-only", "p.yaml"], ["--local"]])
def test_what_to_do_with_it_must_be_said(options: list[str], tmp_path: Path) -> None:
    """One of the two, and where runs go."""
    (tmp_path / "train.toml").write_text('[data]\ndataset = "fashion-mnist"\n')
    command = [HOST_BIN / "cloud-train", "pipeline", "-c", "train.toml", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 3
