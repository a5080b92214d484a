"""What the tests of the server share: a model that needs no training, pictures for it, a real server."""

import io
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloud_train import backend
from cloud_train.serving.served_model import ServedModel
from contract.artifacts import Preprocessing, RunRecord, TensorSpec
from contract.codec import encode
from contract.messages import ModelVersion
from host_cli import files

with warnings.catch_warnings():
    # It asks for httpx2 where httpx does.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient as TestClient

SIDE = 8
LABELS = ("upper left", "upper <right>", "lower left", "lower right")
PROGRAM = Path(sys.executable).with_name("cloud-train")
PATIENCE_S = 60
# How sure the model is when one quarter is white and the others are black.
SURENESS = 4.0


def pytest_configure(config: pytest.Config) -> None:
    # wordcloud leaves closing its font to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed file.*DroidSansMono:ResourceWarning")
    config.addinivalue_line(
        "filterwarnings", "ignore:Exception ignored in.*DroidSansMono:pytest.PytestUnraisableExceptionWarning"
    )


def picture(quarter: int, kind: str = "PNG", side: int = SIDE) -> bytes:
    """A square picture with one white quarter."""
    half = side // 2
    pixels = np.zeros((side, side), np.uint8)
    row, column = divmod(quarter, 2)
    pixels[row * half : (row + 1) * half, column * half : (column + 1) * half] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def tensor(*quarters: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """The model's input for pictures with one white quarter each, (N, 8, 8, 1) float32."""
    found = np.zeros((len(quarters), SIDE, SIDE, 1), np.float32)
    half = SIDE // 2
    for index, quarter in enumerate(quarters):
        row, column = divmod(quarter, 2)
        found[index, row * half : (row + 1) * half, column * half : (column + 1) * half] = 1
    return found


class StandIn:
    """Plays the model without TensorFlow: the same answers, and a test may make it slow, wrong or NaN."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, inputs):  # type: ignore[no-untyped-def]
        self.batches.append(len(inputs))
        half = SIDE // 2
        means = inputs.reshape(len(inputs), 2, half, 2, half).mean(axis=(2, 4)).reshape(len(inputs), 4)
        scores = np.exp(SURENESS * means)
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)

    def served(self) -> ServedModel:
        return ServedModel(
            version=ModelVersion("quarters", "abc123", "ab" * 32),
            labels=LABELS,
            preprocessing=Preprocessing(SIDE, SIDE, 1),
            taken=TensorSpec("pixels", (1, SIDE, SIDE, 1), "float32"),
            given=TensorSpec("scores", (1, len(LABELS)), "float32"),
            run=lambda inputs: self.run(inputs),
        )


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; its model tells which quarter is the brightest."""
    folder = tmp_path_factory.mktemp("run")
    keras = backend.keras()
    entry = keras.Input((SIDE, SIDE, 1), name="pixels")
    means = keras.layers.Flatten()(keras.layers.AveragePooling2D(SIDE // 2)(entry))
    scores = keras.layers.Dense(len(LABELS), activation="softmax", name="scores")
    model = keras.Model(entry, scores(means))
    scores.set_weights([SURENESS * np.eye(len(LABELS)), np.zeros(len(LABELS))])
    model.save(folder / "model.keras")
    write_record(folder)
    return folder


def write_record(folder: Path, **more: object) -> None:
    """Write the run.json that belongs to the model in a folder, or one with other values."""
    values = {
        "name": "quarters",
        "model": files.describe(folder / "model.keras"),
        "labels": LABELS,
        "preprocessing": Preprocessing(SIDE, SIDE, 1),
        "created": "2026-11-21T03:20:00.123Z",
        **more,
    }
    files.write_bytes(folder / "run.json", encode(RunRecord(**values)))  # type: ignore[arg-type]


class Process:
    """`cloud-train serve` as a person starts it, on a free port."""

    def __init__(self, *arguments: object) -> None:
        environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "COLUMNS": "80"}
        self.process = subprocess.Popen(
            [PROGRAM, "serve", *map(str, arguments), "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.said = json.loads(self.process.stdout.readline() or "{}")
        self.url = self.said.get("url", "")
        self.address = self.url.removeprefix("http://")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


@pytest.fixture(scope="session")
def server(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The one real server of these tests; its logs lie in the folder `logs`."""
    folder = tmp_path_factory.mktemp("server")
    config = folder / "serve.json"
    config.write_text(
        json.dumps(
            {
                "model": str(run_folder),
                "read_s": 1.0,
                "log": {"folder": str(folder / "logs"), "max_bytes": 4096, "files": 2},
                "seen_file": str(folder / "seen.json"),
            }
        )
    )
    found = Process("-c", config)
    found.folder = folder  # type: ignore[attr-defined]
    yield found
    if found.process.poll() is None:
        assert found.stop() == 0
