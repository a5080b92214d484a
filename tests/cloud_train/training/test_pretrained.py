"""Weights from elsewhere: the backbone is theirs, the head is new, and what does not fit is refused."""

import warnings

import numpy as np
import pytest

from cloud_train.training.models import build_model, initial_weights
from cloud_train.training.pretrained import load_backbone
from cloud_train.training.weights import Architecture, save_weights
from host_cli.errors import WrongUsage

HERE = Architecture("mobilenet_v2", (32, 32, 3), 3, 0.35)
THERE = Architecture("mobilenet_v2", (32, 32, 3), 7, 0.35)


@pytest.fixture(scope="module")
def there():
    """A model that learned other labels elsewhere."""
    model = build_model(THERE)
    random = np.random.default_rng(5)
    model.set_weights([random.random(tensor.shape, np.float32) for tensor in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def wider():
    """A model with more filters."""
    return build_model(Architecture("mobilenet_v2", (32, 32, 3), 3, 1.0))


@pytest.fixture(scope="module")
def fresh():
    """The start of this training without any help."""
    return initial_weights(HERE, 0)


@pytest.fixture(scope="module")
def folder(there, tmp_path_factory):
    """The same weights in every kind of file."""
    folder = tmp_path_factory.mktemp("weights")
    start = initial_weights(THERE, 0)
    tensors = tuple(there.get_weights())
    save_weights(type(start)(THERE, "there", 9, 1, tensors, {}, start.roles), folder / "ours.npz")
    there.save(folder / "whole.keras")
    there.save_weights(folder / "keras3.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there.save(folder / "keras2.h5")  # the layout of keras.applications' files
    return folder


@pytest.mark.parametrize("name", ["ours.npz", "whole.keras", "keras3.weights.h5", "keras2.h5"])
def test_the_backbone_is_loaded_and_the_head_is_new(there, fresh, folder, name):
    """All but the last dense layer, from every kind of file."""
    found = initial_weights(HERE, 0, folder / name)
    for ours, theirs in zip(found.tensors[:-2], there.get_weights()[:-2], strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(found.tensors[-2], fresh.tensors[-2])
    assert found.tensors[-2].shape == (1280, 3)


@pytest.mark.parametrize("name", ["ours.npz", "whole.keras", "keras3.weights.h5", "keras2.h5"])
def test_weights_of_another_width_are_refused_by_name(wider, folder, name):
    """The first layer that differs is named with both shapes."""
    with pytest.raises(WrongUsage, match=r"layer Conv1 is \(3, 3, 3, 16\) in it, \(3, 3, 3, 32\)"):
        load_backbone(wider, folder / name)


@pytest.mark.parametrize("name", ["whole.keras", "keras3.weights.h5", "keras2.h5"])
def test_damaged_weights_are_refused(there, folder, tmp_path, truncate, name):
    """Half a file names itself."""
    (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(WrongUsage) as found:
        load_backbone(there, truncate(tmp_path / name))
    assert found.value.where == str(tmp_path / name)


def test_weights_of_another_model_are_refused(there, tmp_path):
    """cnn3 has fewer tensors than MobileNetV2."""
    save_weights(initial_weights(Architecture("cnn3", (32, 32, 3), 3), 0), tmp_path / "w.npz")
    with pytest.raises(WrongUsage, match="it has 10 tensors, mobilenet_v2 has 260"):
        load_backbone(there, tmp_path / "w.npz")


@pytest.mark.parametrize("name", ["missing.h5", "w.txt"])
def test_a_file_that_holds_no_weights_is_refused(there, tmp_path, name):
    """Missing, or of no known kind."""
    with pytest.raises(WrongUsage, match=r"no such file|no weights are read"):
        load_backbone(there, tmp_path / name)
