"""Tables that the Edge TPU compiler adds to the parameters for operators without weights. Pure numpy.

A table has rows of 16 words, of which 4 are used, one for each channel.

Source: found in recorded files, and equal to the bit in all that have them: SOFTMAX in those of compiler 16.0
(earlier ones have none), MUL and ADD in those of compiler 1.0.
"""

import math
from typing import Any

import numpy as np

from quantize.tflite_model import Operator, Tensor

LANES = 4
ROW_BYTES = 64

_ROW_WORDS = 16
_SOFTMAX_PARTS = 3

# They move channels about with matrices of ones and zeros, unless the channels come in blocks of 4.
_JOINTS = ("CONCATENATION", "SPLIT", "PACK", "SLICE", "STRIDED_SLICE")
# Seen to bring constants, or never seen mapped in a file whose constants are all known.
_OTHERS = (
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "L2_NORMALIZATION", "LOGISTIC", "TANH", "RSQRT",
    "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH", "TILE", "TRANSPOSE",
    "REDUCE_MAX", "REDUCE_MIN", "SUM",
)  # fmt: skip

Words = np.ndarray[Any, np.dtype[np.int32]]


def may_bring_constants(operator: Operator) -> bool:
    """Say whether an operator without weights may bring constants whose size is not known."""
    if operator.name in _JOINTS:
        return not is_plain_joint(operator)
    if operator.name == "RESHAPE":
        return len({is_map(tensor) for tensor in (*operator.present[:1], *operator.outputs)}) > 1
    holds = any(tensor.is_constant and tensor.dtype != "INT32" for tensor in operator.present)
    return holds or operator.name in _OTHERS


def is_plain_joint(operator: Operator) -> bool:
    """Say whether channels are moved in blocks of 4, for which no constants are needed."""
    moving = [tensor for tensor in (*operator.present, *operator.outputs) if not tensor.is_constant]
    return all(not tensor.shape or tensor.shape[-1] % LANES == 0 for tensor in moving)


def is_map(tensor: Tensor) -> bool:
    """Say whether a tensor has more than one row or column."""
    return math.prod(tensor.shape[1:-1]) > 1


def table_size(operator: Operator) -> int:
    """Return how many bytes an operator's table has, 0 if it has none or none that is known."""
    if operator.name == "SOFTMAX" and operator.present and operator.outputs:
        return _SOFTMAX_PARTS * _rows(_padded_channels(operator)) * ROW_BYTES
    if operator.name in ("ADD", "MUL"):
        return sum(_rows(vector.elements) * ROW_BYTES for vector in _vectors(operator)[:1])
    return 0


def build_table(operator: Operator) -> bytes:
    """Return an operator's table, empty if it has none, or has no scales to make it of."""
    moving = [tensor for tensor in (*operator.present, *operator.outputs) if not tensor.is_constant]
    scales = [np.float32(tensor.scales[0]) for tensor in moving if tensor.scales]
    if not table_size(operator) or len(scales) != len(moving) or len(scales) != 2:
        return b""
    # Scales of damaged files may be anything.
    with np.errstate(all="ignore"):
        if operator.name == "SOFTMAX":
            return _softmax(_padded_channels(operator), scales[0])
        (vector, *_) = _vectors(operator)
        return _multiplication(vector, *scales) if operator.name == "MUL" else _addition(vector, scales[0])


def _softmax(channels: int, scale: np.float32) -> bytes:
    """Keep the channels of padding out of the sum.

    Twice a bias of 0, the lowest int32 for padding; then the scale, times the largest float32 for padding.
    """
    is_padding = np.arange(_rows(channels) * LANES) >= channels
    bias = np.where(is_padding, np.iinfo(np.int32).min, 0).astype(np.int32)
    factors = np.where(is_padding, scale * np.finfo(np.float32).max, scale).astype(np.float32)
    return _in_rows(bias) * 2 + _in_rows(factors.view(np.int32))


def _multiplication(vector: Tensor, source: np.float32, output: np.float32) -> bytes:
    """Return a float32 factor for each channel, each step rounded to float32."""
    factors = _differences(vector).astype(np.float32) * np.float32(vector.scales[0])
    factors = factors * source * (np.float32(1) / output)
    return _in_rows(factors.view(np.int32))


def _addition(vector: Tensor, source: np.float32) -> bytes:
    """Return an int32 term for each channel, in units of the other input's scale."""
    terms = np.round(_differences(vector) * (vector.scales[0] / float(source)))
    return _in_rows(np.nan_to_num(terms).astype(np.int32))


def _differences(vector: Tensor) -> Words:
    assert vector.data is not None
    values = vector.data.view(np.int8 if vector.dtype == "INT8" else np.uint8)
    return values.astype(np.int32) - np.int32(vector.zero_point)


def _in_rows(words: Words) -> bytes:
    table = np.zeros((_rows(len(words)), _ROW_WORDS), np.int32)
    table[:, :LANES] = np.pad(words, (0, -len(words) % LANES)).reshape(-1, LANES)
    return table.tobytes()


def _rows(channels: int) -> int:
    return -(-channels // LANES)


def _padded_channels(operator: Operator) -> int:
    """Return a SOFTMAX's channels, 0 if none of its rows has padding."""
    channels = operator.outputs[0].shape[-1] if operator.outputs[0].shape else 0
    return channels if channels % LANES else 0


def _vectors(operator: Operator) -> list[Tensor]:
    """Return the constant inputs with one 8-bit value for each channel."""
    return [
        tensor
        for tensor in operator.present
        if tensor.data is not None
        and len(tensor.shape) == 1
        and tensor.dtype in ("INT8", "UINT8")
        and tensor.scales
        and tensor.data.size == tensor.elements
    ]
