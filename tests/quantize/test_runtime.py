"""Running .tflite models."""

import subprocess
import sys

import numpy as np
import pytest

from contract.artifacts import Preprocessing, TensorSpec
from host_cli.errors import Failed
from quantize.runtime import describe_tensors, name_runtime, prepare_pixels, run_model

PIXELS = np.array([0, 1, 127, 255], np.uint8).reshape(1, 2, 2, 1)
PLAIN = Preprocessing(height=2, width=2, channels=1)


def spec(dtype: str, scale: float = 1 / 255, zero_point: int = 0) -> TensorSpec:
    return TensorSpec("image", (1, 2, 2, 1), dtype, scale, zero_point)


def test_uint8_inputs_are_the_pixels_themselves():
    """Scale 1/255 on both sides cancels out."""
    assert (prepare_pixels(PIXELS, PLAIN, spec("uint8")) == PIXELS).all()


def test_int8_inputs_are_shifted():
    """A zero point of -128 shifts the pixels."""
    found = prepare_pixels(PIXELS, PLAIN, spec("int8", zero_point=-128))
    assert found.dtype == np.int8 and found.reshape(-1).tolist() == [-128, -127, -1, 127]


def test_float_inputs_are_real_values():
    """pixel * scale + offset."""
    about = Preprocessing(height=2, width=2, channels=1, scale=2 / 255, offset=-1)
    found = prepare_pixels(PIXELS, about, spec("float32", 0.0))
    assert found.dtype == np.float32 and found.reshape(-1)[[0, 3]].tolist() == [-1, 1]


def test_values_beyond_the_range_are_clipped():
    """A narrower input range saturates, it does not wrap around."""
    found = prepare_pixels(PIXELS, PLAIN, spec("uint8", scale=1 / 510))
    assert found.reshape(-1).tolist() == [0, 2, 254, 255]


def test_runs_each_picture_and_tells_progress(int8_model, test_images):
    """One row of scores per picture, one call per picture."""
    done = []
    scores = run_model(int8_model, test_images[0][:7], done.append)
    assert scores.shape == (7, 10) and scores.dtype == np.uint8 and done == [1] * 7
    assert scores.sum(axis=1).tolist() == pytest.approx([256] * 7, abs=4)


def test_describes_input_and_output(int8_model):
    """Shape, dtype and quantization as the contract spells them."""
    entry, result = describe_tensors(int8_model)
    assert (entry.shape, entry.dtype, entry.zero_point) == ((1, 28, 28, 1), "uint8", 0)
    assert (result.shape, result.dtype, result.scale) == ((1, 10), "uint8", 1 / 256)


def test_refuses_what_is_no_model():
    """The interpreter's error becomes ours."""
    with pytest.raises(Failed):
        run_model(b"TFL3 nonsense", PIXELS)


def test_names_itself_with_version():
    """The report says who measured."""
    assert name_runtime().split()[0] in ("ai_edge_litert", "tensorflow")


def test_without_litert_tensorflow_runs_it_silently(int8_model, tmp_path):
    """`pip install '.[quantize]'` brings no ai_edge_litert; TensorFlow's chatter stays off the terminal."""
    (tmp_path / "model.tflite").write_bytes(int8_model)
    code = (
        "import sys; sys.modules['ai_edge_litert'] = None; from pathlib import Path;"
        "from quantize.runtime import describe_tensors, name_runtime;"
        "found = describe_tensors(Path(sys.argv[1]).read_bytes()); print(name_runtime(), found[0].shape)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.tflite")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("tensorflow 2.") and "(1, 28, 28, 1)" in done.stdout
    assert done.stderr == ""


def test_refuses_to_describe_what_is_no_model():
    """The same error as when it is run."""
    with pytest.raises(Failed):
        describe_tensors(b"TFL3 nonsense")
