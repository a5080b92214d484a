"""Comparing two files on the same pictures."""

import json
from pathlib import Path

import numpy as np
import pytest

from contract.artifacts import Preprocessing
from contract.codec import encode
from host_cli.errors import WrongUsage
from quantize.compare import compare_files
from tests.quantize.compiled_pairs import PAIRS, pairs


@pytest.fixture(scope="module")
def files(trained, outcome, tmp_path_factory) -> Path:
    """A folder with the same model as int8 and as float, and 200 pictures."""
    from quantize.convert.keras_file import load_keras
    from quantize.convert.ptq import convert_float

    folder = tmp_path_factory.mktemp("compare")
    (folder / "int8.tflite").write_bytes((outcome.bundle / "model.tflite").read_bytes())
    (folder / "float.tflite").write_bytes(convert_float(load_keras(trained / "model.keras")))
    with np.load(trained / "val.npz") as arrays:
        np.savez(folder / "val.npz", x=arrays["x"][:200], y=arrays["y"][:200])
    return folder


def test_float_and_int8_of_one_model_agree(files):
    """Both answer nearly alike, and the distance of their scores is told."""
    found = compare_files(files / "float.tflite", files / "int8.tflite", files / "val.npz")
    assert found.found.samples == 200 and found.found.agreement > 0.95
    assert 0 < found.score < 0.2 and found.lsb == pytest.approx(found.score * 256, abs=0.01)
    assert found.found.before > 0.7


def test_a_file_is_like_itself(files):
    """Not one score differs."""
    found = compare_files(files / "int8.tflite", files / "int8.tflite", files / "val.npz")
    assert (found.found.agreement, found.score, found.lsb) == (1.0, 0.0, 0.0)
    assert found.to_text().count("\n") == 3


def test_two_floats_have_no_steps(files):
    """Then there is nothing to count in."""
    found = compare_files(files / "float.tflite", files / "float.tflite", files / "val.npz")
    assert found.lsb is None and found.to_json()["largest_difference"] == {"score": 0.0, "lsb": None}


def test_tells_the_classes_that_differ(files):
    """As JSON for each class, as text only where something differs, within 80 columns."""
    found = compare_files(files / "float.tflite", files / "int8.tflite", files / "val.npz")
    about = json.loads(json.dumps(found.to_json()))
    assert sum(row["samples"] for row in about["per_class"]) == 200
    assert about["accuracy"].keys() == {"a", "b"} and about["ok"]
    lines = found.to_text().splitlines()
    differing = [one for one in found.found.per_class if one.lost or one.won]
    assert len(lines) == 4 + (2 + len(differing) if differing else 0)
    assert all(len(line) <= 80 for line in lines)


def test_the_preprocessing_beside_a_file_counts(files, tmp_path):
    """A bundle's model is fed as its bundle says."""
    for name in ("float.tflite", "val.npz"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    dark = Preprocessing(height=28, width=28, channels=1, scale=1e-6)
    (tmp_path / "preprocessing.json").write_bytes(encode(dark))
    found = compare_files(tmp_path / "float.tflite", files / "float.tflite", tmp_path / "val.npz")
    assert found.found.before < 0.3
    (tmp_path / "preprocessing.json").write_text("{}")
    with pytest.raises(WrongUsage, match="cannot use it"):
        compare_files(tmp_path / "float.tflite", files / "float.tflite", tmp_path / "val.npz")


def test_each_file_is_fed_as_its_own_bundle_says(files, tmp_path):
    """Two bundles may see pixels differently."""
    for name, scale in (("plain", 1 / 255), ("dark", 1e-6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.tflite").write_bytes((files / "float.tflite").read_bytes())
        about = Preprocessing(height=28, width=28, channels=1, scale=scale)
        (tmp_path / name / "preprocessing.json").write_bytes(encode(about))
    models = [tmp_path / name / "model.tflite" for name in ("plain", "dark")]
    found = compare_files(*models, files / "val.npz")
    assert found.found.before > 0.7 and found.found.after < 0.3


def test_refuses_what_does_not_fit(files, tmp_path):
    """Other classes, other pictures, no classifier, a compiled file, no file: each says so."""
    good, data = files / "int8.tflite", files / "val.npz"
    np.savez(tmp_path / "large.npz", x=np.zeros((2, 32, 32, 1), np.uint8), y=np.zeros(2, int))
    with pytest.raises(WrongUsage, match="the model takes"):
        compare_files(good, good, tmp_path / "large.npz")
    with pytest.raises(WrongUsage, match="cannot read"):
        compare_files(good, tmp_path / "absent.tflite", data)
    (tmp_path / "text.tflite").write_text("hello")
    with pytest.raises(WrongUsage, match="not a usable"):
        compare_files(tmp_path / "text.tflite", good, data)


def test_refuses_a_compiled_file(files):
    """It runs beside an Edge TPU only."""
    with pytest.raises(WrongUsage, match="only beside an Edge TPU"):
        compare_files(PAIRS / pairs()[0]["compiled_file"], files / "int8.tflite", files / "val.npz")


def test_refuses_another_number_of_classes(files, tmp_path):
    """Ten against four."""
    import keras

    from quantize.convert.ptq import convert_float

    layers = [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
    (tmp_path / "four.tflite").write_bytes(convert_float(keras.Sequential(layers)))
    with pytest.raises(WrongUsage, match="4 classes in A, 10 in B"):
        compare_files(tmp_path / "four.tflite", files / "int8.tflite", files / "val.npz")
