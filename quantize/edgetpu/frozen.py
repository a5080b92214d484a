"""What must not move between a compiled model and one that runs on its instructions: all but the weights.

Activation scales, zero points and per-tensor weight scales are in the instructions that the compiler wrote.
Only weights, biases and per-channel multipliers lie among the parameters, which can be written anew.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from host_cli.errors import GateNotMet
from quantize.edgetpu.layout import WEIGHT_OPS, has_multipliers
from quantize.edgetpu.numbers import bias_scales
from quantize.edgetpu.pairing import Moved, Pairing, pair, place_of
from quantize.tflite_model import Operator, Tensor, TfliteModel
from quantize.tflite_options import UNREAD

# Where a layer has what.
INPUT, WEIGHTS, BIAS = 0, 1, 2
NEEDS_COMPILE = (
    "needs a real compile: run edgetpu_compiler on the new model, and use what it writes as template"
)
# They run other graphs of the file, which are not read.
_CALLS = ("IF", "WHILE", "CALL", "CALL_ONCE")
# They also compute with scales of tensors that they do not name among inputs and outputs.
_WITH_INTERMEDIATES = ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM")
_ALWAYS = ("dtype", "shape", "signature", "is_variable", "is_constant", "zero_points", "quantized_dimension")


def require_frozen(template: TfliteModel, new: TfliteModel, where: str) -> None:
    """Refuse a model that differs from the template in more than its weights.

    Args:
        template: the int8 model that was compiled.
        new: the int8 model that shall run on its instructions; names and the order of tensors may differ.
        where: the file that `new` is from, for the error.

    Raises:
        GateNotMet: something moved that the compiled instructions hold.
    """
    moved = find_moved(template, new)
    if moved:
        more = f" (and {len(moved) - 1} more)" if len(moved) > 1 else ""
        raise GateNotMet(f"{moved[0]}{more}", where, NEEDS_COMPILE)


def find_moved(template: TfliteModel, new: TfliteModel) -> tuple[Moved, ...]:
    """Return all that keeps `new` from running on the instructions compiled for `template`.

    Free are the values of constant weights and biases of WEIGHT_OPS, the scales of weights that have one
    for each channel, and with these those of their biases: scale of input * scale of weight, in float32.
    Equal must be operators, versions, options, wiring, shapes, dtypes, all other scales, zero points and
    constants.
    """
    paired = pair(template, new)
    if paired.moved:
        return paired.moved
    free = free_tensors(template)
    return (
        *_moved_operators(paired),
        *_moved_tensors(paired, free),
        *_moved_layers(paired),
        *_moved_intermediates(template, new),
    )


def free_tensors(model: TfliteModel) -> frozenset[int]:
    """Return the indices of the constants that are weights or biases of WEIGHT_OPS and nothing else."""
    free: set[int] = set()
    bound = {tensor.index for tensor in (*model.inputs, *model.outputs)}
    for operator in model.operators:
        for position, tensor in enumerate(operator.inputs):
            if tensor is not None:
                own = operator.name in WEIGHT_OPS and position in (WEIGHTS, BIAS) and tensor.is_constant
                (free if own else bound).add(tensor.index)
    return frozenset(free - bound)


def layer_operand(operator: Operator, position: int) -> Tensor | None:
    """Return the input, the WEIGHTS or the BIAS of a layer, None where the file leaves it out."""
    return operator.inputs[position] if position < len(operator.inputs) else None


def _moved_operators(paired: Pairing) -> Iterator[Moved]:
    for was, now in paired.operators:
        place = place_of(was)
        if was.version != now.version:
            yield Moved(f"version of {place}", str(was.version), str(now.version))
        if UNREAD in was.options or was.name in _CALLS:
            yield Moved(f"{place} cannot be compared", "something that is not read", "perhaps something else")
        elif was.options != now.options:
            changed = next(
                key for key in {**was.options, **now.options} if was.options.get(key) != now.options.get(key)
            )
            yield _moved(f"{changed} of {place}", was.options.get(changed), now.options.get(changed))
        if was.custom_options != now.custom_options:
            yield Moved(f"options of {place}", f"{len(was.custom_options)} bytes", "other bytes")


def _moved_tensors(paired: Pairing, free: frozenset[int]) -> Iterator[Moved]:
    for was, now in paired.tensors:
        frozen = _ALWAYS if was.index in free else (*_ALWAYS, "scales")
        changed = [what for what in frozen if getattr(was, what) != getattr(now, what)]
        for what in changed[:1]:
            yield _moved(f"{what} of {was.name} (tensor {was.index})", getattr(was, what), getattr(now, what))
        if was.index not in free and not changed and not _same_bytes(was, now):
            yield Moved(f"constant {was.name} (tensor {was.index})", "its bytes", "other bytes")


def _moved_layers(paired: Pairing) -> Iterator[Moved]:
    """Tell of the scales of weights and biases: per-tensor ones are frozen, the others have a rule."""
    for was, now in paired.operators:
        weights, new = layer_operand(was, WEIGHTS), layer_operand(now, WEIGHTS)
        if was.name not in WEIGHT_OPS or weights is None or new is None:
            continue
        is_free = has_multipliers(was)
        if not (_are_scales(new, len(weights.scales)) if is_free else new.scales == weights.scales):
            yield _moved(f"weight scales of {place_of(was)}", weights.scales, new.scales)
            continue
        old_bias, bias, entry = layer_operand(was, BIAS), layer_operand(now, BIAS), layer_operand(now, INPUT)
        if bias is None or old_bias is None or entry is None:
            continue
        is_rule = is_free and entry.scales
        expected = tuple(bias_scales(entry.scales[0], new.scales).tolist()) if is_rule else old_bias.scales
        if bias.scales != expected:
            yield _moved(f"bias scales of {place_of(was)}", expected, bias.scales)


def _moved_intermediates(template: TfliteModel, new: TfliteModel) -> Iterator[Moved]:
    """Tell of an LSTM's inner scales: they are in tensors that nothing else in the graph refers to."""
    if any(operator.name in _WITH_INTERMEDIATES for operator in template.operators):
        ours, theirs = _find_unnamed(template), _find_unnamed(new)
        if ours != theirs:
            yield Moved("the inner scales of an LSTM", str(ours), str(theirs))


def _find_unnamed(model: TfliteModel) -> list[tuple[Any, ...]]:
    """Return the numbers of the tensors that are no operator's input or output, in the order of the file."""
    named = {t.index for operator in model.operators for t in (*operator.present, *operator.outputs)}
    return [
        (tensor.scales, tensor.zero_points, tensor.dtype)
        for tensor in model.tensors
        if tensor.index not in named
    ]


def _moved(what: str, was: Any, now: Any) -> Moved:
    """Show of two tuples only the first place where they differ."""
    if isinstance(was, tuple) and isinstance(now, tuple) and len(was) == len(now):
        place = next((n for n, pair in enumerate(zip(was, now, strict=True)) if pair[0] != pair[1]), 0)
        what, was, now = (f"{what} [{place}]" if len(was) > 1 else what), was[place], now[place]
    return Moved(what, str(was), str(now))


def _are_scales(weights: Tensor, count: int) -> bool:
    return len(weights.scales) == count and all(
        math.isfinite(scale) and scale > 0 for scale in weights.scales
    )


def _same_bytes(was: Tensor, now: Tensor) -> bool:
    if was.data is None or now.data is None:
        return was.data is now.data
    return np.array_equal(was.data, now.data)
