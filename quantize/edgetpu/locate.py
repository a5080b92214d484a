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

# What laying out and comparing may cost; a real file needs a thousandth of it.
_MAX_BYTES_SEEN = 4 * 1024**3
_LEAST_COMPARED_BYTES = 1024
_MAX_LAYERS = 2000
# So many times more than the parameters the layers of a model may have: a file may hold one part of it only.
_MAX_PARTS = 16
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


@dataclass(frozen=True)
class Located:
    """The layers whose parameters are in a compiled file byte for byte, and why each other one is not.

    Layers with the same parameters have one place together if fewer places hold these than there are layers.
    """

    places: tuple[Place, ...]
    missing: tuple[str, ...]


def locate_layers(operators: Sequence[Operator], compiled: CompiledModel, where: str) -> tuple[Place, ...]:
    """Find the parameters of all layers, each once and without overlaps.

    Args:
        operators: those of the original that run on the Edge TPU; the ones without weights are passed over.
        compiled: the file to look in.
        where: its name, for the error.

    Raises:
        GateNotMet: a layer's parameters are not there, or not as the layout has them.
    """
    found = find_layers(operators, compiled, where)
    if found.missing:
        raise GateNotMet(found.missing[0], where, NEEDS_COMPILE)
    apart = len({(place.executable, place.span) for place in found.places})
    if apart < len(found.places):
        what = f"{len(found.places)} layers have {apart} places: some have the same parameters and share one"
        raise GateNotMet(what, where, NEEDS_COMPILE)
    return found.places


def find_layers(operators: Sequence[Operator], compiled: CompiledModel, where: str) -> Located:
    """Do the same for as many layers as can be found.

    Raises:
        GateNotMet: there are more layers, or larger ones, than can be looked for.
    """
    layers = [operator for operator in operators if operator.name in WEIGHT_OPS]
    _require_plausible(layers, compiled, where)
    search = _Search(compiled, where)
    alike: dict[bytes, list[tuple[Operator, Variant]]] = defaultdict(list)
    for layer in layers:
        content, variant = _recognise(layer, search)
        alike[content].append((layer, variant))
    alike.pop(b"", None)
    places: list[Place] = []
    # Long ones first: the few bytes of a small layer may also lie within a large one.
    for content in sorted(alike, key=len, reverse=True):
        places.extend(_assign(alike[content], search.free(content), search))
    found = {place.operator for place in places}
    missing = tuple(_why_missing(layer) for layer in layers if layer.index not in found)
    return Located(tuple(sorted(places, key=lambda place: place.operator)), missing)


def _require_plausible(layers: Sequence[Operator], compiled: CompiledModel, where: str) -> None:
    """Refuse at once what cannot be: more layers than any model has, or than fit into the parameters."""
    size = sum(layer_size(layer, usual_variant(layer)) for layer in layers if has_weights(layer))
    there = sum(executable.parameters.size for executable in compiled.executables)
    if len(layers) > _MAX_LAYERS or size > _MAX_PARTS * there:
        what = f"{len(layers)} layers with {size} bytes of parameters, but the compiled file has {there}"
        raise GateNotMet(what, where, NEEDS_COMPILE)


class _Search:
    """Looks for bytes in the parameters of all executables, and remembers what is taken."""

    def __init__(self, compiled: CompiledModel, where: str) -> None:
        self._where = where
        self._content = compiled.content
        self._blobs = [entry.parameters for entry in compiled.executables]
        self._indexes = [_index(compiled.content, blob) for blob in self._blobs]
        self._taken: list[list[Span]] = [[] for _ in self._blobs]
        self._bytes_left = _MAX_BYTES_SEEN

    def find(self, wanted: bytes) -> Iterator[tuple[int, Span]]:
        """Return (executable, file positions) of each aligned place that holds `wanted`, in order."""
        key = np.frombuffer(wanted, np.uint64, 1)[0]
        for number, (blob, (keys, rows)) in enumerate(zip(self._blobs, self._indexes, strict=True)):
            first, last = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
            for row in rows[first:last]:
                start = blob.start + int(row) * ALIGNMENT_BYTES
                self.spend(max(len(wanted), _LEAST_COMPARED_BYTES))
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

    def spend(self, size: int) -> None:
        """Count the bytes that are looked at.

        Raises:
            GateNotMet: too many. To stop looking without a word would hide that a layer has two places.
        """
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise GateNotMet("there is too much in it that could be a layer", self._where, NEEDS_COMPILE)

    def take(self, executable: int, span: Span) -> None:
        """Mark a place as a layer's own."""
        self._taken[executable].append(span)


def _recognise(layer: Operator, search: _Search) -> tuple[bytes, Variant]:
    """Return a layer's parameters in the variant that is there; no bytes if none is."""
    for variant in variants(layer) if has_weights(layer) else ():
        search.spend(layer_size(layer, variant))
        content = layer_bytes(layer, variant).tobytes()
        if any(True for _ in search.find(content)):
            return content, variant
    return b"", Variant()


def _why_missing(layer: Operator) -> str:
    why = "its parameters are not in the compiled file"
    if not has_weights(layer):
        why = "weights of this kind cannot be laid out"
    return f"operator {layer.index} {layer.name}, tensor {layer.tensor.split(';')[0]}: {why}"


def _assign(
    layers: Sequence[tuple[Operator, Variant]], free: Sequence[tuple[int, Span]], search: _Search
) -> Iterator[Place]:
    """Give layers with the same parameters their places: the first to the first, what is over to the last."""
    twins = len(free) if len(free) > 1 else 0
    for number, (operator, variant) in enumerate(layers if free else ()):
        executable, span = free[min(number, len(free) - 1)]
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
