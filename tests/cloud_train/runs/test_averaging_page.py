"""Promises of docs/averaging.md: its commands lead from an empty folder to a verified model."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from cloud_train.averaging.screening import MAX_EXAMPLES, OUTLIER_FACTOR
from cloud_train.averaging.settings import RULES, Averaging
from cloud_train.runs.definition import DataPart, ModelPart, TrainingPart
from tests.house.conftest import HOST_BIN, ROOT
from tests.house.pages import commands_of

PAGE = ROOT / "docs" / "averaging.md"
PICTURES = Path("/usr/share/datasets/fashion-mnist")


def small(block: str) -> str:
    """A block with fewer pictures, shards and rounds."""
    for old, new in (
        ("limit = 6000", "limit = 300"),
        ("rounds = 3", "rounds = 1"),
        ("shards = 3", "shards = 2"),
    ):
        block = block.replace(old, new)
    return block


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not PICTURES.is_dir(), reason="the package dataset-fashion-mnist is not installed")
def test_the_page_leads_from_an_empty_folder_to_a_verified_model(tmp_path):
    """Run, verify, average by another rule, evaluate, resume."""
    script = "\n".join(["set -e", *(small(block) for block in commands_of(PAGE))])
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "PATH": f"{HOST_BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=380
    )
    assert done.returncode == 0, done.stderr
    assert "run: 1 rounds of 2 updates lead from the shards to the model" in done.stdout
    assert {"run", "median.keras", "train.toml"} == {path.name for path in tmp_path.iterdir()}


def test_the_page_names_every_key_of_a_run_definition():
    """And every rule, and the limits of the screening."""
    page = PAGE.read_text()
    rows = dict(re.findall(r"^\| `\[(\w+)\]` \| (.*) \|$", page, re.MULTILINE))
    for section, kind in (
        ("data", DataPart),
        ("model", ModelPart),
        ("training", TrainingPart),
        ("averaging", Averaging),
    ):
        assert set(re.findall(r"`([a-z_]+)`", rows[section])) >= set(kind.__dataclass_fields__), section
    assert all(f"| `{rule}` |" in page for rule in RULES)
    assert f"{MAX_EXAMPLES:,}" in page and f"more than {OUTLIER_FACTOR:.0f} times" in page


def test_the_benchmark_of_averaging_still_runs():
    """Its figures are not judged here; without flwr it says so."""
    command = [HOST_BIN / "python", "-m", "benchmarks.train_average", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert "bytes, file to raw: 1.003, at most 1.01 allowed: kept" in done.stdout, done.stderr
    assert "results of all orders: 1.000" in done.stdout or "skipped, no comparison" in done.stdout
