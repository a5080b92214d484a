"""What the tests of the inference rooms share: a tiny real model and the events of a worker."""

import queue
import threading
import time
from pathlib import Path

import pytest

from contract.artifacts import Preprocessing
from contract.codec import decode
from edge_agent.workers import ModelFiles

DATA = Path(__file__).resolve().parent / "data"


@pytest.fixture
def tiny_files() -> ModelFiles:
    """A real int8 model, 28x28 grey in, ten classes out."""
    return ModelFiles(
        model=DATA / "tiny.tflite",
        labels=DATA / "tiny_labels.txt",
        preprocessing=DATA / "tiny_preprocessing.json",
        golden=DATA / "tiny_golden.npz",
    )


@pytest.fixture
def tiny_labels(tiny_files):
    return tuple(tiny_files.labels.read_text(encoding="utf-8").split())


@pytest.fixture
def tiny_preprocessing(tiny_files) -> Preprocessing:
    return decode(Preprocessing, tiny_files.preprocessing.read_bytes())


@pytest.fixture
def golden(tiny_files):
    """Return the golden samples: inputs (20, 28, 28, 1) uint8, outputs (20, 10) uint8."""
    import numpy as np

    with np.load(str(tiny_files.golden)) as arrays:
        return arrays["inputs"], arrays["outputs"]


@pytest.fixture
def events():
    """A queue that a worker can post to."""
    return queue.Queue()


@pytest.fixture
def no_thread_left():
    """Fail the test if a thread that it started is still there at its end."""
    before = set(threading.enumerate())
    yield
    until_s = time.monotonic() + 3
    while set(threading.enumerate()) - before and time.monotonic() < until_s:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()
