"""What the tests of the pipeline share: pictures as Caltech-101 has them, and small run definitions."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloud_train.runs.definition import DataPart, RunDefinition, RunnerPart

CLASSES = {"accordion": (0, 0), "airplanes": (0, 1), "anchor": (1, 0)}
PICTURES_PER_CLASS = 24


def write_caltech(path: Path) -> Path:
    """Write a .zip with a folder of uneven JPEGs for each class; the bright quarter tells the class."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for label, (row, column) in CLASSES.items():
            for number in range(1, PICTURES_PER_CLASS + 1):
                height, width = random.integers(20, 40, 2)
                pixels = random.integers(0, 60, (height, width, 3)).astype(np.uint8)
                rows = slice(row * height // 2, (row + 1) * height // 2)
                pixels[rows, column * width // 2 : (column + 1) * width // 2] += 150
                encoded = io.BytesIO()
                Image.fromarray(pixels).save(encoded, "JPEG")
                name = f"caltech-101/101_ObjectCategories/{label}/image_{number:04}.jpg"
                archive.writestr(name, encoded.getvalue())
    return path


@pytest.fixture
def definition() -> RunDefinition:
    """Two shards, three rounds."""
    return RunDefinition(
        name="caltech",
        data=DataPart(dataset="s3://reef/caltech-101.zip", shards=2),
        runner=RunnerPart(image="registry.example/reefline:1", cpu="2", memory="4Gi", retries=3, gpus=1),
    )
