"""The models that can be trained: built from a name, initialised from a seed, written and read as .keras."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cloud_train import backend
from cloud_train.training import pretrained
from cloud_train.training.networks import cnn3, custom, mnist_cnn, mobilenet_v2
from cloud_train.training.weights import MOVING_MEAN, MOVING_VARIANCE, WEIGHT, Architecture, Weights
from host_cli import files
from host_cli.errors import WrongUsage


class Family(NamedTuple):
    """How a model is built, and what it takes: input = pixel (0 to 255) * scale + offset."""

    build: Callable[[Architecture], Any]
    scale: float = 1 / 255
    offset: float = 0.0


MODELS = {
    cnn3.NAME: Family(cnn3.build),
    mnist_cnn.NAME: Family(mnist_cnn.build),
    mobilenet_v2.NAME: Family(mobilenet_v2.build, scale=1 / 127.5, offset=-1.0),
}
_CUSTOM = Family(custom.build)
_HAVE_WIDTHS = {mobilenet_v2.NAME}

INITIAL_CLIENT = "initial"


def build_model(architecture: Architecture) -> Any:
    """Return an untrained Keras model.

    Args:
        architecture: its `model` is a key of MODELS, or MODULE:FUNC.

    Raises:
        WrongUsage: there is no such model or width, or the pictures are too small for it.
    """
    family = _family(architecture.model)
    if architecture.width != 1 and architecture.model not in _HAVE_WIDTHS:
        what = f"{architecture.model} has one width only"
        raise WrongUsage(what, f"--width {architecture.width:g}", f"--model {'|'.join(_HAVE_WIDTHS)}")
    return family.build(architecture)


def normalisation(architecture: Architecture) -> tuple[float, float]:
    """Return scale and offset of a model's input: input = pixel (0 to 255) * scale + offset.

    Raises:
        WrongUsage: there is no such model.
    """
    family = _family(architecture.model)
    return family.scale, family.offset


def initial_weights(architecture: Architecture, seed: int, backbone: Path | None = None) -> Weights:
    """Return the common initialisation: the same seed gives the same weights, on every shard.

    Averaging models that started at different points gives nothing: their neurons do not correspond.

    Args:
        architecture: what is initialised.
        seed: 0 to 2**32 - 1.
        backbone: a file with weights for all but the head, which is new; see `training.pretrained`.

    Raises:
        WrongUsage: there is no such model, or the file is damaged or of another width.
    """
    backend.keras().utils.set_random_seed(seed)
    model = build_model(architecture)
    if backbone is not None:
        pretrained.load_backbone(model, backbone)
    return Weights(
        architecture,
        INITIAL_CLIENT,
        num_examples=0,
        passes=0,
        tensors=tuple(model.get_weights()),
        figures={},
        roles=roles_of(model),
    )


def roles_of(model: Any) -> tuple[str, ...]:
    """Say what each of a Keras model's weights is: learned, or a statistic of BatchNorm."""
    names = (str(variable.path).rsplit("/", 1)[-1] for variable in model.weights)
    return tuple(name if name in (MOVING_MEAN, MOVING_VARIANCE) else WEIGHT for name in names)


def model_with(weights: Weights, where: str) -> Any:
    """Return a Keras model that holds `weights`.

    Args:
        weights: of any architecture that can be built.
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
        raise WrongUsage(what[:1000], where, "give weights of the same model")
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
    model = pretrained.read_keras(path, hint)
    if len(model.input_shape) != 4 or len(model.output_shape) != 2:
        what = f"it maps {model.input_shape} to {model.output_shape}, not pictures to one score per label"
        raise WrongUsage(what, str(path), hint)
    return model


def _family(model: str) -> Family:
    if custom.is_custom(model):
        return _CUSTOM
    if model not in MODELS:
        raise WrongUsage("there is no such model", model, "--model " + "|".join([*MODELS, "MODULE:FUNC"]))
    return MODELS[model]
