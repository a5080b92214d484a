"""The arithmetic of the TFLite converter: from float weights and biases to numbers and scales. Pure numpy.

Source: the TFLite 8-bit quantization specification. Rounding, the smallest range and the room for a bias are
not in it: they were measured on TensorFlow 2.21, where 280,000 weights, a half of them ties, came out equal.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantize.tflite_model import Tensor

# int8 weights are symmetric; the kernels of the uint8 days could not multiply by 0 (gemmlowp, LhsNonzero).
WEIGHT_LIMITS = {"INT8": (-127, 127), "UINT8": (1, 255)}
BIAS_MAX = 2**31 - 1

_DTYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT32": np.int32, "FLOAT32": np.float32}
_SYMMETRIC_MAX = np.float32(127)
# Smaller weights than this are treated as if one of them were as large.
_SMALLEST_RANGE = np.float32(5e-7)
# A channel's scale is made larger if its bias would not fit into half of int32.
_ROOM_FOR_BIAS = np.float32(2**30)

Floats = NDArray[np.float32]
Array = NDArray[Any]


def channel_scales(weights: Floats, axis: int, bias: Floats, input_scale: float) -> Floats:
    """Return the symmetric int8 scale of each channel.

    Args:
        weights: a layer's float weights.
        axis: their output channels.
        bias: one number for each channel; their scale will be scale of input * scale of weights.
        input_scale: scale of the layer's input.
    """
    others = tuple(each for each in range(weights.ndim) if each != axis)
    scales = np.maximum(np.abs(weights).max(axis=others), _SMALLEST_RANGE) / _SYMMETRIC_MAX
    least = np.abs(bias) / _ROOM_FOR_BIAS / np.float32(input_scale)
    found: Floats = np.maximum(scales, least)
    return found


def bias_scales(input_scale: float, weight_scales: Sequence[float] | Floats) -> Floats:
    """Return the scales of a layer's bias: scale of input * scale of weights, in float32."""
    found: Floats = np.float32(input_scale) * np.asarray(weight_scales, np.float32)
    return found


def to_steps(values: Floats, like: Tensor, scales: Sequence[float] | Floats) -> NDArray[np.float64]:
    """Return values * (1 / scale) in float32, rounded, plus zero point: whole numbers, not clipped.

    Args:
        values: in the shape of `like`.
        like: the tensor whose numbers they shall become; its axis and zero points count.
        scales: one, or one for each channel of `like`.
    """
    steps = (values * (np.float32(1) / along(like, scales))).astype(np.float64)
    return np.trunc(steps + np.copysign(0.5, steps)) + along(like, like.zero_points)


def along(tensor: Tensor, values: Sequence[float] | Floats) -> Floats:
    """Shape one value for each channel so that numpy spreads them over a tensor; a single one is a scalar."""
    found = np.asarray(values, np.float32)
    if found.size == 1:
        return found.reshape(())
    sizes = [1] * len(tensor.shape)
    sizes[tensor.quantized_dimension] = found.size
    return found.reshape(sizes)


def dtype_of(tensor: Tensor) -> Any:
    """Return numpy's name for a tensor's dtype; KeyError if it is none that weights have."""
    return _DTYPES[tensor.dtype]


def numbers_of(tensor: Tensor) -> Array:
    """Return a constant's numbers in its own shape and dtype.

    Raises:
        ValueError: it is no constant of a dtype that weights have, or its bytes are not of its shape.
    """
    if tensor.data is None or tensor.dtype not in _DTYPES:
        raise ValueError(f"{tensor.name} is no constant of whole numbers or float32")
    return tensor.data.view(_DTYPES[tensor.dtype]).reshape(tensor.shape)
