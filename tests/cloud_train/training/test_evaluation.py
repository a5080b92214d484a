"""Measuring a model file: as its weights, with the input it was made for."""

import numpy as np
import pytest

from cloud_train.data.samples import Samples, save_samples
from cloud_train.training.evaluation import evaluate
from cloud_train.training.examiner import Examiner
from cloud_train.training.models import initial_weights, save_model
from cloud_train.training.weights import Architecture
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import ARCHITECTURE, make_samples

TEST = make_samples(80, seed=9)


@pytest.fixture
def data(tmp_path):
    save_samples(TEST, tmp_path / "test.npz")
    return str(tmp_path / "test.npz")


def test_a_saved_model_answers_as_its_weights(tmp_path, data):
    """What is measured in memory is what the file holds; its name says what it takes."""
    start = initial_weights(ARCHITECTURE, 0)
    save_model(start, tmp_path / "model.keras")
    found = evaluate(str(tmp_path / "model.keras"), data, tmp_path / "work")
    assert found.measured.figures() == Examiner(TEST).measure(start, "start")
    assert found.said_by == "the model's name, cnn3" and found.labels == ("0", "1", "2", "3")


def test_a_label_without_pictures_has_no_accuracy(tmp_path):
    """Nor is it 0."""
    samples = Samples(TEST.x[TEST.y != 2], TEST.y[TEST.y != 2])
    save_samples(samples, tmp_path / "test.npz")
    save_model(initial_weights(ARCHITECTURE, 0), tmp_path / "model.keras")
    found = evaluate(str(tmp_path / "model.keras"), str(tmp_path / "test.npz"), tmp_path / "work")
    assert found.to_json()["per_class"][2] == {"label": "2", "accuracy": None}
    assert "2: no pictures" in found.to_text()


def test_a_model_of_unknown_make_is_taken_to_see_0_to_1(tmp_path, data):
    """And the result says that nobody said so."""
    import keras

    entry = keras.Input((8, 8, 1))
    dense = keras.layers.Dense(4, "softmax")
    model = keras.Model(entry, dense(keras.layers.GlobalAveragePooling2D()(entry)), name="mine")
    dense.set_weights([np.array([[9.0, 0, 0, 0]]), np.zeros(4)])
    model.save(tmp_path / "mine.keras")
    found = evaluate(str(tmp_path / "mine.keras"), data, tmp_path / "work")
    assert found.scaling == (1 / 255, 0.0) and found.said_by == "nobody: there is no run.json"
    assert found.measured.confusion[:, 0].tolist() == [20] * 4


def test_a_model_for_other_pictures_is_refused(tmp_path, data):
    """8 x 8 pictures do not go into a model of 16 x 16."""
    save_model(initial_weights(Architecture("cnn3", (16, 16, 1), 4), 0), tmp_path / "model.keras")
    with pytest.raises(WrongUsage, match=r"\(8, 8, 1\), expected \(16, 16, 1\)"):
        evaluate(str(tmp_path / "model.keras"), data, tmp_path / "work")


def test_a_damaged_run_record_is_refused(tmp_path, data):
    """It would be a guess what the model takes."""
    save_model(initial_weights(ARCHITECTURE, 0), tmp_path / "model.keras")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(WrongUsage, match="payload is not valid JSON"):
        evaluate(str(tmp_path / "model.keras"), data, tmp_path / "work")


def test_measuring_tells_how_far_it_is(tmp_path, data, capsys):
    """A large held-out part takes minutes; nobody should wonder."""
    save_model(initial_weights(ARCHITECTURE, 0), tmp_path / "model.keras")
    evaluate(str(tmp_path / "model.keras"), data, tmp_path / "work")
    assert f"measuring {tmp_path / 'model.keras'}: 80 pictures in" in capsys.readouterr().err
    Examiner(TEST).measure(initial_weights(ARCHITECTURE, 0), "round 1")
    assert "measuring round 1: 80 pictures in" in capsys.readouterr().err
