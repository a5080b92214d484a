"""The models become int8: what `cloud-train` leaves is what `quantize` takes."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_train.data.samples import Samples, save_samples
from cloud_train.training import leaving
from cloud_train.training.models import initial_weights
from cloud_train.training.weights import Architecture
from tests.house.conftest import HOST_BIN


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mobilenet_runs_on_the_edge_tpu_from_end_to_end(tmp_path: Path) -> None:
    """Width 0.35 at 96 x 96: no operator stays on the CPU, and its input is -1 to 1."""
    random = np.random.default_rng(0)
    x = (random.random((24, 96, 96, 3)) * random.integers(40, 256, (24, 1, 1, 3))).astype(np.uint8)
    save_samples(Samples(x, np.arange(24) % 3), tmp_path / "val.npz")
    weights = initial_weights(Architecture("mobilenet_v2", (96, 96, 3), 3, 0.35), seed=0)
    model = tmp_path / "animals.keras"
    # Nothing was learned, so nothing is sure; but the golden samples need a clear answer.
    *body, bias = weights.tensors
    weights = replace(weights, tensors=(*body, bias + np.float32([6, 0, 0])))
    leaving.leave(weights, str(model), tmp_path, data=tmp_path, history=())

    command = [
        HOST_BIN / "quantize",
        model,
        "--data",
        tmp_path / "val.npz",
        "-o",
        tmp_path / "build",
        "--json",
    ]
    command += ["--calibration-samples", "4", "--compile", "never", "--cpu-ops", "forbid"]
    command += ["--max-drop", "1", "--max-class-drop", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ops"]["cpu"] == 0
    prepared = json.loads((tmp_path / "build" / "preprocessing.json").read_text())
    assert (prepared["scale"], prepared["offset"]) == (1 / 127.5, -1.0)
