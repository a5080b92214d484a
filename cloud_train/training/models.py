"""The models that can be trained, made from a seed: input is pixel / 255, output one score per label."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud_train import backend
from cloud_train.training.weights import Architecture, Weights
from host_cli import files
from host_cli.errors import WrongUsage

CNN3_FILTERS = (32, 64, 128)
CNN3_DENSE_UNITS = 128
# Each pooling halves height and width, and the last one needs a pixel left.
CNN3_MIN_SIDE = 2 ** len(CNN3_FILTERS)
CNN3_MIDDLE = 3.0

INITIAL_CLIENT = "initial"


def build_model(architecture: Architecture) -> Any:
    """Return an untrained Keras model.

    Args:
        architecture: its `model` is a key of MODELS.

    Raises:
        WrongUsage: there is no such model, or the pictures are too small for it.
    """
    build = MODELS.get(architecture.model)
    if build is None:
        raise WrongUsage("there is no such model", architecture.model, "--model " + "|".join(MODELS))
    return build(architecture)


def initial_weights(architecture: Architecture, seed: int) -> Weights:
    """Return the common initialisation: the same seed gives the same weights, on every shard.

    Averaging models that started at different points gives nothing: their neurons do not correspond.
    """
    backend.keras().utils.set_random_seed(seed)
    tensors = tuple(build_model(architecture).get_weights())
    return Weights(architecture, INITIAL_CLIENT, num_examples=0, passes=0, tensors=tensors, figures={})


def model_with(weights: Weights, where: str) -> Any:
    """Return a Keras model that holds `weights`.

    Args:
        weights: of any architecture in MODELS.
        where: the file they come from, for the error.

    Raises:
        WrongUsage: the weights are not of the layers that their architecture says.
    """
    model = build_model(weights.architecture)
    put_weights(model, weights, where)
    return model


def put_weights(model: Any, weights: Weights, where: str) -> None:
    """Put weights into a model of their architecture.

    Raises:
        WrongUsage: they are not of the layers that their architecture says.
    """
    expected = [tuple(weight.shape) for weight in model.weights]
    found = [tensor.shape for tensor in weights.tensors]
    if found != expected:
        what = f"it has layers of the shapes {found}, {weights.architecture.model} has {expected}"
        raise WrongUsage(what, where, "give weights of the same model")
    model.set_weights(list(weights.tensors))


def save_model(weights: Weights, path: Path) -> None:
    """Write weights as a `.keras` file."""
    model = model_with(weights, str(path))
    files.write_with(path, model.save)


def load_model(path: Path) -> Any:
    """Read a `.keras` file.

    Raises:
        WrongUsage: it is missing, damaged, or no classifier of pictures.
    """
    hint = "give the model.keras that `cloud-train run` wrote"
    if not path.is_file():
        raise WrongUsage("there is no such file", str(path), hint)
    try:
        model = backend.keras().saving.load_model(path, compile=False)
    except Exception as error:  # Keras has no error of its own: zip, JSON, HDF5 and Python errors all occur
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise WrongUsage(f"it is no whole Keras model: {reason}", str(path), hint) from error
    if len(model.input_shape) != 4 or len(model.output_shape) != 2:
        what = f"it maps {model.input_shape} to {model.output_shape}, not pictures to one score per label"
        raise WrongUsage(what, str(path), hint)
    return model


def _build_cnn3(architecture: Architecture) -> Any:
    """Return a CNN whose int8 form keeps its scales from one round to the next.

    A model that was compiled for an Edge TPU takes new weights only where nothing else changes. Hence:

    - Dense layers are written as convolutions: these have a scale for each channel, which may change.
    - Hidden layers end with ReLU6, so that training cannot push their ranges far.
    - The logits have a fixed range, 0 to 12: the softmax computes with a table that follows from it.
    """
    keras = backend.keras()
    layers = keras.layers
    height, width, _ = architecture.image_shape
    if min(height, width) < CNN3_MIN_SIDE:
        what = f"pictures of {height} x {width} are too small for cnn3"
        raise WrongUsage(what, "--model cnn3", f"pictures of at least {CNN3_MIN_SIDE} x {CNN3_MIN_SIDE}")
    entry = x = keras.Input(architecture.image_shape)  # (height, width, channels) float32, 0 to 1
    for filters in CNN3_FILTERS:
        x = layers.Conv2D(filters, 3, padding="same", activation="relu6")(x)
        x = layers.MaxPooling2D(2)(x)
    whole = (height // CNN3_MIN_SIDE, width // CNN3_MIN_SIDE)
    # Keras' default counts the pixels of the kernel as outputs too, and would start too low.
    x = layers.Conv2D(CNN3_DENSE_UNITS, whole, activation="relu6", kernel_initializer="he_uniform")(x)
    # A logit that is clipped learns nothing, so they start in the middle.
    middle = keras.initializers.Constant(CNN3_MIDDLE)
    x = layers.Conv2D(architecture.classes, 1, activation="relu6", bias_initializer=middle)(x)
    x = layers.Flatten()(x)
    # Up to 6 alone, no score could pass 0.98 and half a point of accuracy was lost. A factor of 2, not a sum,
    # would cost half of the int8 levels: the converter gives a factor's input the scale of its output.
    scores = layers.Softmax()(layers.Add()([x, x]))
    return keras.Model(entry, scores, name="cnn3")


MODELS: dict[str, Callable[[Architecture], Any]] = {"cnn3": _build_cnn3}
