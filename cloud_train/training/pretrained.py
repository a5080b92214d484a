"""Weights from elsewhere: a network's backbone, matched layer by layer, from Keras' files or our .npz."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cloud_train import backend
from cloud_train.data.samples import Array
from cloud_train.training.weights import load_weights
from host_cli.errors import WrongUsage

_HINT = "weights of this model and --width: .npz, .keras, .weights.h5, or .h5 as keras.applications has them"
_SHOWN_CHARACTERS = 200


def load_backbone(model: Any, path: Path) -> None:
    """Fill all layers before the head from a file; the head, a model's last dense layer, stays as it is.

    Args:
        model: a Keras model as `training.models` builds it.
        path: our weights (.npz), a Keras model (.keras), or Keras' weights (.h5, .weights.h5), with a head
            of any size or without one.

    Raises:
        WrongUsage: the file is damaged, or a layer of it has another shape: it is of another width or model.
    """
    backbone = [layer for layer in model.layers[: _head(model)] if layer.weights]
    expected = [(layer, variable) for layer in backbone for variable in layer.weights]
    if not expected:
        raise WrongUsage(f"{model.name} has no layers before its head", str(path), "leave out --pretrained")
    found = list(_tensors(path, backbone))
    if len(found) < len(expected):
        what = f"it has {len(found)} tensors, {model.name} has {len(expected)} before its head"
        raise WrongUsage(what, str(path), _HINT)
    for (layer, variable), tensor in zip(expected, found, strict=False):
        if tuple(variable.shape) != tensor.shape:
            what = f"layer {layer.name} is {tensor.shape} in it, {tuple(variable.shape)} in this {model.name}"
            raise WrongUsage(what, str(path), _HINT)
        if not np.isfinite(tensor).all():
            raise WrongUsage(f"layer {layer.name} has NaN or infinite values", str(path), _HINT)
        variable.assign(tensor.astype(np.float32))


def read_keras(path: Path, hint: str) -> Any:
    """Read a whole Keras model.

    Raises:
        WrongUsage: it is missing or damaged.
    """
    if not path.is_file():
        raise WrongUsage("there is no such file", str(path), hint)
    try:
        return backend.keras().saving.load_model(path, compile=False)
    except Exception as error:  # Keras has no error of its own: zip, JSON, HDF5 and Python errors all occur
        reason = str(error).splitlines()[0][:_SHOWN_CHARACTERS] if str(error) else type(error).__name__
        raise WrongUsage(f"it is no whole Keras model: {reason}", str(path), hint) from error


def _head(model: Any) -> int:
    # The place of the last layer that learns.
    return max(place for place, layer in enumerate(model.layers) if layer.weights)


def _tensors(path: Path, backbone: list[Any]) -> Iterator[Array]:
    # All tensors of a file in the order of the network.
    if path.suffix == ".npz":
        yield from load_weights(path).tensors
    elif path.suffix == ".keras":
        yield from read_keras(path, _HINT).get_weights()
    elif path.suffix == ".h5":
        yield from _from_hdf5(path, backbone)
    else:
        raise WrongUsage("no weights are read from such a file", str(path), _HINT)


def _from_hdf5(path: Path, backbone: list[Any]) -> list[Array]:
    import h5py

    if not path.is_file():
        raise WrongUsage("there is no such file", str(path), _HINT)
    try:
        with h5py.File(path, "r") as file:
            return list(_of_keras_2(file) if "layers" not in file else _of_keras_3(file, backbone))
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:_SHOWN_CHARACTERS]
        raise WrongUsage(f"it is no whole weights file: {reason}", str(path), _HINT) from error


def _of_keras_2(file: Any) -> Iterator[Array]:
    # The layers in the network's order, each with its tensors; a whole model keeps them in a group.
    root = file.get("model_weights", file)
    for layer in root.attrs["layer_names"]:
        group = root[_text(layer)]
        for tensor in group.attrs["weight_names"]:
            yield np.asarray(group[_text(tensor)])


def _of_keras_3(file: Any, backbone: list[Any]) -> Iterator[Array]:
    # layers/CLASS, layers/CLASS_1 ... in the network's order of each class; vars/0, vars/1 ... in each.
    turn: Counter[str] = Counter()
    for layer in backbone:
        kind = re.sub(
            "(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__
        ).lower()  # DepthwiseConv2D: depthwise_conv2d
        group = file["layers"][f"{kind}_{turn[kind]}" if turn[kind] else kind]["vars"]
        turn[kind] += 1
        for number in range(len(layer.weights)):
            yield np.asarray(group[str(number)])


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
