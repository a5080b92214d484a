"""Loads a `.keras` file from a stranger: runs no code of its own, lets it not ask for unbounded memory."""

import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from host_cli.errors import CommandError, WrongUsage
from host_cli.quiet import quiet
from quantize.convert.constructs import walk

# A flatbuffer holds 2 GiB; on its way to int8 a model is written with 4 bytes for each parameter.
MAX_PARAMETERS = 500_000_000
# The parameters, and as much again for an optimizer's state, of which a trained model may hold two copies.
MAX_UNPACKED_BYTES = 3 * 4 * MAX_PARAMETERS
MAX_ENTRIES = 1000
MAX_CONFIG_BYTES = 64 * 1024 * 1024
# The output of one layer for one picture: 1 GiB in float32.
MAX_ACTIVATION_ELEMENTS = 2**28

_CONFIG = "config.json"
# What TensorFlow takes as the name of a scope, which a layer becomes (Keras itself is less strict).
_LAYER_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\>-]*")


def load_keras(path: Path) -> Any:
    """Load a `.keras` file.

    Raises:
        WrongUsage: not a `.keras` file, one with code in it, one too large, one whose weights are not finite,
            or no classifier of pictures.
    """
    if not path.exists():
        raise WrongUsage("there is no such file", str(path), "save the model with model.save('model.keras')")
    if not path.is_file() or not zipfile.is_zipfile(path):
        hint = "load it where it was made, and save it again with model.save('model.keras')"
        raise WrongUsage("not a .keras file", str(path), hint)
    try:
        with quiet():
            import keras

            _require_bounded(path)
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    except CommandError:
        raise
    except Exception as error:  # Keras raises whatever the damaged part raises.
        what = f"cannot load the model: {type(error).__name__}: {error}".splitlines()[0][:200]
        hint = "save it again with builtin layers only: model.save('model.keras')"
        raise WrongUsage(what, str(path), hint) from error
    _require_classifier(model, path)
    _require_names(model, path)
    _require_finite(model, path)
    return _without_lists(model)


def _require_bounded(path: Path) -> None:
    """Refuse a file that would need more memory than a model for a board ever does, before it is unpacked."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        config_bytes = archive.getinfo(_CONFIG).file_size
        if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED_BYTES or config_bytes > MAX_CONFIG_BYTES:
            raise _too_large(path, f"{len(entries)} entries unpack to {unpacked} bytes")
        config = json.loads(archive.read(_CONFIG))
    parameters, activation = _measure(config)
    if parameters > MAX_PARAMETERS:
        raise _too_large(path, f"it describes {parameters} parameters, at most {MAX_PARAMETERS} are taken")
    if activation > MAX_ACTIVATION_ELEMENTS:
        what = f"a layer gives {activation} values, at most {MAX_ACTIVATION_ELEMENTS} are taken"
        raise _too_large(path, what)


def _measure(config: Any) -> tuple[int, int]:
    """Count the parameters and the largest layer's outputs that a config describes; nothing is allocated."""
    import keras

    described = {key: value for key, value in config.items() if key != "compile_config"}
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(described, safe_mode=True)
    parameters = sum(math.prod(variable.shape) for variable in model.variables)
    outputs = (tensor for layer in walk(model) for tensor in keras.tree.flatten(layer.output))
    activation = max((math.prod(size or 1 for size in tensor.shape) for tensor in outputs), default=0)
    # Else Keras would create the variables that were only described.
    keras.utils.clear_session(free_memory=False)
    return parameters, activation


def _too_large(path: Path, why: str) -> WrongUsage:
    return WrongUsage(
        f"the model is too large: {why}", str(path), "give a model for pictures of a board's size"
    )


def _require_classifier(model: Any, path: Path) -> None:
    inputs, outputs = ([tuple(x.shape) for x in side or []] for side in (model.inputs, model.outputs))
    if not (len(inputs) == len(outputs) == 1 and len(inputs[0]) == 4 and len(outputs[0]) == 2):
        hint = "one input (batch, height, width, channels), one output (batch, classes)"
        raise WrongUsage(f"not a classifier of pictures: {inputs} -> {outputs}", str(path), hint)
    if None in (*inputs[0][1:], outputs[0][1]):
        hint = "fix the size where the model is built: keras.Input((224, 224, 3))"
        raise WrongUsage(f"the model leaves its size open: {inputs[0]} -> {outputs[0]}", str(path), hint)
    if outputs[0][1] == 1:
        hint = "train it with one score per class: Dense(2, activation='softmax') in place of Dense(1)"
        raise WrongUsage("the model gives a single score, no class to choose", str(path), hint)


def _require_names(model: Any, path: Path) -> None:
    """Refuse names with which the converter breaks down, without telling why."""
    import keras

    for named in (model, *walk(model)):
        if not isinstance(named, keras.layers.InputLayer) and not _LAYER_NAME.fullmatch(named.name):
            what = f"TensorFlow cannot take {named.name[:60]!r} as the name of a layer"
            raise WrongUsage(what, str(path), "rename it where the model is built: letters, digits, . _ -")


def _without_lists(model: Any) -> Any:
    """Return a model built with lists of one input and one output as one that takes and gives a tensor."""
    import keras

    has_lists = not isinstance(model, keras.Sequential) and list in map(type, (model.input, model.output))
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name) if has_lists else model


def _require_finite(model: Any, path: Path) -> None:
    for layer in walk(model):
        for variable in getattr(layer, "weights", ()):
            values = np.asarray(variable)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                what = f"{variable.name} of layer {layer.name} holds values that are not finite"
                raise WrongUsage(what, str(path), "train again, with a smaller learning rate")
