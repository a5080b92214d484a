"""Finds the Keras layer that an operator was made from, by the names that the converter left. Pure rules."""

import re
from collections.abc import Iterator, Sequence

from quantize.tflite_model import Operator, TfliteModel

# Operators whose second input is their own: its name tells the layer better than that of a joined output.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "PRELU", "TRANSPOSE_CONV")

# How a layer's own code names its steps, below the layer's name; compared without their number. Keras' own
# names for layers are never among them.
_STEPS = {
    "Cast", "Einsum", "Elu", "Erfc", "ExpandDims", "FakeQuantWithMinMaxVars", "FusedBatchNorm", "Gelu",
    "HardSwish", "LeakyRelu", "Mean", "Pad", "PartitionedCall", "Prod", "Repeat", "Reshape", "Sigmoid",
    "Softmax", "Stack", "StatefulPartitionedCall", "Sum", "Tensordot", "Tile", "act_quant", "batchnorm",
    "conv_transpose", "depthwise", "einsum", "hard_sigmoid", "hard_silu", "l2_normalize", "moments",
    "separable_conv", "separable_conv2d", "silu", "strided_slice", "swish", "weights_quant",
}  # fmt: skip
_NUMBER = re.compile(r"_?\d+$")
# `quantize` lets every scope end in this, so that a number which tracing adds (`conv2d_1._2`) cannot be taken
# for the layer's own.
LAYER_MARK = "."
# So far back a layer's name still helps to find an operator that has none.
NEAR = 10

_MARKED = re.compile(r"([^/;]+)\.(?:_\d+)?(?=/)")
# Keras 3 gives every scope this number when a model is called again, as it is for converting it.
_CALLED_AGAIN = "_1"


def name_layers(model: TfliteModel) -> tuple[str | None, ...]:
    """Return each operator's layer, in the order of the file; None where no name tells it."""
    found = [_layer_of(operator) for operator in model.operators]
    named = [layer for layer in found if layer is not None]
    if all(layer.endswith(_CALLED_AGAIN) for layer in named):
        return tuple(None if layer is None else layer.removesuffix(_CALLED_AGAIN) for layer in found)
    return tuple(found)


def layer_before(layers: Sequence[str | None], index: int) -> str | None:
    """Return the nearest named layer shortly before an operator; None if there is none."""
    return next((layer for layer in reversed(layers[max(0, index - NEAR) : index]) if layer), None)


def tell_places(operators: Sequence[Operator], layers: Sequence[str | None]) -> tuple[str, ...]:
    """Say of each operator where it is: its layer, `after` the one before it, or else its tensor."""
    before = (layer_before(layers, index) for index in range(len(layers)))
    return tuple(
        layer or (f"after {near}" if near else operator.short_tensor)
        for operator, layer, near in zip(operators, layers, before, strict=True)
    )


def find_layer(name: str) -> str | None:
    """Return the layer that a tensor name tells of (`model/conv2d_1/Relu;...` -> `conv2d_1`), if any."""
    first = name.split(";")[0]
    marked = _MARKED.findall(first)
    if marked:
        return str(marked[-1])
    scopes = first.split("/")[:-1]
    while len(scopes) > 1 and {scopes[-1], _NUMBER.sub("", scopes[-1])} & _STEPS:
        scopes.pop()
    return scopes[-1] if scopes else None


def _layer_of(operator: Operator) -> str | None:
    return next((layer for name in _names(operator) if (layer := find_layer(name)) is not None), None)


def _names(operator: Operator) -> Iterator[str]:
    """Yield the names that may tell the layer, the most telling first."""
    joined = operator.tensor.split(";")
    if operator.name in _WEIGHTED:
        # The converter joins names from the last step back to the first, which is the weighted one.
        weights = [tensor for tensor in operator.present[1:2] if tensor.is_constant]
        yield from (name for tensor in weights for name in reversed(tensor.name.split(";")))
        yield from reversed(joined)
    else:
        yield from joined
