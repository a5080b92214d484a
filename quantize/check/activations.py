"""How much of each tile's narrow memory a model's activations will take. Pure arithmetic, an estimate.

Rows and columns of a map are spread over 4 x 4 tiles, channels are not; a vector lies in every tile. A tile
also keeps the neighbours' rows and columns that its next kernel reaches. What one operator reads and writes
must be there at once. For some networks, such as MobileNet V2, this gives the figure of the recorded files to
the byte. But the compiler splits maps that do not fit, and keeps more for SOFTMAX and small networks.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from quantize.tflite_model import Operator, Tensor

TILES_A_SIDE = 4

_BLOCK = 4
# They change nothing that would need a second copy, or become part of the operator that follows.
_IN_PLACE = ("QUANTIZE", "RESHAPE", "PAD", "SQUEEZE", "EXPAND_DIMS")
_ROWS, _COLUMNS = 1, 2

Users = Mapping[int, Sequence[Operator]]


def estimate_activations(mapped: Sequence[Operator]) -> int:
    """Return the bytes that operators on the Edge TPU need in each tile.

    Args:
        mapped: the operators that run there, in the order of the file.
    """
    users: dict[int, list[Operator]] = defaultdict(list)
    for operator in mapped:
        for tensor in operator.present:
            users[tensor.index].append(operator)
    # Each tensor once: in a hostile file thousands of operators may share one.
    moving = {t.index: t for op in mapped for t in (*op.present, *op.outputs) if not t.is_constant}
    sizes = {index: _tile_bytes(tensor, users) for index, tensor in moving.items()}
    return max((_bytes_at_once(op, sizes) for op in mapped if op.name not in _IN_PLACE), default=0)


def _bytes_at_once(operator: Operator, sizes: Mapping[int, int]) -> int:
    moving = {tensor.index for tensor in (*operator.present, *operator.outputs)}
    return sum(sizes.get(index, 0) for index in moving)


def _tile_bytes(tensor: Tensor, users: Users) -> int:
    """Return one tile's share of a tensor, with what the kernels that read it reach beyond."""
    if len(tensor.shape) != 4:
        return _round_up(tensor.elements, _BLOCK)
    sides = (_side(tensor, axis, users) for axis in (_ROWS, _COLUMNS))
    return math.prod(sides) * _round_up(tensor.shape[3], _BLOCK)


def _side(tensor: Tensor, axis: int, users: Users) -> int:
    """Return how many rows or columns a tile keeps."""
    reached = (_reach(operator, axis) for operator in users.get(tensor.index, ()))
    own = -(-tensor.shape[axis] // TILES_A_SIDE)
    return min(tensor.shape[axis], max(own, *reached, 0))


def _reach(operator: Operator, axis: int) -> int:
    """Return how many rows or columns of its input a tile's outputs depend on."""
    output, letter = operator.outputs[0] if operator.outputs else None, "HW"[axis - _ROWS]
    if output is None or len(output.shape) != 4:
        return 0
    size = operator.options.get("FilterHeight" if axis == _ROWS else "FilterWidth", 1)
    weights = operator.inputs[1] if len(operator.inputs) > 1 else None
    if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D") and weights is not None and len(weights.shape) == 4:
        size = weights.shape[axis]
    stride = int(operator.options.get(f"Stride{letter}", 1))
    dilation = int(operator.options.get(f"Dilation{letter}Factor", 1))
    outputs = -(-output.shape[axis] // TILES_A_SIDE)
    return (outputs - 1) * stride + (int(size) - 1) * dilation + 1


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
