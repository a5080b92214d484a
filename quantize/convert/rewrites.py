"""Writes single Keras layers in another way that computes the same and that the Edge TPU can run.

Each form was measured with TensorFlow 2.21: it comes out of the converter as operators that TensorFlow Lite
2.5 reads and the Edge TPU has, where the layer itself does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantize.convert.constructs import name_kind

# What two ways of summing the same float32 numbers may differ by, in parts of the largest result.
TOLERANCE = 1e-4
# The random inputs reach beyond the corners of relu6(x + 3).
_SPREAD = 4.0
_DEFAULT_SLOPE = 0.2

Call = Callable[..., Any]


@dataclass(frozen=True)
class Rewrite:
    """What takes a layer's place: `call` maps the same input to the same output."""

    layer: str
    how: str
    call: Call

    def __str__(self) -> str:
        return f"{self.layer}: {self.how}"


def find_rewrite(operation: Any) -> Rewrite | None:
    """Return another way to compute a layer or operation, tried on random numbers; None to leave it be."""
    core = _find_core(operation)
    activation = _find_activation(operation)
    if core is None and activation is None:
        return None
    hows = [how for how, _ in filter(None, (core, activation))]
    rewrite = Rewrite(operation.name, ", ".join(hows), _compose(operation, core, activation))
    return rewrite if _computes_the_same(operation, rewrite.call) else None


_Part = tuple[str, Call]


def _find_core(operation: Any) -> _Part | None:
    """Return another form of a layer without its activation function."""
    kind = name_kind(operation)
    if kind in _OPERATIONS:
        return _OPERATIONS[kind]
    if kind == "conv2d" and operation.groups > 1 and _is_channels_last(operation):
        return _split_groups(operation)
    if kind == "dense" and len(operation.input.shape) == 4:
        return "dense over a map -> 1x1 convolution", _as_convolution(operation)
    if kind == "upsampling2d" and operation.interpolation == "nearest" and _is_channels_last(operation):
        return "nearest upsampling -> nearest resize", _as_resize(operation)
    if kind == "leakyrelu" or (kind == "relu" and _is_leaky(operation)):
        return _LEAKY, _as_prelu(operation.name, float(operation.negative_slope))
    return None


def _find_activation(operation: Any) -> _Part | None:
    """Return another form of a layer's activation function."""
    activation = getattr(operation, "activation", None)
    kind = name_kind(activation)
    if kind == "leakyrelu":
        slope = float(getattr(activation, "negative_slope", _DEFAULT_SLOPE))
        return _LEAKY, _as_prelu(f"{operation.name}_prelu", slope)
    return _OPERATIONS.get(kind) if kind == "hardsilu" else None


def _compose(operation: Any, core: _Part | None, activation: _Part | None) -> Call:
    plain = getattr(operation, "activation", None)
    inner = core[1] if core else _without_activation(operation)
    outer = activation[1] if activation else plain
    # The layers' other arguments (training, mask) change nothing in what stands here.
    return lambda x, *_, **__: outer(inner(x)) if outer else inner(x)


def _computes_the_same(operation: Any, call: Call) -> bool:
    import keras

    shape = [size or _SIDE for size in operation.input.shape]
    numbers = np.random.default_rng(0).normal(0, _SPREAD, shape).astype(np.float32)
    expected, found = (np.asarray(way(keras.ops.convert_to_tensor(numbers))) for way in (operation, call))
    limit = TOLERANCE * float(np.abs(expected).max(initial=0))
    return expected.shape == found.shape and bool(np.all(np.abs(expected - found) <= limit))


def _without_activation(layer: Any) -> Call:
    if name_kind(layer) == "activation":
        return lambda x: x
    twin = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    twin.build(layer.input.shape)
    twin.set_weights(layer.get_weights())
    return twin  # type: ignore[no-any-return]


def _split_groups(layer: Any) -> _Part:
    import keras

    inputs, outputs = layer.kernel.shape[2], layer.filters // layer.groups
    config = {key: layer.get_config()[key] for key in ("kernel_size", "padding", "strides", "dilation_rate")}
    kernel, bias = layer.get_weights() if layer.use_bias else (*layer.get_weights(), None)
    if inputs == 1 and len(set(layer.strides)) == 1:
        whole = keras.layers.DepthwiseConv2D(
            depth_multiplier=outputs, use_bias=layer.use_bias, name=layer.name, **config
        )
        shape = (*kernel.shape[:2], layer.groups, outputs)
        return "one group per channel -> depthwise convolution", _fill(whole, kernel.reshape(shape), bias)
    parts = []
    for group in range(layer.groups):
        own = slice(group * outputs, (group + 1) * outputs)
        part = keras.layers.Conv2D(outputs, use_bias=layer.use_bias, name=f"{layer.name}_{group}", **config)
        parts.append(_fill(part, kernel[..., own], None if bias is None else bias[own]))

    def call(x: Any) -> Any:
        pieces = keras.ops.split(x, layer.groups, axis=-1)
        return keras.ops.concatenate([part(piece) for part, piece in zip(parts, pieces, strict=True)], -1)

    return f"{layer.groups} groups -> split, convolutions, concatenation", call


def _as_convolution(layer: Any) -> Call:
    import keras

    kernel, bias = layer.get_weights() if layer.use_bias else (*layer.get_weights(), None)
    twin = keras.layers.Conv2D(layer.units, 1, use_bias=layer.use_bias, name=layer.name)
    return _fill(twin, kernel[np.newaxis, np.newaxis], bias)


def _fill(layer: Any, kernel: Any, bias: Any) -> Call:
    layer.build((None, None, None, kernel.shape[2]))
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return layer  # type: ignore[no-any-return]


def _as_resize(layer: Any) -> Call:
    import keras

    def call(x: Any) -> Any:
        size = tuple(side * factor for side, factor in zip(x.shape[1:3], layer.size, strict=True))
        return keras.ops.image.resize(x, size, interpolation="nearest")

    return call


def _as_prelu(name: str, slope: float) -> Call:
    import keras

    twin: Call | None = None

    def call(x: Any) -> Any:
        nonlocal twin
        if twin is None:
            slopes = keras.initializers.Constant(slope)
            twin = keras.layers.PReLU(slopes, shared_axes=list(range(1, x.ndim - 1)) or None, name=name)
        return twin(x)

    return call


def _hard_silu(x: Any) -> Any:
    import keras

    # In this order; else the converter puts HARD_SWISH back, which the Edge TPU does not have.
    return (x * (1 / 6)) * keras.ops.relu6(x + 3.0)


def _is_channels_last(layer: Any) -> bool:
    return bool(layer.data_format == "channels_last")


def _is_leaky(layer: Any) -> bool:
    slope, limit, threshold = (
        getattr(layer, name, 0) for name in ("negative_slope", "max_value", "threshold")
    )
    return bool(slope) and limit is None and not threshold


_SIDE = 8
_LEAKY = "leaky relu -> PReLU with one slope"
_OPERATIONS: dict[str, _Part] = {
    "hardsilu": ("hard silu -> x/6 * relu6(x + 3)", _hard_silu),
    "negative": ("-x -> x * -1", lambda x: x * -1.0),
    "square": ("square -> x * x", lambda x: x * x),
}
