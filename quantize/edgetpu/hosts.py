"""The operators that the compiler left to the CPU: their constants lie in the compiled file as they are."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from host_cli.errors import GateNotMet
from quantize.edgetpu.layout import WEIGHT_OPS
from quantize.edgetpu.locate import NEEDS_COMPILE
from quantize.edgetpu.package import CompiledModel
from quantize.edgetpu.pairing import place_of
from quantize.tflite_model import Operator, Tensor, TfliteModel

OTHER_ORIGINAL = "give the original that this file was compiled from"


@dataclass(frozen=True)
class HostConstant:
    """A constant of an operator left to the CPU: operator and input of the original, its copy in the file."""

    operator: int
    input: int
    copy: Tensor


def match_hosts(model: TfliteModel, compiled: CompiledModel, where: str) -> dict[int, Operator]:
    """Return the operators that stayed on the CPU: index in the original, operator of the compiled file.

    Raises:
        GateNotMet: the original has no such operator.
    """
    origins: dict[tuple[str, str], list[int]] = defaultdict(list)
    for operator in reversed(model.operators):
        origins[operator.name, operator.tensor].append(operator.index)
    hosts: dict[int, Operator] = {}
    for operator in compiled.cpu_ops:
        candidates = origins[operator.name, operator.tensor]
        if not candidates:
            what = f"its CPU operator {operator.index} {operator.name} is not in the original"
            raise GateNotMet(what, where, OTHER_ORIGINAL)
        hosts[candidates.pop()] = operator
    return hosts


def find_host_constants(
    model: TfliteModel, hosts: Mapping[int, Operator], where: str
) -> Iterator[HostConstant]:
    """Return every constant of the operators on the CPU.

    Raises:
        GateNotMet: one is not the original's.
    """
    for index, host in hosts.items():
        for position, (source, copy) in enumerate(zip_longest(model.operators[index].inputs, host.inputs)):
            if not _has_data(source) and not _has_data(copy):
                continue
            if source is None or copy is None or not _is_copy(source, copy):
                name = next(tensor.name for tensor in (copy, source) if tensor is not None)
                what = f"constant {name} of CPU operator {host.index} is not the original's"
                raise GateNotMet(what, where, OTHER_ORIGINAL)
            yield HostConstant(index, position, copy)


def require_no_weights_as_inputs(model: TfliteModel, compiled: CompiledModel, where: str) -> None:
    """Refuse a file that hands weights over to the Edge TPU as inputs: none was ever seen."""
    weights = {
        entry.name
        for operator in model.operators
        if operator.name in WEIGHT_OPS
        for entry in operator.present
        if entry.data is not None
    }
    for package in compiled.packages:
        for entry in package.operator.present:
            if entry.data is not None and entry.name in weights:
                raise GateNotMet(f"weights {entry.name} are an input of the Edge TPU", where, NEEDS_COMPILE)


def write_hosts(content: bytearray, constants: Sequence[HostConstant], new: TfliteModel, where: str) -> None:
    """Write the new constants of the CPU operators.

    Raises:
        GateNotMet: the file keeps in one place what is no longer equal, or has another size.
    """
    changes = list(_new_bytes(constants, new, where))
    for start, layer in changes:
        content[start : start + len(layer)] = layer
    if any(content[start : start + len(layer)] != layer for start, layer in changes):
        what = "constants of CPU operators share one place in the template, but are no longer equal"
        raise GateNotMet(what, where, NEEDS_COMPILE)


def _new_bytes(
    constants: Sequence[HostConstant], new: TfliteModel, where: str
) -> Iterator[tuple[int, bytes]]:
    """Return where each constant lies, and its new bytes; the same for its scales."""
    for constant in constants:
        copy, operator = constant.copy, new.operators[constant.operator]
        source = operator.inputs[constant.input]
        assert copy.data is not None
        if source is None or source.data is None or source.data.size != copy.data.size:
            what = f"{place_of(operator)}: a constant has another size than in the template"
            raise GateNotMet(what, where, NEEDS_COMPILE)
        yield copy.data_start, source.data.tobytes()
        if copy.scales:
            yield copy.scales_start, np.array(source.scales, "<f4").tobytes()


def _has_data(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_constant


def _is_copy(source: Tensor, copy: Tensor) -> bool:
    if source.data is None or copy.data is None:
        return False
    return source.scales == copy.scales and np.array_equal(source.data, copy.data)
