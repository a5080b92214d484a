"""MODULE:FUNC: a network of the user's own, a function (image_shape, classes) that returns a Keras model."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloud_train import backend
from cloud_train.training.weights import Architecture
from host_cli.errors import WrongUsage

_HINT = "a function (image_shape, classes) that returns a keras.Model, in a module of this folder"
_SHOWN_CHARACTERS = 200


def is_custom(model: str) -> bool:
    """Say whether `model` is MODULE:FUNC."""
    return ":" in model


def build(architecture: Architecture) -> Any:
    """Import the module, call the function, and check what it returns.

    Raises:
        WrongUsage: there is no such function, it raises, or its model does not fit the data.
    """
    function = _find(architecture.model)
    try:
        model = function(architecture.image_shape, architecture.classes)
    except Exception as error:  # whatever the user's own code raises
        raise _refused(f"it raised {_said(error)}", architecture.model) from error
    if not isinstance(model, backend.keras().Model):
        raise _refused(f"it returned {type(model).__name__}, not a keras.Model", architecture.model)
    expected = ((None, *architecture.image_shape), (None, architecture.classes))
    try:
        found = (model.input_shape, model.output_shape)
    except (AttributeError, ValueError) as error:  # a subclassed model has no shapes before it is called
        raise _refused("its model has no fixed input", architecture.model) from error
    if found != expected:
        what = f"its model maps {found[0]} to {found[1]}, the data need {expected[0]} to {expected[1]}"
        raise _refused(what, architecture.model)
    return model


def _find(model: str) -> Callable[[tuple[int, ...], int], Any]:
    module, _, name = model.partition(":")
    with _this_folder_first():
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # not there, or the user's own code fails when it is imported
            raise _refused(f"it cannot be imported: {_said(error)}", model) from error
    if not callable(found):
        raise _refused(f"it is {type(found).__name__}, not a function", model)
    return found  # type: ignore[no-any-return]


@contextmanager
def _this_folder_first() -> Iterator[None]:
    # An installed program does not look for modules where it is called.
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)


def _refused(what: str, model: str) -> WrongUsage:
    return WrongUsage(what, f"--model {model}", _HINT)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:_SHOWN_CHARACTERS]
