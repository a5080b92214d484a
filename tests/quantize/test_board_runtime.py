"""The int8 model in the boards' own runtime: TensorFlow Lite 2.5 on CPython 3.7."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCORE = ROOT / "scripts" / "score_tflite.py"
OLD_PYTHON = Path(os.environ.get("REEFLINE_TF25_PYTHON", ROOT / ".venv-tf25" / "bin" / "python"))
PROCESSES = 2
LARGEST_DIFFERENCE = 0.002


def score(python: Path, model: Path, data: Path, processes: int) -> dict:
    """Score all samples, in parts side by side, and put the parts together."""
    with np.load(data) as arrays:
        total = len(arrays["y"])
    part = -(-total // processes)
    running = [
        subprocess.Popen(
            [str(python), str(SCORE), str(model), str(data), "--start", str(start), "--count", str(part)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for start in range(0, total, part)
    ]
    parts = [json.loads(process.communicate()[0]) for process in running]
    right = sum(found["accuracy"] * found["samples"] for found in parts)
    samples = sum(found["samples"] for found in parts)
    return {**parts[0], "accuracy": right / samples, "samples": samples}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_boards_runtime_scores_like_todays(outcome, test_images, tmp_path):
    """On all 10,000 Fashion-MNIST test images the two differ by at most 0.2 points."""
    if not OLD_PYTHON.is_file():
        pytest.skip(f"no CPython 3.7 with TensorFlow 2.5.3 at {OLD_PYTHON}: set REEFLINE_TF25_PYTHON")
    np.savez(tmp_path / "test.npz", x=test_images[0], y=test_images[1])
    model = outcome.bundle / "model.tflite"
    today = score(Path(sys.executable), model, tmp_path / "test.npz", 1)
    board = score(OLD_PYTHON, model, tmp_path / "test.npz", PROCESSES)
    print(f"{today} against {board}")
    assert board["version"].startswith("2.5.") and board["samples"] == today["samples"] == 10_000
    assert today["accuracy"] > 0.75
    assert abs(today["accuracy"] - board["accuracy"]) <= LARGEST_DIFFERENCE
