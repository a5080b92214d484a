"""Explains the parameter bytes of a compiled file that belong to no layer with weights.

They are alignment, selection matrices (ones and zeros that move data), tables, and constants of operators
that have some. None of these can move while the graph, its scales and its other constants are frozen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from host_cli.errors import GateNotMet
from quantize.edgetpu.constants import build_table, may_bring_constants, table_size
from quantize.edgetpu.flatbuffer import Span
from quantize.edgetpu.layout import WEIGHT_OPS
from quantize.edgetpu.locate import ALIGNMENT_BYTES, NEEDS_COMPILE, Place
from quantize.edgetpu.package import CompiledModel
from quantize.tflite_model import Operator

ALIGNMENT, SELECTION, CONSTANTS = "alignment", "selection", "constants"

# The largest table seen of one operator without constants of its own has 48 kB.
_MAX_TABLE_BYTES = 48 * 1024
_MAX_TABLES = 64
# A constant of 8 bits is stored as a multiplier and a bias, in rows of which a quarter is used.
_MAX_STORED_PER_BYTE = 32


@dataclass(frozen=True)
class Leftover:
    """A stretch of an executable's parameters outside the layers: its kind, and whose it may be (indices)."""

    kind: str
    executable: int
    span: Span
    operators: tuple[int, ...] = ()


def explain_leftovers(
    mapped: Sequence[Operator], places: Sequence[Place], compiled: CompiledModel, where: str
) -> tuple[Leftover, ...]:
    """Explain every byte of the parameters outside `places`.

    Args:
        mapped: the operators that run on the Edge TPU.
        places: where the layers with weights lie; they do not overlap.
        compiled: the file.
        where: its name, for the error.

    Raises:
        GateNotMet: there is more than the other operators can account for.
    """
    limits = {operator.index: _most_bytes(operator) for operator in mapped}
    owners = tuple(index for index, limit in limits.items() if limit)
    layers = [(place.executable, place.span) for place in places]
    tables = list(_find_tables(mapped, layers, compiled))
    known = [*layers, *((table.executable, table.span) for table in tables)]
    rest = [
        Leftover(kind, number, gap, owners if kind == CONSTANTS else ())
        for number, gap in _gaps(compiled, known)
        for kind in (_kind(compiled.content, gap),)
    ]
    unnamed = sum(entry.span.size for entry in rest if entry.kind == CONSTANTS)
    if unnamed > sum(limits.values()):
        what = f"{unnamed} bytes of its parameters belong to no known layer or constant"
        raise GateNotMet(what, where, NEEDS_COMPILE)
    return (*tables, *rest)


def _find_tables(
    mapped: Sequence[Operator], layers: Sequence[tuple[int, Span]], compiled: CompiledModel
) -> Iterator[Leftover]:
    gaps = list(_gaps(compiled, layers))
    largest = max((gap.size for _, gap in gaps), default=0)
    owners = [op for op in mapped if 0 < table_size(op) <= largest]
    for operator in owners[:_MAX_TABLES]:
        table = build_table(operator)
        for number, gap in gaps if table else ():
            start = compiled.content.find(table, gap.start, gap.end)
            if start >= 0:
                yield Leftover(
                    f"table of {operator.name}", number, Span(start, len(table)), (operator.index,)
                )
                break


def _kind(content: bytes, gap: Span) -> str:
    highest = np.frombuffer(content, np.uint8, gap.size, gap.start).max()
    if highest == 0 and gap.size < ALIGNMENT_BYTES:
        return ALIGNMENT
    return SELECTION if highest <= 1 else CONSTANTS


def _gaps(compiled: CompiledModel, known: Sequence[tuple[int, Span]]) -> Iterator[tuple[int, Span]]:
    """Return what lies between known stretches, as (executable, positions)."""
    for number, executable in enumerate(compiled.executables):
        place = executable.parameters.start
        spans = [span for owner, span in known if owner == number]
        for span in (*sorted(spans, key=lambda span: span.start), Span(executable.parameters.end, 0)):
            if span.start > place:
                yield number, Span(place, span.start - place)
            place = max(place, span.end)


def _most_bytes(operator: Operator) -> int:
    """Return how many bytes an operator without weights may bring along at most."""
    if operator.name in WEIGHT_OPS:
        return 0
    constants = sum(tensor.data.size for tensor in operator.present if tensor.data is not None)
    brings = operator.name == "SOFTMAX" or may_bring_constants(operator)
    table = _MAX_TABLE_BYTES if brings else 0
    return table + _MAX_STORED_PER_BYTE * constants
