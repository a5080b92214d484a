"""The models: what they are made of, what they take, and what is refused."""

import numpy as np
import pytest

from cloud_train.training import models
from cloud_train.training.models import build_model, initial_weights, load_model, model_with, normalisation
from cloud_train.training.weights import Architecture
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import ARCHITECTURE, SIDE, make_weights

MOBILENET = Architecture("mobilenet_v2", (32, 32, 3), 5, 0.35)


def test_cnn3_has_the_size_it_says():
    """241,546 parameters on Fashion-MNIST, and one probability per label."""
    model = build_model(Architecture("cnn3", (28, 28, 1), 10))
    assert model.count_params() == 241_546
    assert model.output_shape == (None, 10)


def test_the_logits_of_cnn3_have_a_fixed_range():
    """Whatever is learned, the softmax sees 0 to 12; and no layer is dense, with a single scale."""
    import keras

    model = build_model(ARCHITECTURE)
    for sign in (1, -1):
        model.set_weights([np.full_like(tensor, sign * 9) for tensor in model.get_weights()])
        logits = keras.Model(model.inputs, model.layers[-1].input).predict(
            np.ones((1, SIDE, SIDE, 1)), verbose=0
        )
        assert set(logits.reshape(-1).tolist()) == {12.0 if sign > 0 else 0.0}
    assert not any(isinstance(layer, keras.layers.Dense) for layer in model.layers)


def test_mnist_cnn_is_the_samples_network():
    """1,199,882 parameters on MNIST, as everywhere; ReLU6 in place of ReLU."""
    model = build_model(Architecture("mnist_cnn", (28, 28, 1), 10))
    assert model.count_params() == 1_199_882
    activations = [layer.get_config().get("activation") for layer in model.layers]
    assert activations.count("relu6") == 3 and "relu" not in activations


@pytest.mark.parametrize(("width", "filters"), [(0.35, 1280), (1.4, 1792)])
def test_mobilenet_comes_in_widths(width, filters):
    """The width decides the filters; the head has a score for each label."""
    model = build_model(Architecture("mobilenet_v2", (32, 32, 3), 5, width))
    assert model.get_layer("head").kernel.shape == (filters, 5)


def test_the_statistics_of_batchnorm_are_told_from_weights():
    """So that an average can treat them as what they are."""
    weights = initial_weights(MOBILENET, seed=0)
    roles = dict.fromkeys(weights.roles, 0)
    for role, tensor in zip(weights.roles, weights.tensors, strict=True):
        roles[role] += 1
        if role != "weight":
            assert np.all(tensor == (role == "moving_variance"))  # as they start
    assert roles == {"weight": 52 + 2 * 52 + 2, "moving_mean": 52, "moving_variance": 52}
    assert set(make_weights().roles) == {"weight"}


def test_every_model_says_what_its_input_is():
    """input = pixel * scale + offset: 0 to 1, or -1 to 1."""
    assert normalisation(ARCHITECTURE) == (1 / 255, 0.0)
    scale, offset = normalisation(MOBILENET)
    assert (0 * scale + offset, round(255 * scale + offset, 12)) == (-1.0, 1.0)


def test_the_seed_decides_the_initialisation():
    """Every shard can make the common start for itself."""
    start = initial_weights(ARCHITECTURE, seed=0)
    assert initial_weights(ARCHITECTURE, seed=0).digest() == start.digest()
    assert initial_weights(ARCHITECTURE, seed=1).digest() != start.digest()


@pytest.mark.parametrize(
    ("model", "shape", "width", "reason"),
    [
        ("cnn3", (7, 28, 1), 1.0, "7 x 28 are too small for cnn3"),
        ("mnist_cnn", (5, 5, 1), 1.0, "too small"),
        ("mobilenet_v2", (31, 32, 3), 1.0, "too small"),
        ("mobilenet_v2", (32, 32, 3), 0.6, "no mobilenet_v2 of width 0.6"),
        ("cnn3", (28, 28, 1), 0.5, "one width only"),
        ("cnn9", (28, 28, 1), 1.0, "no such model"),
    ],
)
def test_what_cannot_be_built_is_refused(model, shape, width, reason):
    """Too small pictures, unknown names and widths."""
    with pytest.raises(WrongUsage, match=reason):
        build_model(Architecture(model, shape, 10, width))


def test_weights_of_other_layers_are_refused():
    """The error shows both lists of shapes."""
    with pytest.raises(WrongUsage, match="layers of the shapes"):
        model_with(make_weights(), "w.npz")


def test_a_damaged_model_is_refused(tmp_path, truncate):
    """Half a .keras file is an error of three lines, not a traceback."""
    models.save_model(initial_weights(ARCHITECTURE, 0), tmp_path / "model.keras")
    with pytest.raises(WrongUsage, match="no whole Keras model"):
        load_model(truncate(tmp_path / "model.keras"))


OWN = """
import keras
def good(image_shape, classes):
    entry = keras.Input(image_shape)
    return keras.Model(entry, keras.layers.Dense(classes, "softmax")(keras.layers.Flatten()(entry)))
def small(image_shape, classes):
    return good((2, 2, 1), classes)
def raises(image_shape, classes):
    raise RuntimeError("out of ideas")
def wrong(image_shape, classes):
    return 3
number = 4
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


def test_a_function_of_the_users_builds_a_model(own_module):
    """It is imported from the current folder, and named in the weights."""
    architecture = Architecture("own_networks:good", (SIDE, SIDE, 1), 4)
    weights = initial_weights(architecture, 0)
    assert model_with(weights, "w.npz").output_shape == (None, 4)
    assert normalisation(architecture) == (1 / 255, 0.0)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("nowhere_at_all:good", "cannot be imported: ModuleNotFoundError"),
        ("own_networks:missing", "cannot be imported: AttributeError"),
        ("own_networks:number", "it is int, not a function"),
        ("own_networks:raises", "it raised RuntimeError: out of ideas"),
        ("own_networks:wrong", "it returned int, not a keras.Model"),
        ("own_networks:small", r"maps \(None, 2, 2, 1\)"),
    ],
)
def test_a_function_that_makes_no_fitting_model_is_refused(own_module, model, reason):
    """Missing, raising, or of wrong shapes: the error says which."""
    with pytest.raises(WrongUsage, match=reason) as found:
        build_model(Architecture(model, (SIDE, SIDE, 1), 4))
    assert found.value.where == f"--model {model}"
