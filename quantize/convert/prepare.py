"""Prepares a Keras model for conversion: refuses what cannot work, rewrites what can be written better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from host_cli.errors import Failed
from host_cli.quiet import quiet
from quantize.convert.constructs import require_usable, walk
from quantize.convert.rewrites import TOLERANCE, Rewrite, find_rewrite

Rewrites = Mapping[int, Rewrite]

_HINT = "use relu6, bilinear upsampling and convolutions without groups, which need no rewriting"


@dataclass(frozen=True)
class Prepared:
    """A model to give to `ptq.convert`, and what was written differently: `layer: old -> new`.

    `model` computes what the original does, up to the rounding of float32; without rewrites it is the
    original itself. `rewrites` belongs into the recipe.
    """

    model: Any
    rewrites: tuple[str, ...]


def prepare(model: Any, where: str) -> Prepared:
    """Make a Keras classifier fit for the boards; to be called before `ptq.convert`. It needs no data.

    Args:
        model: the Keras model, as `load_keras` gave it; it stays as it is.
        where: the model's file, for errors.

    Raises:
        GateNotMet: a layer cannot work: it is named, with its replacement.
        Failed: the model with its layers rewritten does not compute the same.
    """
    require_usable(model, where)
    try:
        with quiet():
            rewrites = {id(part): found for part in walk(model) if (found := find_rewrite(part))}
            if not rewrites:
                return Prepared(model, ())
            rewritten = _retrace(model, rewrites, (1, *model.inputs[0].shape[1:]))
            difference = compare_models(model, rewritten)
    except Exception as error:  # Keras raises whatever a layer makes of its new neighbour.
        what = f"cannot rewrite the model: {type(error).__name__}: {error}".splitlines()[0][:200]
        raise Failed(what, where, _HINT) from error
    if not difference <= TOLERANCE:
        raise Failed(f"the rewritten model differs by {difference:.2g} of its range", where, _HINT)
    return Prepared(rewritten, tuple(str(rewrite) for rewrite in rewrites.values()))


def _retrace(model: Any, rewrites: Rewrites, shape: tuple[int, ...]) -> Any:
    """Build the model again for an input of this shape; layers without a rewrite are shared with the old."""
    import keras

    def pick(part: Any) -> Any:
        if id(part) in rewrites:
            return rewrites[id(part)].call
        return rebuild(part) if isinstance(part, keras.Model) else part

    def rebuild(inner: Any) -> Any:
        """Return a stand-in for a model that takes the sizes it is really given, where its own are open."""
        clones: dict[str, Any] = {}

        def call(x: Any, *_: Any, **__: Any) -> Any:
            shapes = str([tensor.shape for tensor in keras.tree.flatten(x)])
            if shapes not in clones:
                plain = _plain(inner, f"{inner.name}_{len(clones)}" if clones else inner.name)
                entry = keras.tree.map_structure(_input_like, x)
                clones[shapes] = keras.models.clone_model(plain, input_tensors=entry, clone_function=pick)
            return clones[shapes](x)

        return call

    entry = keras.Input(batch_shape=shape, name="image")
    return keras.Model(entry, rebuild(model)(entry), name=model.name)


def _input_like(tensor: Any) -> Any:
    import keras

    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype)


def _plain(model: Any, name: str) -> Any:
    """Return a Sequential, or a model with lists of one input and output, as a plain functional model."""
    import keras

    if len(model.inputs) == len(model.outputs) == 1:
        return keras.Model(model.inputs[0], model.outputs[0], name=name)
    return model


def compare_models(model: Any, rewritten: Any) -> float:
    """Return how far two models differ on one random picture, in parts of the largest score."""
    shape = (1, *model.inputs[0].shape[1:])
    picture = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    scores, again = (np.asarray(each(picture, training=False)) for each in (model, rewritten))
    largest = float(np.abs(scores).max(initial=np.finfo(np.float32).tiny))
    return float(np.abs(scores - again).max(initial=0)) / largest
