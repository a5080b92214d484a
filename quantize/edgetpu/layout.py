"""Lays one layer's parameters out as the Edge TPU compiler does, byte for byte. Pure numpy.

The layout was found by comparing recorded originals with what the compiler made of them:

- Output channels go in groups: 64 at a time if there are more than 64, else all of them, rounded up to 16 (a
  convolution of up to 4: to 4). Each group is a header, then its weights, for each kernel position and each
  block of 4 input channels: output channel by output channel, 4 inputs each, in the uint8 domain.
- The header of a layer with one scale is its bias. With a scale for each channel it is float32 multipliers,
  the bias, int32 weight zero points; the multipliers are left out if all scales are equal (the scale then is
  part of the program). A bias of zeros is left out.
- A depthwise convolution goes 4 channels at a time, each channel on the diagonal of a 4 x 4 block. From a
  single input channel it is an ordinary convolution.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantize.tflite_model import Operator, Tensor

WEIGHT_OPS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
BLOCK = 4
MAX_CHANNELS = 65_536

_GROUP_CHANNELS = 64
_ROUND_CHANNELS = 16
# What turns a stored weight into uint8: flipping the sign bit adds 128.
_TO_UINT8 = {"INT8": 0x80, "UINT8": 0}

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Variant:
    """What differs between layers for reasons that the file alone does not tell; the default is the rule.

    `blocks_first`: input blocks before kernel positions. `zero_rows`: channels up to the next multiple of 4
    are filled with 0 (compilers of 2019), not with the weight zero point. `zero_header`: the same for their
    zero points in the header. `dense`: a depthwise convolution laid out as an ordinary one.
    """

    blocks_first: bool = False
    zero_rows: bool = False
    zero_header: bool = False
    dense: bool = False


def has_weights(operator: Operator) -> bool:
    """Say whether an operator's parameters are of a kind that this layout covers."""
    weights = operator.inputs[1] if len(operator.inputs) > 1 else None
    return (
        operator.name in WEIGHT_OPS
        and weights is not None
        and weights.data is not None
        and weights.dtype in _TO_UINT8
        and weights.elements == weights.data.size > 0
        and len(weights.shape) == (2 if operator.name == "FULLY_CONNECTED" else 4)
        and len(weights.scales) in (1, _output_channels(operator, weights))
        and weights.has_equal_zero_points
        and 0 <= _zero_point(weights) <= np.iinfo(np.uint8).max
        and 0 < _output_channels(operator, weights) <= MAX_CHANNELS
        and _fits_bias(operator, _output_channels(operator, weights))
        and (weights.has_equal_scales or _has_factors(operator))
    )


def usual_variant(operator: Operator) -> Variant:
    """Return the variant that the rule gives."""
    return Variant(dense=operator.name == "DEPTHWISE_CONV_2D" and _input_channels(operator) == 1)


def variants(operator: Operator) -> tuple[Variant, ...]:
    """Return every variant that would make a difference for an operator, the usual one first."""
    weights = _weights(operator)
    usual = usual_variant(operator)
    is_odd = _output_channels(operator, weights) % BLOCK != 0
    is_conv = operator.name == "CONV_2D"
    has_orders = is_conv and weights.shape[1] * weights.shape[2] > 1 and weights.shape[3] > BLOCK
    return tuple(
        Variant(blocks_first, zero_rows, zero_header, dense)
        for dense in ((True, False) if usual.dense else (False,))
        for blocks_first in ((False, True) if has_orders else (False,))
        for zero_rows in ((False, True) if is_odd else (False,))
        for zero_header in ((False, True) if is_odd and weights.is_per_channel else (False,))
    )


def has_bias(operator: Operator) -> bool:
    """Say whether a bias is stored: one of zeros is left out."""
    bias = operator.inputs[2] if len(operator.inputs) > 2 else None
    return bias is not None and bias.data is not None and bool(bias.data.any())


def has_multipliers(operator: Operator) -> bool:
    """Say whether each channel's multiplier is stored: equal ones are left out."""
    return not _weights(operator).has_equal_scales


def scales_of(operator: Operator) -> tuple[float, ...]:
    """Return the scales of a layer's weights."""
    return _weights(operator).scales


def layer_bytes(operator: Operator, variant: Variant) -> Bytes:
    """Lay a layer's parameters out.

    Args:
        operator: one that `has_weights`.
        variant: one of `variants(operator)`.

    Returns:
        uint8, of `layer_size(operator, variant)`.
    """
    weights = _weights(operator)
    values = _to_uint8(operator, weights)
    zero_point = _zero_point(weights)
    channels = len(values)
    group, padded = _grouping(operator, variant)
    is_diagonal = operator.name == "DEPTHWISE_CONV_2D" and not variant.dense

    rows = np.zeros((padded, *values.shape[1:3], _round_up(values.shape[3], BLOCK)), np.uint8)
    rows[: channels if variant.zero_rows else _round_up(channels, BLOCK)] = zero_point
    rows[:channels, :, :, : values.shape[3]] = values
    blocks = rows.reshape(padded // group, group, *rows.shape[1:3], -1, BLOCK)
    if is_diagonal:
        blocks = _on_diagonal(blocks[..., :1, :1], zero_point)
    order = (0, 4, 2, 3, 1, 5) if variant.blocks_first else (0, 2, 3, 4, 1, 5)
    parts = [*_header(operator, variant), blocks.transpose(order)]
    as_bytes = [np.ascontiguousarray(part).reshape(padded // group, -1).view(np.uint8) for part in parts]
    return np.concatenate(as_bytes, axis=1).reshape(-1)


def is_ambiguous(old: Operator, new: Operator, chosen: Variant) -> bool:
    """Say whether `old` has the same bytes in another variant and `new` has not: which one is meant?"""
    others = [variant for variant in variants(old) if variant != chosen]
    alike = [other for other in others if np.array_equal(layer_bytes(old, other), layer_bytes(old, chosen))]
    return any(not np.array_equal(layer_bytes(new, other), layer_bytes(new, chosen)) for other in alike)


def layer_size(operator: Operator, variant: Variant) -> int:
    """Return how many bytes a layer takes, without laying it out."""
    weights = _weights(operator)
    _, padded = _grouping(operator, variant)
    depth = _round_up(weights.shape[-1], BLOCK) if operator.name != "DEPTHWISE_CONV_2D" else BLOCK
    taps = weights.shape[1] * weights.shape[2] if len(weights.shape) == 4 else 1
    words = has_multipliers(operator) + has_bias(operator) + weights.is_per_channel
    return padded * (taps * depth + 4 * words)


def multipliers(operator: Operator) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return each output channel's factor from sums to outputs, rounded as the compiler rounds it."""
    inputs, output = operator.inputs[0], operator.outputs[0]
    assert inputs is not None
    scales = np.array(scales_of(operator), np.float32)
    with np.errstate(over="ignore"):
        return np.float32(inputs.scales[0]) * scales * (np.float32(1) / np.float32(output.scales[0]))


def _fits_bias(operator: Operator, channels: int) -> bool:
    bias = operator.inputs[2] if len(operator.inputs) > 2 else None
    return bias is None or (
        bias.dtype == "INT32" and bias.data is not None and bias.data.size == 4 * channels
    )


def _has_factors(operator: Operator) -> bool:
    """Say whether input and output have scales, from which the multipliers are made."""
    around = [*operator.inputs[:1], *operator.outputs[:1]]
    scales = [tensor.scales[0] for tensor in around if tensor is not None and tensor.scales]
    return len(scales) == 2 and all(math.isfinite(scale) and scale > 0 for scale in scales)


def _header(operator: Operator, variant: Variant) -> list[np.ndarray[Any, Any]]:
    """Return what comes before a group's weights: arrays with one value for each padded channel."""
    weights = _weights(operator)
    channels = _output_channels(operator, weights)
    _, padded = _grouping(operator, variant)
    filled = _round_up(channels, BLOCK)
    parts: list[np.ndarray[Any, Any]] = []
    if has_multipliers(operator):
        factors = np.full(padded, 1 if padded > _GROUP_CHANNELS else 0, np.float32)
        factors[:channels] = multipliers(operator)
        factors[channels:filled] = factors[0]
        parts.append(factors)
    if has_bias(operator):
        bias = operator.inputs[2]
        assert bias is not None and bias.data is not None
        parts.append(np.pad(bias.data.view("<i4"), (0, padded - channels)))
    if weights.is_per_channel:
        zero_points = np.zeros(padded, np.int32)
        zero_points[: channels if variant.zero_header else filled] = _zero_point(weights)
        parts.append(zero_points)
    return parts


def _grouping(operator: Operator, variant: Variant) -> tuple[int, int]:
    """Return the output channels of a group, and of all groups together."""
    channels = _output_channels(operator, _weights(operator))
    if operator.name == "DEPTHWISE_CONV_2D" and not variant.dense:
        return BLOCK, _round_up(channels, BLOCK)
    if channels > _GROUP_CHANNELS:
        return _GROUP_CHANNELS, _round_up(channels, _GROUP_CHANNELS)
    is_small = channels <= BLOCK and operator.name != "FULLY_CONNECTED"
    padded = _round_up(channels, BLOCK if is_small else _ROUND_CHANNELS)
    return padded, padded


def _on_diagonal(blocks: np.ndarray[Any, Any], zero_point: int) -> np.ndarray[Any, Any]:
    """Spread groups of 4 channels (groups, 4, rows, columns, 1, 1) over 4 inputs, each on its own."""
    spread = np.full((*blocks.shape[:-1], BLOCK), zero_point, np.uint8)
    for channel in range(BLOCK):
        spread[:, channel, ..., channel] = blocks[:, channel, ..., 0]
    return spread


def _to_uint8(operator: Operator, weights: Tensor) -> Bytes:
    """Return the weights as (out, rows, columns, in), shifted into the uint8 domain."""
    assert weights.data is not None
    values = (weights.data ^ np.uint8(_TO_UINT8[weights.dtype])).reshape(weights.shape)
    if operator.name == "FULLY_CONNECTED":
        return values[:, np.newaxis, np.newaxis, :]
    return values.transpose(3, 1, 2, 0) if operator.name == "DEPTHWISE_CONV_2D" else values


def _zero_point(weights: Tensor) -> int:
    return weights.zero_point + _TO_UINT8[weights.dtype]


def _weights(operator: Operator) -> Tensor:
    weights = operator.inputs[1]
    assert weights is not None
    return weights


def _output_channels(operator: Operator, weights: Tensor) -> int:
    return weights.shape[-1 if operator.name == "DEPTHWISE_CONV_2D" else 0]


def _input_channels(operator: Operator) -> int:
    source = operator.inputs[0]
    return source.shape[-1] if source is not None and source.shape else 0


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
