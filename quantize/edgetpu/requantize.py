"""Puts new float weights into an int8 model whose activation scales stay: the same file with other weights.

A layer with a scale for each channel gets new ones, as the converter would choose them. Where there is a
single scale the compiled instructions hold it: it stays, and weights that do not fit are clipped and counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from host_cli.errors import GateNotMet, WrongUsage
from quantize.edgetpu.frozen import BIAS, INPUT, NEEDS_COMPILE, WEIGHTS, free_tensors, layer_operand
from quantize.edgetpu.layout import WEIGHT_OPS, has_multipliers
from quantize.edgetpu.numbers import (
    BIAS_MAX,
    WEIGHT_LIMITS,
    Array,
    Floats,
    along,
    bias_scales,
    channel_scales,
    dtype_of,
    numbers_of,
    to_steps,
)
from quantize.edgetpu.pairing import Moved, Pairing, pair, place_of
from quantize.tflite_file import parse_tflite
from quantize.tflite_model import Operator, Tensor

# Between float and int8 they change the numbers, not what these stand for.
BETWEEN_NUMBERS = frozenset({"QUANTIZE", "DEQUANTIZE"})
# How a kernel handles its numbers, not what it computes.
_NUMBER_OPTIONS = {"AsymmetricQuantizeInputs", "QuantizedBiasType"}
# Half a step is what the nearest number may be away; the rest is for float32.
_NEAREST_STEPS = 0.5001


@dataclass(frozen=True)
class Clipped:
    """A layer of whose weights some do not fit into the one scale that the template has for them."""

    layer: str
    weights: int
    clipped: int


@dataclass(frozen=True)
class Requantized:
    """The int8 file with new weights, how the template pairs with the float model, what was clipped."""

    content: bytes
    paired: Pairing
    clipped: tuple[Clipped, ...]


@dataclass(frozen=True)
class _Constant:
    """What a tensor of the template shall hold."""

    tensor: Tensor
    numbers: Array
    scales: Floats | None = None


def requantize(original: bytes, new: bytes, where: str) -> Requantized:
    """Quantize new weights with the activation scales of an int8 model.

    Args:
        original: the int8 .tflite file that gives graph and scales.
        new: the float32 .tflite file of a model of the same architecture, batch 1.
        where: the file that `new` is from, for errors.

    Returns:
        `content` is as long as `original`; only weights, biases and per-channel scales differ.

    Raises:
        GateNotMet: the graphs differ, or something else than weights would have to change.
        WrongUsage: a new weight is not finite.
    """
    template, floats = parse_tflite(original, "the template"), parse_tflite(new, where)
    paired = pair(template, floats, BETWEEN_NUMBERS)
    moved = next(_moved(paired, free_tensors(template)), None)
    if moved:
        raise GateNotMet(f"not the template's architecture: {moved}", where, NEEDS_COMPILE)
    constants, clipped = [], []
    for was, now in paired.operators:
        if was.name in WEIGHT_OPS:
            layer, beyond = _quantize_layer(was, now, where)
            constants += layer
            if beyond:
                clipped.append(Clipped(place_of(was), layer[0].numbers.size, beyond))
    return Requantized(_with_constants(original, constants, where), paired, tuple(clipped))


def _moved(paired: Pairing, free: frozenset[int]) -> Iterator[Moved]:
    """Tell of all that the two graphs compute differently."""
    yield from paired.moved
    for was, now in paired.operators:
        for name in sorted({*was.options, *now.options} - _NUMBER_OPTIONS):
            if was.options.get(name) != now.options.get(name):
                options = (str(operator.options.get(name)) for operator in (was, now))
                yield Moved(f"{name} of {place_of(was)}", *options)
    for old, new in paired.tensors:
        if old.shape != new.shape:
            yield Moved(f"shape of {old.name}", str(old.shape), str(new.shape))
        elif old.is_constant != new.is_constant:
            yield Moved(old.name, *("constant" if each.is_constant else "computed" for each in (old, new)))
        elif old.is_constant and old.index not in free and not _is_same_constant(old, new):
            yield Moved(f"constant {old.name}", "its values", "other values")


def _is_same_constant(was: Tensor, now: Tensor) -> bool:
    """Say whether whole numbers are equal, and quantized ones the nearest to the new real ones."""
    if was.dtype == now.dtype:
        return was.data is not None and now.data is not None and np.array_equal(was.data, now.data)
    if not was.scales or now.dtype != "FLOAT32":
        return False
    steps = numbers_of(now) / along(was, was.scales) + along(was, was.zero_points)
    return bool((np.abs(steps - numbers_of(was)) <= _NEAREST_STEPS).all())


def _quantize_layer(was: Operator, now: Operator, where: str) -> tuple[list[_Constant], int]:
    """Return a layer's new weights and bias, and how many weights were clipped."""
    weights, values = _constant(was, WEIGHTS, where), _finite(now, WEIGHTS, where)
    bias, bias_values = layer_operand(was, BIAS), np.zeros(1, np.float32)
    if bias is not None:
        bias, bias_values = _constant(was, BIAS, where), _finite(now, BIAS, where)
    entry = was.present[INPUT]
    if not entry.scales or weights.dtype not in WEIGHT_LIMITS:
        raise GateNotMet(f"{place_of(was)} is not quantized", "the template", NEEDS_COMPILE)
    scales = None
    if has_multipliers(was):
        scales = channel_scales(values, weights.quantized_dimension, bias_values, entry.scales[0])
    steps = to_steps(values, weights, weights.scales if scales is None else scales)
    low, high = WEIGHT_LIMITS[weights.dtype]
    beyond = int(np.count_nonzero((steps < low) | (steps > high)))
    constants = [_Constant(weights, np.clip(steps, low, high).astype(dtype_of(weights)), scales)]
    if bias is not None:
        own = None if scales is None else bias_scales(entry.scales[0], scales)
        constants.append(_quantize_bias(was, bias, bias_values, own, where))
    return constants, beyond


def _quantize_bias(
    was: Operator, bias: Tensor, values: Floats, scales: Floats | None, where: str
) -> _Constant:
    steps = to_steps(values, bias, bias.scales if scales is None else scales)
    if np.abs(steps).max() > BIAS_MAX:
        raise GateNotMet(f"the bias of {place_of(was)} does not fit into int32", where, NEEDS_COMPILE)
    return _Constant(bias, steps.astype(dtype_of(bias)), scales)


def _constant(operator: Operator, position: int, where: str) -> Tensor:
    tensor = layer_operand(operator, position)
    if tensor is None or tensor.data is None or not tensor.scales:
        raise GateNotMet(f"{place_of(operator)} has no constant weights or bias", where, NEEDS_COMPILE)
    return tensor


def _finite(operator: Operator, position: int, where: str) -> Floats:
    """Return a float layer's weights or bias in their own shape."""
    tensor = layer_operand(operator, position)
    if tensor is None or tensor.dtype != "FLOAT32":
        raise WrongUsage(f"{place_of(operator)} has no float32 weights", where, "give the float model")
    values = numbers_of(tensor)
    if not np.isfinite(values).all():
        raise WrongUsage(f"{place_of(operator)} has weights that are not finite", where, "train it again")
    return values


def _with_constants(original: bytes, constants: list[_Constant], where: str) -> bytes:
    """Write constants over those of a file, each in its place."""
    content = bytearray(original)
    for constant in constants:
        tensor = constant.tensor
        _overwrite(content, tensor.data_start, constant.numbers.tobytes())
        if constant.scales is not None:
            _overwrite(content, tensor.scales_start, constant.scales.tobytes())
    found = parse_tflite(bytes(content), where).tensors
    for constant in constants:
        # Two layers of the template may share one place, as equal biases do.
        if not _holds(found[constant.tensor.index], constant):
            what = f"{constant.tensor.name} has no place of its own in the template"
            raise GateNotMet(what, where, NEEDS_COMPILE)
    return bytes(content)


def _overwrite(content: bytearray, start: int, new: bytes) -> None:
    content[start : start + len(new)] = new


def _holds(tensor: Tensor, constant: _Constant) -> bool:
    scales = constant.tensor.scales if constant.scales is None else tuple(constant.scales.tolist())
    return tensor.scales == scales and np.array_equal(numbers_of(tensor), constant.numbers)
