"""Where a compiled file touches its original: what goes in and out of it, and over to the Edge TPU."""

from collections import defaultdict
from collections.abc import Sequence

from host_cli.errors import GateNotMet
from quantize.edgetpu.hosts import OTHER_ORIGINAL
from quantize.edgetpu.package import CompiledModel
from quantize.tflite_model import Operator, Tensor, TfliteModel


def require_same_borders(model: TfliteModel, compiled: CompiledModel, where: str) -> None:
    """Refuse a file whose inputs, outputs, or tensors at the Edge TPU's border are not the original's.

    Parameters alone do not tell an original from one of another picture size, or one that was calibrated with
    other samples: a layer with one scale and without bias has the same in both.

    Raises:
        GateNotMet: shape, dtype, scale or zero point of one differ.
    """
    ends = ((model.inputs, compiled.graph.inputs), (model.outputs, compiled.graph.outputs))
    for ours, theirs in ends:
        if len(ours) != len(theirs) or not all(map(_is_same, ours, theirs)):
            raise GateNotMet("its inputs and outputs are not the original's", where, OTHER_ORIGINAL)
    known: dict[str, list[Tensor]] = defaultdict(list)
    for tensor in model.tensors:
        known[tensor.name].append(tensor)
    for package in compiled.packages:
        for tensor in (*package.operator.present, *package.operator.outputs):
            if not any(_is_same(own, tensor) for own in known[tensor.name]):
                what = f"tensor {tensor.short_name} at the Edge TPU's border is not as in the original"
                raise GateNotMet(what, where, OTHER_ORIGINAL)


def operators_within(model: TfliteModel, compiled: CompiledModel) -> tuple[Operator, ...]:
    """Return the operators of a model that a compiled file computes; of a pipeline's segment, its own.

    Tensors are told by their names; where those are not the original's, all operators count.
    """
    ours, theirs = (model.inputs, model.outputs), (compiled.graph.inputs, compiled.graph.outputs)
    if [_names(tensors) for tensors in ours] == [_names(tensors) for tensors in theirs]:
        return model.operators
    entries, wanted = set(_names(theirs[0])), set(_names(theirs[1]))
    found = []
    for operator in reversed(model.operators):
        if wanted.intersection(_names(operator.outputs)):
            found.append(operator)
            wanted.update(name for name in _names(operator.present) if name not in entries)
    return tuple(reversed(found)) or model.operators


def _is_same(own: Tensor, other: Tensor) -> bool:
    """Compare all but names; the compiler may fill in a shape that an original leaves open."""
    told = ("dtype", "scales", "zero_points", *(["shape"] if own.shape and own.is_static else []))
    return all(getattr(own, what) == getattr(other, what) for what in told)


def _names(tensors: Sequence[Tensor]) -> list[str]:
    return [tensor.name for tensor in tensors]
