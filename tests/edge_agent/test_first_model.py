"""The first model, deploy/flashing/first_model: what a new board is asked its own code answers right."""

import io
import queue
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.config import InferenceConfig
from edge_agent.events import IMAGE, Classified, WorkerAnswered, WorkerReady, WorkerTested
from edge_agent.inference.workers import ModelFiles, Worker

BUNDLE = Path(__file__).resolve().parents[2] / "deploy" / "flashing" / "first_model"
MOST_BYTES = 16 * 1024
WAIT_S = 30


@pytest.fixture(scope="module")
def worker():
    """A real inference process with the model loaded, and the queue of its events."""
    events: queue.Queue = queue.Queue()
    files = ModelFiles(
        model=BUNDLE / "model.tflite",
        labels=BUNDLE / "labels.txt",
        preprocessing=BUNDLE / "preprocessing.json",
        golden=BUNDLE / "golden.npz",
    )
    worker = Worker.start(1, files, InferenceConfig(), events.put)
    assert isinstance(events.get(timeout=WAIT_S), WorkerReady)
    yield worker, events
    worker.stop()


def draw(mode, color, size=(640, 480), form="PNG"):
    data = io.BytesIO()
    Image.new(mode, size, color).save(data, form)
    return data.getvalue()


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        (draw("L", 255), "bright"),
        (draw("L", 0), "dark"),
        (draw("RGB", (255, 255, 255), form="JPEG"), "bright"),
        (draw("RGB", (0, 0, 0), form="JPEG"), "dark"),
        (draw("L", 200, size=(1, 1)), "bright"),
        (draw("RGB", (60, 60, 60)), "dark"),
    ],
)
def test_white_is_bright_and_black_is_dark(worker, picture, label):
    """Whatever the picture's size and form, and nearly sure of it."""
    process, events = worker
    process.submit(1, IMAGE, picture)
    event = events.get(timeout=WAIT_S)
    assert isinstance(event, WorkerAnswered) and isinstance(event.result, Classified)
    best = event.result.top[0]
    assert best.label == label and best.score > 0.95


def test_its_golden_samples_pass(worker):
    """A board tests them before it takes the model."""
    process, events = worker
    process.test(BUNDLE / "golden.npz", WAIT_S)
    event = events.get(timeout=WAIT_S)
    assert isinstance(event, WorkerTested)
    assert event.result.top1_agreement == 1.0 and event.result.max_lsb <= 1


def test_it_is_small():
    """It travels with every installation, and to every new board."""
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) < MOST_BYTES
