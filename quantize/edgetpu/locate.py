"""Finds where a compiled file keeps each layer's parameters."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from host_cli.errors import GateNotMet
from quantize.edgetpu.flatbuffer import Span
from quantize.edgetpu.layout import (
    WEIGHT_OPS,
    Variant,
    has_weights,
    layer_bytes,
    layer_size,
    usual_variant,
    variants,
)
from quantize.edgetpu.package import CompiledModel
from quantize.tflite_model import Operator

# Every layer of every recorded file begins at a multiple of this many bytes into the parameters.
ALIGNMENT_BYTES = 64
NEEDS_COMPILE = "this template cannot be re-weighted, so the model needs a real compile: edgetpu_compiler"

# What comparing may cost; a real file needs a thousandth of it.
_MAX_COMPARED_BYTES = 4 * 1024**3
_LEAST_COMPARED_BYTES = 4096
_MAX_LAYERS = 2000
_PROBE_BYTES = 8


@dataclass(frozen=True)
class Place:
    """Where one layer's parameters lie in a compiled file, and in which variant of the layout.

    `twins` is 0 if nothing else in the parameters has the same bytes. Else it says how many places do, and
    which of them belongs to which layer is only presumed: the first to the first.
    """

    operator: int
    executable: int
    span: Span
    variant: Variant
    twins: int


def locate_layers(operators: Sequence[Operator], compiled: CompiledModel, where: str) -> tuple[Place, ...]:
    """Find the parameters of operators, each once and without overlaps.

    Args:
        operators: those of the original that run on the Edge TPU; the ones without weights are passed over.
        compiled: the file to look in.
        where: its name, for the error.

    Raises:
        GateNotMet: a layer's parameters are not there, or not as the layout has them.
    """
    _require_plausible(operators, compiled, where)
    search = _Search(compiled)
    alike: dict[bytes, list[tuple[Operator, Variant]]] = defaultdict(list)
    for operator in operators:
        if operator.name in WEIGHT_OPS:
            content, variant = _recognise(operator, search, where)
            alike[content].append((operator, variant))
    places: list[Place] = []
    # Long ones first: the few bytes of a small layer may also lie within a large one.
    for content in sorted(alike, key=len, reverse=True):
        places.extend(_assign(content, alike[content], search, where))
    return tuple(sorted(places, key=lambda place: place.operator))


def _require_plausible(operators: Sequence[Operator], compiled: CompiledModel, where: str) -> None:
    """Refuse at once what cannot be: more layers than any model has, or than fit into the parameters."""
    layers = [operator for operator in operators if operator.name in WEIGHT_OPS]
    size = sum(layer_size(layer, usual_variant(layer)) for layer in layers if has_weights(layer))
    there = sum(executable.parameters.size for executable in compiled.executables)
    if len(layers) > _MAX_LAYERS or size > there:
        what = f"{len(layers)} layers with {size} bytes of parameters, but the compiled file has {there}"
        raise GateNotMet(what, where, NEEDS_COMPILE)


class _Search:
    """Looks for bytes in the parameters of all executables, and remembers what is taken."""

    def __init__(self, compiled: CompiledModel) -> None:
        self._content = compiled.content
        self._blobs = [entry.parameters for entry in compiled.executables]
        self._indexes = [_index(compiled.content, blob) for blob in self._blobs]
        self._taken: list[list[Span]] = [[] for _ in self._blobs]
        self._bytes_left = _MAX_COMPARED_BYTES

    def find(self, wanted: bytes) -> Iterator[tuple[int, Span]]:
        """Return (executable, file positions) of each aligned place that holds `wanted`, in order."""
        key = np.frombuffer(wanted, np.uint64, 1)[0]
        for number, (blob, (keys, rows)) in enumerate(zip(self._blobs, self._indexes, strict=True)):
            first, last = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
            for row in rows[first:last]:
                start = blob.start + int(row) * ALIGNMENT_BYTES
                self._bytes_left -= max(len(wanted), _LEAST_COMPARED_BYTES)
                if self._bytes_left < 0:
                    return
                if start + len(wanted) <= blob.end and self._content.startswith(wanted, start):
                    yield number, Span(start, len(wanted))

    def free(self, wanted: bytes) -> list[tuple[int, Span]]:
        """Return the same without what is taken; none of them overlap."""
        found: list[tuple[int, Span]] = []
        for number, span in self.find(wanted):
            others = (*self._taken[number], *(other for at, other in found[-1:] if at == number))
            if not any(span.start < other.end and other.start < span.end for other in others):
                found.append((number, span))
        return found

    def take(self, executable: int, span: Span) -> None:
        """Mark a place as a layer's own."""
        self._taken[executable].append(span)


def _recognise(operator: Operator, search: _Search, where: str) -> tuple[bytes, Variant]:
    """Find out in which variant a layer's parameters are there."""
    what = f"operator {operator.index} {operator.name}, tensor {operator.tensor.split(';')[0]}"
    if not has_weights(operator):
        raise GateNotMet(f"{what}: weights of this kind cannot be laid out", where, NEEDS_COMPILE)
    for variant in variants(operator):
        content = layer_bytes(operator, variant).tobytes()
        if any(True for _ in search.find(content)):
            return content, variant
    raise GateNotMet(f"{what}: its parameters are not in the compiled file", where, NEEDS_COMPILE)


def _assign(
    content: bytes, layers: Sequence[tuple[Operator, Variant]], search: _Search, where: str
) -> Iterator[Place]:
    """Give each of the layers with the same parameters a place of its own, the first to the first."""
    free = search.free(content)
    if len(free) < len(layers):
        what = f"{len(layers)} layers have the same parameters, but {len(free)} places hold them"
        raise GateNotMet(what, where, NEEDS_COMPILE)
    twins = len(free) if len(free) > 1 else 0
    for (operator, variant), (executable, span) in zip(layers, free, strict=False):
        search.take(executable, span)
        yield Place(operator.index, executable, span, variant, twins)


def _index(content: bytes, blob: Span) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the first bytes of each aligned row as one number each, sorted, and the rows in that order."""
    rows = -(-blob.size // ALIGNMENT_BYTES)
    padded = np.zeros(rows * ALIGNMENT_BYTES, np.uint8)
    padded[: blob.size] = np.frombuffer(content, np.uint8, blob.size, blob.start)
    keys = padded.view(np.uint64)[:: ALIGNMENT_BYTES // _PROBE_BYTES]
    order = np.argsort(keys, kind="stable")
    return keys[order], order
