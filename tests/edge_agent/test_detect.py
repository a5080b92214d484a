"""Promises of commands.detect, on a real detector."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.artifacts import TensorSpec
from edge_agent.cli import main
from edge_agent.commands.detect import Task, _choose_range, detect
from edge_agent.errors import RequestError
from tests.edge_agent.conftest import DATA


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A wide picture with a red square and a blue one."""
    pixels = np.zeros((128, 256, 3), np.uint8)
    pixels[:32, 64:128, 0] = 255
    pixels[64:96, 192:, 2] = 200
    path = tmp_path / "squares.png"
    Image.fromarray(pixels).save(str(path))
    return path


def test_it_prints_what_corals_program_prints(picture: Path, tmp_path: Path, capsys) -> None:
    """Times, then each object with its box in pixels; the picture with frames is written."""
    framed = tmp_path / "framed.png"
    model = str(DATA / "detector.tflite")
    labels = str(DATA / "detector_labels.txt")
    assert main(["detect", "-m", model, "-i", str(picture), "-l", labels, "-o", str(framed), "-c", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "----INFERENCE TIME----"
    assert lines[2].endswith(" ms") and lines[4] == "-------RESULTS--------"
    assert lines[5:7] == ["red", "  id:     0"] and lines[9] == "blue"
    assert lines[8].startswith("  bbox:   BBox(xmin=6") and "ymax=3" in lines[8]
    before, after = (np.asarray(Image.open(str(path))) for path in (picture, framed))
    assert before.shape == after.shape and (before != after).any()


def test_a_threshold_may_leave_nothing(picture: Path, capsys) -> None:
    """That is said, and is no failure."""
    assert main(["detect", "-m", str(DATA / "detector_tf2.tflite"), "-i", str(picture), "-t", "0.999"]) == 0
    assert capsys.readouterr().out.endswith("No objects detected\n")


def test_a_classifier_is_no_detector(picture: Path) -> None:
    """It is told by a code, as is a picture that cannot be written."""
    with pytest.raises(RequestError, match="not objects but classes"):
        detect(Task(str(DATA / "tiny.tflite"), picture))
    with pytest.raises(RequestError, match="cannot write"):
        detect(Task(str(DATA / "detector.tflite"), picture, output=Path("/no/such/folder/a.png")))


@pytest.mark.parametrize(
    ("spec", "pixels"),
    [
        (TensorSpec("x", (1, 2, 2, 3), "uint8", 1 / 128, 128), (-1.0, 127 / 128)),
        (TensorSpec("x", (1, 2, 2, 3), "int8", 1 / 255, -128), (0.0, 1.0)),
        (TensorSpec("x", (1, 2, 2, 3), "float32"), (-1.0, 127 / 128)),
    ],
)
def test_pixels_fill_the_models_range(spec: TensorSpec, pixels: "tuple[float, float]") -> None:
    """Detectors take them as they are; nobody has to say a mean."""
    scale, offset = _choose_range(spec)
    assert (offset, 255 * scale + offset) == pytest.approx(pixels)
