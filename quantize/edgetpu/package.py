"""What the Edge TPU compiler put into a .tflite file: packages of executables, their parameters and tokens.

Source: libedgetpu, executable/executable.fbs (field numbers). The package lies in the options of the custom
operator, a flexbuffer map whose key 4 holds it.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from host_cli.errors import WrongUsage
from quantize.edgetpu.flatbuffer import Span, Table, read_map
from quantize.tflite_file import parse_tflite
from quantize.tflite_model import EDGETPU_OP, Operator, TfliteModel

MAX_PACKAGES = 64
# Of all packages together: in a hostile file many operators may share one package.
MAX_EXECUTABLES = 128
MAX_LAYERS = 64
MAX_BITSTREAMS = 64

STAND_ALONE, PARAMETER_CACHING, EXECUTION_ONLY = "stand-alone", "parameter-caching", "execution-only"

_TYPES = (STAND_ALONE, PARAMETER_CACHING, EXECUTION_ONLY)
_IDENTIFIER = b"DWN1"
_PACKAGE_KEY = "4"


@dataclass(frozen=True)
class Border:
    """An input or output of an executable: rows, columns and channels, bytes with padding, quantization."""

    name: str
    shape: tuple[int, int, int]
    size_bytes: int
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Executable:
    """One program for the Edge TPU and the parameters it brings. Spans and `token_start` are file positions.

    Executables with the same `token` may keep their parameters on the chip together; 0 stands for none.
    `estimated_cycles` is 0 where the compiler (16.0) does not tell.
    """

    type: str
    chip: str
    batch_size: int
    parameters: Span
    instructions: tuple[Span, ...]
    token: int
    token_start: int
    estimated_cycles: int
    narrow_memory_bytes_per_tile: int
    scratch_bytes: int
    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...]

    @property
    def instruction_bytes(self) -> int:
        """Return the size of the program."""
        return sum(span.size for span in self.instructions)


@dataclass(frozen=True)
class Package:
    """What one custom operator holds. `is_signed` says whether a signature protects the executables."""

    operator: Operator
    compiler: str
    min_runtime: int
    is_signed: bool
    executables: tuple[Executable, ...]


@dataclass(frozen=True)
class CompiledModel:
    """A compiled file: the graph around the custom operators, and what those hold."""

    content: bytes
    graph: TfliteModel
    packages: tuple[Package, ...]

    @cached_property
    def executables(self) -> tuple[Executable, ...]:
        """Return the executables of all packages."""
        return tuple(entry for package in self.packages for entry in package.executables)

    @property
    def cpu_ops(self) -> tuple[Operator, ...]:
        """Return the operators that the compiler left to the CPU."""
        return tuple(operator for operator in self.graph.operators if operator.name != EDGETPU_OP)


def read_compiled(content: bytes, where: str) -> CompiledModel:
    """Read a compiled .tflite file.

    Raises:
        WrongUsage: it has not been through the Edge TPU compiler, is damaged or contradicts itself.
    """
    graph = parse_tflite(content, where)
    if not graph.is_compiled:
        hint = "give the file that edgetpu_compiler wrote"
        raise WrongUsage("this model has not been compiled for the Edge TPU", where, hint)
    operators = [operator for operator in graph.operators if operator.name == EDGETPU_OP]
    try:
        if not 0 < len(operators) <= MAX_PACKAGES:
            raise ValueError(f"{len(operators)} packages, 1 to {MAX_PACKAGES} are read")
        packages = tuple(_read_packages(content, operators))
    except (ValueError, struct.error) as error:
        what = f"the compiled part of the model is damaged: {error}"[:200]
        raise WrongUsage(what, where, "compile the original again") from error
    return CompiledModel(content, graph, packages)


def _read_packages(content: bytes, operators: Sequence[Operator]) -> Iterator[Package]:
    left = MAX_EXECUTABLES
    for operator in operators:
        package = _read_package(content, operator, left)
        left -= len(package.executables)
        yield package


def _read_package(content: bytes, operator: Operator, max_executables: int) -> Package:
    if operator.custom_start < 0:
        raise ValueError("the Edge TPU's operator is empty")
    options = read_map(content, Span(operator.custom_start, len(operator.custom_options)))
    span = options.get(_PACKAGE_KEY)
    if span is None or content[span.start + 4 : span.start + 8] != _IDENTIFIER:
        raise ValueError("there is no package in it")
    package = Table.root(content, span)
    spans = Table.root(content, package.span(1)).spans(0, max_executables)
    executables = tuple(_read_executable(Table.root(content, entry)) for entry in spans)
    return Package(
        operator=operator,
        compiler=_find_compiler(package.text(4), options, executables),
        min_runtime=package.number(0),
        is_signed=package.span(2).size > 0,
        executables=executables,
    )


def _read_executable(table: Table) -> Executable:
    number = table.number(13, "<h")
    if not 0 <= number < len(_TYPES):
        raise ValueError(f"an executable of the unknown type {number}")
    return Executable(
        type=_TYPES[number],
        chip=table.text(10),
        batch_size=table.number(3),
        parameters=table.span(6),
        instructions=tuple(entry.span(0) for entry in table.tables(5, MAX_BITSTREAMS)),
        token=table.number(14, "<Q"),
        token_start=table.place_of(14) or -1,
        estimated_cycles=table.number(16, "<q") or table.number(11),
        narrow_memory_bytes_per_tile=table.number(12),
        scratch_bytes=table.number(4),
        inputs=tuple(_read_border(entry) for entry in table.tables(8, MAX_LAYERS)),
        outputs=tuple(_read_border(entry) for entry in table.tables(9, MAX_LAYERS)),
    )


def _read_border(table: Table) -> Border:
    numerics = table.table(5)
    return Border(
        name=table.text(0),
        shape=(table.number(2), table.number(3), table.number(4)),
        size_bytes=table.number(1),
        scale=numerics.real(1) if numerics else 0.0,
        zero_point=numerics.number(0) if numerics else 0,
    )


def _find_compiler(
    stated: str, options: Mapping[str, Span | None], executables: tuple[Executable, ...]
) -> str:
    """Say which compiler wrote a package. Releases do not state it, but what they write differs.

    Source: the recorded pairs, whose compilers are known from their repositories.
    """
    if "2" in options:
        guess = "1.0 to 2.0"
    elif "6" in options or not any(entry.estimated_cycles for entry in executables):
        guess = "16.0"
    else:
        guess = "2.1 to 15.0"
    return f"{guess} ({stated})" if stated.strip("cl/") else guess
