"""Reads a .tflite file from a stranger into the types of tflite_model, within limits on every count."""

import math
import os
import stat
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from host_cli.errors import WrongUsage
from quantize.tflite_model import Operator, Tensor, TfliteModel, make_printable
from quantize.tflite_options import read_options

MAX_FILE_BYTES = 256 * 1024 * 1024
# Many times the largest model that a board could run, and still read within a second.
MAX_TENSORS = 8_000
MAX_OPERATORS = 4_000
MAX_OPCODES = 1024
MAX_RANK = 16
MAX_OPERANDS = 4096
MAX_REFERENCES = 64_000
# Scales and zero points; EfficientNetV2L, the largest architecture tried, has 1.5 million.
MAX_SCALES = 2_000_000
# Names and constants are counted again each time an operator refers to them: rules may look at all of it.
MAX_NAME_BYTES = 8 * 1024 * 1024
MAX_CONSTANT_BYTES = 2 * MAX_FILE_BYTES

_MAGIC = b"TFL3"
_MAGIC_OFFSET = 4
_UNREADABLE = (struct.error, ValueError, IndexError, TypeError, OverflowError, AttributeError, KeyError)
_ABSENT = -1
# Where the schema's generated code looks in a table's list of fields.
_BUFFER_DATA = 4
_OPERATOR_CUSTOM_OPTIONS = 14
_QUANTIZATION_SCALE = 8

# A getter of the schema's generated code: a vector of numbers, all at once.
_Vector = Callable[[], Any]


def _names_of(enumeration: type) -> Mapping[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


_DTYPES = _names_of(tflite.TensorType)
_OPERATORS = _names_of(tflite.BuiltinOperator)


def load_tflite(path: Path) -> TfliteModel:
    """Read and parse a file.

    Raises:
        WrongUsage: it is not there, too large, or not a .tflite file.
    """
    return parse_tflite(read_model_file(path), str(path))


def read_model_file(path: Path) -> bytes:
    """Return a file's bytes; what is no ordinary file is refused before it could keep us waiting.

    Raises:
        WrongUsage: it is not there, not an ordinary file, too large, or cannot be read.
    """
    try:
        # Opening a pipe would else wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise _not_tflite(str(path), "it is no ordinary file")
            if about.st_size > MAX_FILE_BYTES:
                raise _not_tflite(str(path), f"it has more than {MAX_FILE_BYTES} bytes")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(about.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise WrongUsage(
            f"cannot read the model: {error.strerror}", str(path), "give a .tflite file"
        ) from error


def parse_tflite(content: bytes, where: str) -> TfliteModel:
    """Parse a flatbuffer from a stranger, within limits on every count.

    Raises:
        WrongUsage: it is no TensorFlow Lite flatbuffer, or contradicts itself.

    Source: tensorflow/lite/schema/schema.fbs, version 3.
    """
    if content[_MAGIC_OFFSET : _MAGIC_OFFSET + len(_MAGIC)] != _MAGIC:
        raise _not_tflite(where, "the mark TFL3 is missing")
    try:
        return _Reader(content).model()
    except _UNREADABLE as error:
        raise _not_tflite(where, f"it is damaged or truncated: {error}"[:200]) from error


class _Reader:
    """Walks one flatbuffer and keeps count, so that a hostile file ends soon."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._root = tflite.Model.GetRootAs(content, 0)
        self._left = {
            "references": MAX_REFERENCES,
            "scales": MAX_SCALES,
            "bytes of names": MAX_NAME_BYTES,
            "bytes of constants": MAX_CONSTANT_BYTES,
        }

    def model(self) -> TfliteModel:
        """Read the first subgraph, which is the main one."""
        if self._root.SubgraphsLength() < 1:
            raise ValueError("no graph in it")
        graph = self._root.Subgraphs(0)
        kinds = _at_most(self._root.OperatorCodesLength(), MAX_OPCODES)
        opcodes = tuple(self._opcode(n) for n in range(kinds))
        tensors = tuple(
            self._tensor(graph.Tensors(n), n) for n in range(_at_most(graph.TensorsLength(), MAX_TENSORS))
        )
        count = _at_most(graph.OperatorsLength(), MAX_OPERATORS)
        return TfliteModel(
            tensors=tensors,
            operators=tuple(self._operator(graph.Operators(n), n, opcodes, tensors) for n in range(count)),
            inputs=self._present(graph.InputsLength(), graph.InputsAsNumpy, tensors),
            outputs=self._present(graph.OutputsLength(), graph.OutputsAsNumpy, tensors),
            opcodes=opcodes,
        )

    def _opcode(self, number: int) -> tuple[str, int]:
        entry = self._root.OperatorCodes(number)
        # Codes above 127 do not fit into the old field; old files have only the old one.
        code = max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())
        name = _OPERATORS.get(code, f"BUILTIN_{code}")
        if name == "CUSTOM":
            name = "CUSTOM:" + self._text(entry.CustomCode())
        return name, entry.Version()

    def _tensor(self, entry: Any, index: int) -> Tensor:
        quantization = entry.Quantization()
        scales: tuple[float, ...] = ()
        zero_points: tuple[int, ...] = ()
        if quantization is not None and quantization.ScaleLength():
            self._spend("scales", quantization.ScaleLength() + quantization.ZeroPointLength())
            scales = tuple(quantization.ScaleAsNumpy().tolist())
            if not all(map(math.isfinite, scales)):
                raise ValueError("a scale that is no number")
            zero_points = tuple(
                quantization.ZeroPointAsNumpy().tolist() if quantization.ZeroPointLength() else ()
            )
        data, data_start = self._data(entry.Buffer())
        return Tensor(
            index=index,
            name=self._text(entry.Name()),
            dtype=_DTYPES.get(entry.Type(), f"TYPE_{entry.Type()}"),
            shape=_sizes(entry.ShapeLength(), entry.ShapeAsNumpy),
            signature=_sizes(entry.ShapeSignatureLength(), entry.ShapeSignatureAsNumpy),
            scales=scales,
            zero_point=zero_points[0] if zero_points else 0,
            is_variable=bool(entry.IsVariable()),
            data=data,
            zero_points=zero_points,
            quantized_dimension=int(quantization.QuantizedDimension()) if scales else 0,
            data_start=data_start,
            scales_start=_vector_start(quantization, _QUANTIZATION_SCALE) if scales else _ABSENT,
        )

    def _data(self, number: int) -> "tuple[np.ndarray[Any, np.dtype[np.uint8]] | None, int]":
        """Return a buffer's bytes and where they begin in the file."""
        if not 0 <= number < self._root.BuffersLength():
            raise ValueError(f"there is no buffer {number}")
        entry = self._root.Buffers(number)
        if entry.DataLength():
            return entry.DataAsNumpy(), _vector_start(entry, _BUFFER_DATA)
        if entry.Size():
            return np.frombuffer(self._content, np.uint8, entry.Size(), entry.Offset()), entry.Offset()
        return None, _ABSENT

    def _operator(
        self, entry: Any, index: int, opcodes: tuple[tuple[str, int], ...], tensors: tuple[Tensor, ...]
    ) -> Operator:
        name, version = opcodes[entry.OpcodeIndex()]
        inputs = self._numbers(entry.InputsLength(), entry.InputsAsNumpy, len(tensors))
        operands = tuple(None if number == _ABSENT else tensors[number] for number in inputs)
        outputs = self._present(entry.OutputsLength(), entry.OutputsAsNumpy, tensors)
        self._spend("bytes of names", len(name))
        for tensor in (*filter(None, operands), *outputs):
            self._spend("bytes of names", len(tensor.name))
            self._spend("bytes of constants", 0 if tensor.data is None else len(tensor.data))
        custom = entry.CustomOptionsLength()
        return Operator(
            index=index,
            name=name,
            version=version,
            inputs=operands,
            outputs=outputs,
            options=read_options(entry),
            custom_options=entry.CustomOptionsAsNumpy().data if custom else memoryview(b""),
            custom_start=_vector_start(entry, _OPERATOR_CUSTOM_OPTIONS) if custom else _ABSENT,
        )

    def _present(self, count: int, get: _Vector, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        numbers = self._numbers(count, get, len(tensors))
        return tuple(tensors[number] for number in numbers if number != _ABSENT)

    def _numbers(self, count: int, get: _Vector, tensors: int) -> list[int]:
        self._spend("references", _at_most(count, MAX_OPERANDS))
        numbers: list[int] = get().tolist() if count else []
        if any(not _ABSENT <= number < tensors for number in numbers):
            raise ValueError("an operator names a tensor that is not there")
        return numbers

    def _spend(self, what: str, amount: int) -> None:
        self._left[what] -= amount
        if self._left[what] < 0:
            raise ValueError(f"more {what} than any model has")

    def _text(self, raw: bytes | None) -> str:
        self._spend("bytes of names", len(raw or b""))
        return make_printable((raw or b"").decode("utf-8", "replace"))


def _vector_start(entry: Any, field: int) -> int:
    """Return where the items of a table's vector begin in the file."""
    table = entry._tab  # the generated getters keep the place to themselves
    return int(table.Vector(table.Offset(field)))


def _sizes(count: int, get: _Vector) -> tuple[int, ...]:
    return tuple(get().tolist()) if _at_most(count, MAX_RANK) else ()


def _at_most(count: int, limit: int) -> int:
    if count > limit:
        raise ValueError(f"a list of {count} items, at most {limit} are read")
    return count


def _not_tflite(where: str, why: str) -> WrongUsage:
    return WrongUsage(f"not a usable .tflite file: {why}", where, "give a file that a TFLite converter wrote")
