"""The int8 model in the boards' own runtime: TensorFlow Lite 2.5 on CPython 3.7."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from quantize.oldest_runtime import ask
from quantize.runtime import run_model

ROOT = Path(__file__).parents[2]
OLD_PYTHON = Path(os.environ.get("REEFLINE_OLDEST_RUNTIME", ROOT / ".venv-tf25" / "bin" / "python"))
PROCESSES = 2
LARGEST_DIFFERENCE = 0.002


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_boards_runtime_scores_like_todays(outcome, test_images):
    """On all 10,000 Fashion-MNIST test images the two differ by at most 0.2 points."""
    if not OLD_PYTHON.is_file():
        pytest.skip(f"no CPython 3.7 with TensorFlow 2.5.3 at {OLD_PYTHON}: set REEFLINE_OLDEST_RUNTIME")
    content = (outcome.bundle / "model.tflite").read_bytes()
    images, labels = test_images
    split = np.array_split(images, PROCESSES)
    with ThreadPoolExecutor(PROCESSES) as side_by_side:
        parts = list(side_by_side.map(lambda part: ask(OLD_PYTHON, content, part, timeout_s=550), split))
    board = np.concatenate([part.outputs for part in parts])
    today = run_model(content, images)
    scored = [float((outputs.argmax(axis=1) == labels).mean()) for outputs in (today, board)]
    print(f"{scored[0]:.4f} today, {scored[1]:.4f} with {parts[0].runtime}")
    assert parts[0].runtime.startswith("tensorflow 2.5.") and len(board) == 10_000
    assert scored[0] > 0.75
    assert abs(scored[0] - scored[1]) <= LARGEST_DIFFERENCE
