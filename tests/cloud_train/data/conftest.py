"""Pictures in class folders, as files that the tests of `data` share."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("ant", "camera", "watch")
PER_CLASS = 6


def picture_bytes(seed: int, size: tuple[int, int] = (40, 30), kind: str = "JPEG", **options) -> bytes:
    """A file with a picture of smooth noise; `size` is width and height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file, kind, **options)
    return file.getvalue()


def write_classes(root: Path, classes=CLASSES, per_class: int = PER_CLASS) -> Path:
    """Write ROOT/ant/image_0001.jpg and so on."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            path = root / name / f"image_{index + 1:04d}.jpg"
            path.write_bytes(picture_bytes(100 * number + index))
    return root


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    """Three classes of six pictures."""
    return write_classes(tmp_path / "pictures")
