"""How much of the Edge TPU's memory a model's parameters and activations will take. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

from quantize.check.op_rules import Placement
from quantize.tflite_model import Operator, Tensor, TfliteModel

# What the compiler reports as free for a model with next to no parameters: 7.67 to 7.88 MiB.
ON_CHIP_BYTES = int(7.67 * 1024 * 1024)
TILE_ROWS = 4

_CHANNELS_PER_GROUP = 64
_ROUND_CHANNELS = 16
_ROUND_INPUTS = 4
_ALIGNMENT_BYTES = 64


@dataclass(frozen=True)
class Memory:
    """Bytes of parameters kept on the chip, bytes streamed at every inference, activation bytes per tile."""

    on_chip_bytes: int
    streamed_bytes: int
    activation_bytes_per_tile: int


def estimate_memory(model: TfliteModel, placements: Sequence[Placement]) -> Memory:
    """Estimate the memory of the operators that run on the Edge TPU.

    The parameter bytes follow the layout of compiled files (weights padded to channel groups, bias and
    multipliers before them), but not every constant that a compiler adds, and the compiler may stream large
    layers although there is room. The activation figure is rougher still: the largest sum of one operator's
    inputs and outputs, spread over 4 x 4 tiles. Read all of them as estimates.
    """
    mapped = [
        operator
        for operator, placement in zip(model.operators, placements, strict=True)
        if placement.target == "tpu"
    ]
    total = sum(_parameter_bytes(operator) for operator in mapped)
    kept = min(total, ON_CHIP_BYTES)
    activations = max((_activation_bytes(operator) for operator in mapped), default=0)
    return Memory(kept, total - kept, activations)


def _parameter_bytes(operator: Operator) -> int:
    weights = operator.inputs[1] if len(operator.inputs) > 1 else None
    if weights is None or not weights.is_constant:
        return 0
    size = _weight_bytes(operator, weights)
    return _round_up(size, _ALIGNMENT_BYTES)


def _weight_bytes(operator: Operator, weights: Tensor) -> int:
    if operator.name == "FULLY_CONNECTED" and len(weights.shape) == 2:
        channels, taps, depth = weights.shape[0], 1, weights.shape[1]
    elif operator.name == "CONV_2D" and len(weights.shape) == 4:
        channels, depth = weights.shape[0], weights.shape[3]
        taps = weights.shape[1] * weights.shape[2]
    elif operator.name == "DEPTHWISE_CONV_2D" and len(weights.shape) == 4:
        # Four channels at a time, each on the diagonal of a 4 x 4 block.
        channels, taps, depth = _round_up(weights.shape[3], 4), weights.shape[1] * weights.shape[2], 4
        return channels * (taps * depth + _header_bytes(operator, weights))
    else:
        return 0
    step = _CHANNELS_PER_GROUP if channels > _CHANNELS_PER_GROUP else _ROUND_CHANNELS
    if operator.name == "CONV_2D" and channels <= 4:
        step = 4
    per_channel = taps * _round_up(depth, _ROUND_INPUTS) + _header_bytes(operator, weights)
    return _round_up(channels, step) * per_channel


def _header_bytes(operator: Operator, weights: Tensor) -> int:
    """Return the bytes before one channel's weights: bias, and per channel a multiplier and zero point."""
    bias = operator.inputs[2] if len(operator.inputs) > 2 else None
    has_bias = bias is not None and bias.data is not None and bool(bias.data.any())
    return 4 * has_bias + 8 * weights.is_per_channel


def _activation_bytes(operator: Operator) -> int:
    moving = [tensor for tensor in operator.present if not tensor.is_constant]
    return sum(_tile_bytes(tensor) for tensor in (*moving, *operator.outputs))


def _tile_bytes(tensor: Tensor) -> int:
    """Return one tile's share: rows and columns are spread over the tiles, channels are not."""
    positions, channels = tensor.shape[:-1], tensor.shape[-1] if tensor.shape else 1
    share = 1
    for size in positions:
        share *= -(-size // TILE_ROWS) if size > 1 else 1
    return share * _round_up(channels, _ROUND_INPUTS)


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
