"""docs/training.md: what it tells its reader to paste works, in order, in an empty folder."""

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from cloud_train.data import arrays
from cloud_train.training import models
from cloud_train.training.batches import BLOCK_BYTES
from cloud_train.training.networks import cnn3, mnist_cnn, mobilenet_v2
from cloud_train.training.recipe import DEFAULT_CHECKPOINT_STEPS, Recipe
from tests.house.conftest import HOST_BIN, ROOT
from tests.house.pages import commands_of

PAGE = ROOT / "docs" / "training.md"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not (arrays.DEBIAN_FOLDER / "fashion-mnist").is_dir(), reason="needs Debian's dataset-fashion-mnist"
)
def test_the_page_goes_from_an_empty_folder_to_a_bundle(tmp_path: Path) -> None:
    """Every block, with fewer pictures and passes, but for the installation."""
    script = "\n".join(commands_of(PAGE)).replace("pip install", "true pip install")
    script = script.replace("--limit 6000", "--limit 1200").replace("--epochs 10", "--epochs 2")
    script = script.replace("--max-drop 0.02", "--max-drop 0.1")
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{HOST_BIN}:/usr/bin:/bin", "TF_NUM_INTRAOP_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    named = next((tmp_path / "models").iterdir())
    assert re.fullmatch(r"mnist_cnn-e2-b128-\d{8}T\d{6}Z", named.name)
    assert json.loads((named / "run.json").read_text())["labels"][9] == "Ankle boot"
    assert (tmp_path / "build" / "manifest.json").is_file() and list((tmp_path / "logs").iterdir())
    left = {"tiny/model.keras", "average.keras", "continued.npz"}
    assert {name for name in left if (tmp_path / name).is_file()} == left


def test_the_models_and_limits_are_those_of_the_code() -> None:
    """Names, smallest sides, widths, defaults."""
    page = PAGE.read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)`.*\| (\d+) x \d+ \|$", page, re.MULTILINE))
    modules = (cnn3, mnist_cnn, mobilenet_v2)
    assert rows == {module.NAME: str(module.MIN_SIDE) for module in modules}
    assert set(rows) == set(models.MODELS)
    assert all(str(width) in page for width in mobilenet_v2.WIDTHS)
    assert f"momentum of {mobilenet_v2.STATISTICS_MOMENTUM}" in page
    assert f"`--checkpoint-every` steps ({DEFAULT_CHECKPOINT_STEPS})" in page
    assert f"{BLOCK_BYTES >> 20} MB at most" in page and f"`--decay` ({Recipe().decay:g})" in page


def test_every_option_of_fit_is_on_the_page_and_every_option_there_exists() -> None:
    """No dead name in the docs, no secret in the program."""
    options = set()
    for command in ("split", "init", "fit", "evaluate"):
        done = subprocess.run(
            [HOST_BIN / "cloud-train", command, "--help"],
            capture_output=True,
            text=True,
            env={"COLUMNS": "200", "PATH": "/usr/bin"},
            check=True,
        )
        options |= {(command, name) for name in re.findall(r"--[a-z][a-z-]+", done.stdout)}
    page = PAGE.read_text()
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page))
    assert named - {name for _, name in options} - {"--max-drop", "--logdir"} == set()
    hidden = {"--help", "--client", "--learning-rate", "--batch-size"}
    assert {name for command, name in options if command == "fit"} - named - hidden == set()
    recipe = {f"--{entry.name.replace('_', '-')}" for entry in dataclasses.fields(Recipe)}
    assert recipe <= {name for command, name in options if command == "fit"}
