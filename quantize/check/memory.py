"""How much of the Edge TPU's memory a model's parameters and activations will take. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

from quantize.check.activations import estimate_activations
from quantize.check.placement import Placement
from quantize.edgetpu.constants import is_map, is_plain_joint, may_bring_constants, table_size
from quantize.edgetpu.layout import BLOCK, WEIGHT_OPS, has_weights, layer_size, usual_variant
from quantize.tflite_model import Operator, TfliteModel

# What the compiler reports as free for a model with next to no parameters: 7.67 to 7.88 MiB.
ON_CHIP_BYTES = int(7.67 * 1024 * 1024)

_ALIGNMENT_BYTES = 64
_ROUND_CHANNELS = 16
_ARITHMETIC = ("ADD", "MUL")
# A layer with this many inputs for each output is streamed although there is room; one with 4,096 is not.
_STREAMED_INPUTS = 16_384


@dataclass(frozen=True)
class Memory:
    """Bytes of parameters kept on the chip, bytes streamed at every inference, activation bytes per tile.

    `unknown` are the operators (indices) that may bring constants whose size is not known. If there are none,
    the sum of both parameter figures is exact. So is each of them as long as `fits`: else the compiler keeps
    what the program leaves room for, often less than is said here. The activation bytes are a rough estimate.
    """

    on_chip_bytes: int
    streamed_bytes: int
    activation_bytes_per_tile: int
    unknown: tuple[int, ...] = ()

    @property
    def fits(self) -> bool:
        """Say whether there is room on the chip for all that the compiler would keep there."""
        return self.on_chip_bytes < ON_CHIP_BYTES


def estimate_memory(model: TfliteModel, placements: Sequence[Placement]) -> Memory:
    """Tell the memory that the operators on the Edge TPU will take with compiler 16.0.

    The parameter bytes are those of the executables: each layer laid out, aligned to 64 bytes. What does not
    fit on the chip is streamed, and so are constants of arithmetic and dense layers with very many inputs.
    """
    mapped = [
        operator
        for operator, placement in zip(model.operators, placements, strict=True)
        if placement.target == "tpu"
    ]
    sizes = [(operator, _aligned(_parameter_bytes(operator))) for operator in mapped]
    total = sum(size for _, size in sizes)
    streamed = sum(size for operator, size in sizes if _is_streamed(operator))
    kept = min(total - streamed, ON_CHIP_BYTES)
    return Memory(
        on_chip_bytes=kept,
        streamed_bytes=total - kept,
        activation_bytes_per_tile=estimate_activations(mapped),
        unknown=tuple(operator.index for operator in mapped if _is_unknown(operator)),
    )


def _parameter_bytes(operator: Operator) -> int:
    if has_weights(operator):
        return layer_size(operator, usual_variant(operator))
    if operator.name == "SOFTMAX" and operator.present and operator.present[0].dtype == "INT8":
        # Seen with 16.0; files of uint8 networks are of earlier compilers, which keep the table elsewhere.
        return table_size(operator)
    if operator.name in _ARITHMETIC:
        return table_size(operator)
    return _joint_bytes(operator)


def _joint_bytes(operator: Operator) -> int:
    """Return the size of a dense layer of ones and zeros that puts vectors side by side; maps: not known."""
    if operator.name != "CONCATENATION" or is_plain_joint(operator) or not operator.outputs:
        return 0
    if any(is_map(tensor) for tensor in operator.present):
        return 0
    channels = _round_up(operator.outputs[0].elements, _ROUND_CHANNELS)
    blocks = sum(-(-tensor.elements // BLOCK) for tensor in operator.present)
    return 4 * channels * (1 + blocks)


def _is_streamed(operator: Operator) -> bool:
    weights = operator.inputs[1] if operator.name == "FULLY_CONNECTED" and has_weights(operator) else None
    return operator.name in _ARITHMETIC or (weights is not None and weights.shape[1] >= _STREAMED_INPUTS)


def _is_unknown(operator: Operator) -> bool:
    """Say whether an operator may bring constants of a size that is not known."""
    if operator.name in WEIGHT_OPS:
        return not has_weights(operator)
    return may_bring_constants(operator) and not _joint_bytes(operator)


def _aligned(size: int) -> int:
    return _round_up(size, _ALIGNMENT_BYTES)


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
