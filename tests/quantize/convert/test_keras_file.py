"""`.keras` files from strangers."""

import json
import zipfile

import numpy as np
import pytest

from host_cli.errors import WrongUsage
from quantize.convert import keras_file
from quantize.convert.keras_file import load_keras


def save(model, path):
    model.save(path)
    return path


def build(*middle, shape=(8, 8, 1)):
    import keras

    return keras.Sequential(
        [keras.Input(shape), *middle, keras.layers.Flatten(), keras.layers.Dense(2, name="last")]
    )


def change_config(path, change):
    """Rewrite the model's description, and leave its weights."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    change(config)
    entries["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def refusal(path) -> WrongUsage:
    with pytest.raises(WrongUsage) as error:
        load_keras(path)
    assert "\n" not in error.value.what and error.value.where == str(path) and error.value.hint
    return error.value


@pytest.mark.parametrize("kind", ["absent", "text", "truncated", "zip"])
def test_refuses_what_is_no_keras_file(tmp_path, trained, kind):
    """The error tells how to save one."""
    path = tmp_path / "model.keras"
    content = (trained / "model.keras").read_bytes()
    if kind == "zip":
        np.savez(tmp_path / "other.npz", x=np.zeros(3))
        content = (tmp_path / "other.npz").read_bytes()
    if kind != "absent":
        path.write_bytes({"text": b"hello", "truncated": content[:1000], "zip": content}[kind])
    with pytest.raises(WrongUsage) as error:
        load_keras(path)
    assert "model.save" in error.value.hint


def test_refuses_code_in_a_model(tmp_path):
    """A lambda layer is somebody's code; it is not run."""
    import keras

    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Lambda(lambda x: x[:, 0, 0])])
    with pytest.raises(WrongUsage):
        load_keras(save(model, tmp_path / "model.keras"))


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    """What it would unpack to stands in its directory, and has a limit."""
    path = save(build(), tmp_path / "model.keras")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb", "w") as entry:
        for _ in range(100):
            entry.write(bytes(2**20))
    assert load_keras(path)
    limit = keras_file.MAX_UNPACKED_BYTES
    try:
        keras_file.MAX_UNPACKED_BYTES = 2**26
        assert "too large" in refusal(path).what
    finally:
        keras_file.MAX_UNPACKED_BYTES = limit


def test_a_description_of_a_huge_layer_is_not_built(tmp_path):
    """A few bytes can ask for terabytes: parameters are counted before there are any."""
    path = save(build(), tmp_path / "model.keras")

    def grow(config):
        config["config"]["layers"][-1]["config"]["units"] = 10**12

    assert "parameters" in refusal(change_config(path, grow)).what


def test_a_huge_activation_is_not_computed(tmp_path):
    """Layers without parameters can ask for as much."""
    from keras import layers

    path = save(build(layers.UpSampling2D(), layers.GlobalAveragePooling2D()), tmp_path / "model.keras")

    def grow(config):
        config["config"]["layers"][1]["config"]["size"] = [10**5, 10**5]

    assert "values" in refusal(change_config(path, grow)).what


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    """The layer is named; int8 would hide it."""
    model = build()
    model.layers[-1].set_weights([np.full((64, 2), value), np.zeros(2)])
    found = refusal(save(model, tmp_path / "model.keras"))
    assert "kernel of layer last" in found.what


@pytest.mark.parametrize("kind", ["two inputs", "two outputs", "open size", "map out", "text in"])
def test_refuses_what_does_not_classify_one_picture(tmp_path, kind):
    """One picture of a fixed size in, one row of scores out."""
    import keras
    from keras import layers

    entry, other = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    scores = layers.Dense(2)(layers.Flatten()(entry))
    model = {
        "two inputs": lambda: keras.Model([entry, other], layers.Dense(2)(layers.Flatten()(entry + other))),
        "two outputs": lambda: keras.Model(entry, [scores, layers.Softmax()(scores)]),
        "open size": lambda: keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D()]),
        "map out": lambda: keras.Model(entry, layers.Conv2D(2, 3)(entry)),
        "text in": lambda: keras.Sequential([keras.Input((8,)), layers.Dense(2)]),
    }[kind]()
    found = refusal(save(model, tmp_path / "model.keras"))
    assert ("open" if kind == "open size" else "not a classifier") in found.what


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(tmp_path, share):
    """Wherever the download ended."""
    path = save(build(), tmp_path / "model.keras")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


@pytest.mark.parametrize(
    "config", ["[]", "null", "{}", '{"class_name": "x"}', "[" * 100_000, "{", '{"config": 1}']
)
def test_any_description_but_a_models_is_refused(tmp_path, config):
    """Other JSON, and no JSON."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
    refusal(path)


def test_damaged_weights_are_refused(tmp_path):
    """Every byte of the weights may have flipped."""
    path = save(build(), tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, bytes(255 - b for b in content) if name.endswith("h5") else content)
    refusal(path)


def test_lists_of_one_input_and_output_are_taken(tmp_path):
    """Called with a picture, such a model would warn each time."""
    import keras

    entry = keras.Input((8, 8, 1))
    scores = keras.layers.Dense(2)(keras.layers.Flatten()(entry))
    model = load_keras(save(keras.Model([entry], [scores]), tmp_path / "model.keras"))
    assert model(np.zeros((1, 8, 8, 1))).shape == (1, 2)


def test_a_trained_model_is_loaded_without_its_optimizer(trained):
    """Measuring what a file describes leaves no trace: the weights are those of the file."""
    first, second = (load_keras(trained / "model.keras") for _ in range(2))
    assert not first.compiled
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        assert (one == other).all() and np.abs(one).max() > 0


def test_an_absent_file_is_told_as_such(tmp_path):
    """A mistyped name is no damaged model."""
    assert refusal(tmp_path / "absent.keras").what == "there is no such file"


def test_a_single_score_is_refused(tmp_path):
    """One sigmoid chooses no class; the error says what to train in its place."""
    import keras

    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    found = refusal(save(model, tmp_path / "model.keras"))
    assert "single score" in found.what and "Dense(2, activation='softmax')" in found.hint


@pytest.mark.parametrize("name", ["my layer", "päärynä", "_private", "a:b"])
def test_a_name_that_breaks_the_converter_is_refused(tmp_path, name):
    """Keras allows it, TensorFlow does not, and the converter would not tell why."""
    from keras import layers

    found = refusal(save(build(layers.ReLU(name=name)), tmp_path / "model.keras"))
    assert repr(name) in found.what and "rename" in found.hint


def test_the_name_of_an_input_does_not_matter(tmp_path):
    """The converted model gets an input of its own."""
    import keras
    from keras import layers

    entry = keras.Input((8, 8, 1), name="my picture")
    model = keras.Model(entry, layers.Dense(2)(layers.Flatten()(entry)))
    assert load_keras(save(model, tmp_path / "model.keras"))
