"""Reads a .tflite file from a stranger into the types of tflite_model, within limits on every count."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from host_cli.errors import WrongUsage
from quantize.tflite_model import Operator, Tensor, TfliteModel

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_TENSORS = 100_000
MAX_OPERATORS = 100_000
MAX_RANK = 16
MAX_OPERANDS = 4096
MAX_REFERENCES = 2_000_000
MAX_NAME_BYTES = 16 * 1024 * 1024

_MAGIC = b"TFL3"
_MAGIC_OFFSET = 4
_UNREADABLE = (struct.error, ValueError, IndexError, TypeError, OverflowError, AttributeError, KeyError)
_ABSENT = -1


def _names_of(enumeration: type) -> Mapping[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


_DTYPES = _names_of(tflite.TensorType)
_OPERATORS = _names_of(tflite.BuiltinOperator)

# Which options a rule asks for, by operator: the schema's table, then its getters.
_OPTIONS: Mapping[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "CONV_2D": (tflite.Conv2DOptions, ("DilationWFactor", "DilationHFactor")),
    "DEPTHWISE_CONV_2D": (tflite.DepthwiseConv2DOptions, ("DilationWFactor", "DilationHFactor")),
    "FULLY_CONNECTED": (tflite.FullyConnectedOptions, ("WeightsFormat",)),
    "AVERAGE_POOL_2D": (tflite.Pool2DOptions, ("FusedActivationFunction",)),
    "MAX_POOL_2D": (tflite.Pool2DOptions, ("FusedActivationFunction",)),
    "CONCATENATION": (tflite.ConcatenationOptions, ("FusedActivationFunction",)),
    "PACK": (tflite.PackOptions, ("Axis",)),
    "STRIDED_SLICE": (tflite.StridedSliceOptions, ("EllipsisMask", "NewAxisMask")),
}


def load_tflite(path: Path) -> TfliteModel:
    """Read and parse a file.

    Raises:
        WrongUsage: it is not there, too large, or not a .tflite file.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _not_tflite(str(path), f"it has more than {MAX_FILE_BYTES} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise WrongUsage(
            f"cannot read the model: {error.strerror}", str(path), "give a .tflite file"
        ) from error
    return parse_tflite(content, str(path))


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
        self._references_left = MAX_REFERENCES
        self._name_bytes_left = MAX_NAME_BYTES

    def model(self) -> TfliteModel:
        """Read the first subgraph, which is the main one."""
        if self._root.SubgraphsLength() < 1:
            raise ValueError("no graph in it")
        graph = self._root.Subgraphs(0)
        opcodes = tuple(self._opcode(n) for n in range(_at_most(self._root.OperatorCodesLength(), 4096)))
        tensors = tuple(
            self._tensor(graph.Tensors(n), n) for n in range(_at_most(graph.TensorsLength(), MAX_TENSORS))
        )
        count = _at_most(graph.OperatorsLength(), MAX_OPERATORS)
        return TfliteModel(
            tensors=tensors,
            operators=tuple(self._operator(graph.Operators(n), n, opcodes, tensors) for n in range(count)),
            inputs=self._present(graph.InputsLength(), graph.Inputs, tensors),
            outputs=self._present(graph.OutputsLength(), graph.Outputs, tensors),
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
        zero_point = 0
        if quantization is not None and quantization.ScaleLength():
            self._spend(quantization.ScaleLength())
            scales = tuple(float(scale) for scale in quantization.ScaleAsNumpy())
            zero_point = int(quantization.ZeroPoint(0)) if quantization.ZeroPointLength() else 0
        return Tensor(
            index=index,
            name=self._text(entry.Name()),
            dtype=_DTYPES.get(entry.Type(), f"TYPE_{entry.Type()}"),
            shape=_sizes(entry.ShapeLength(), entry.Shape),
            signature=_sizes(entry.ShapeSignatureLength(), entry.ShapeSignature),
            scales=scales,
            zero_point=zero_point,
            is_variable=bool(entry.IsVariable()),
            data=self._data(entry.Buffer()),
        )

    def _data(self, number: int) -> "np.ndarray[Any, np.dtype[np.uint8]] | None":
        if not 0 <= number < self._root.BuffersLength():
            raise ValueError(f"there is no buffer {number}")
        entry = self._root.Buffers(number)
        if entry.DataLength():
            return entry.DataAsNumpy()  # type: ignore[no-any-return]
        if entry.Size():
            return np.frombuffer(self._content, np.uint8, entry.Size(), entry.Offset())
        return None

    def _operator(
        self, entry: Any, index: int, opcodes: tuple[tuple[str, int], ...], tensors: tuple[Tensor, ...]
    ) -> Operator:
        name, version = opcodes[entry.OpcodeIndex()]
        inputs = self._numbers(entry.InputsLength(), entry.Inputs, len(tensors))
        return Operator(
            index=index,
            name=name,
            version=version,
            inputs=tuple(None if number == _ABSENT else tensors[number] for number in inputs),
            outputs=self._present(entry.OutputsLength(), entry.Outputs, tensors),
            options=_options(name, entry),
        )

    def _present(
        self, count: int, get: Callable[[int], int], tensors: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        numbers = self._numbers(count, get, len(tensors))
        return tuple(tensors[number] for number in numbers if number != _ABSENT)

    def _numbers(self, count: int, get: Callable[[int], int], tensors: int) -> list[int]:
        self._spend(_at_most(count, MAX_OPERANDS))
        numbers = [get(n) for n in range(count)]
        if any(not _ABSENT <= number < tensors for number in numbers):
            raise ValueError("an operator names a tensor that is not there")
        return numbers

    def _spend(self, references: int) -> None:
        self._references_left -= references
        if self._references_left < 0:
            raise ValueError("more references than any model has")

    def _text(self, raw: bytes | None) -> str:
        self._name_bytes_left -= len(raw or b"")
        if self._name_bytes_left < 0:
            raise ValueError("more names than any model has")
        return (raw or b"").decode("utf-8", "replace")


def _sizes(count: int, get: Callable[[int], int]) -> tuple[int, ...]:
    return tuple(int(get(n)) for n in range(_at_most(count, MAX_RANK)))


def _options(name: str, entry: Any) -> Mapping[str, int]:
    wanted = _OPTIONS.get(name)
    table = entry.BuiltinOptions() if wanted else None
    if wanted is None or table is None:
        return {}
    make, getters = wanted
    options = make()
    options.Init(table.Bytes, table.Pos)
    return {getter: int(getattr(options, getter)()) for getter in getters}


def _at_most(count: int, limit: int) -> int:
    if count > limit:
        raise ValueError(f"a list of {count} items, at most {limit} are read")
    return count


def _not_tflite(where: str, why: str) -> WrongUsage:
    return WrongUsage(f"not a usable .tflite file: {why}", where, "give a file that a TFLite converter wrote")
