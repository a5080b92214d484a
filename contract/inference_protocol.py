"""The Open Inference Protocol v2, JSON and binary tensors, as plain values: no HTTP and no model in here.

A board and the cloud answer by it, so that a client may ask either.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md; the binary tensor
data extension: Triton's docs/protocol/extension_binary_data.md.
"""

import array
import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Tuple

from contract.artifacts import TensorSpec
from contract.codec import parse_json
from contract.errors import MessageError
from contract.messages import ModelVersion
from contract.records import Flag, Integer, Items, Maybe, Nested, Record, Text, load_record, rule

EXTENSIONS = ("binary_tensor_data",)
HEADER_LENGTH = "Inference-Header-Content-Length"
# What metadata says in place of a size that the client chooses.
ANY_SIZE = -1
# Numbers as text cost time to read; larger tensors have the binary extension.
MAX_JSON_BYTES = 1024 * 1024
# The protocol's name of each dtype, and the type code of the `array` module with the same layout.
_DATATYPES = {
    "uint8": ("UINT8", "B"),
    "int8": ("INT8", "b"),
    "float32": ("FP32", "f"),
    "int32": ("INT32", "i"),
    "int64": ("INT64", "q"),
    "bool": ("BOOL", "B"),
}

Specs = Tuple[TensorSpec, ...]


@dataclass(frozen=True)
class _Parameters(Record):
    """What the binary extension says about one tensor or a whole request."""

    binary_data_size: Optional[int] = rule(Maybe(Integer()), default=None)
    binary_data: Optional[bool] = rule(Maybe(Flag()), default=None)
    binary_data_output: bool = rule(Flag(), default=False)
    classification: int = rule(Integer(), default=0)


@dataclass(frozen=True)
class _Wanted(Record):
    """An output that the client names."""

    name: str = rule(Text(max_length=512))
    parameters: _Parameters = rule(Nested(_Parameters), default=_Parameters())


@dataclass(frozen=True)
class _Given(Record):
    """An input that the client gives, its data aside."""

    name: str = rule(Text(max_length=512))
    shape: Tuple[int, ...] = rule(Items(Integer(), max_items=8))
    datatype: str = rule(Text(max_length=16))
    parameters: _Parameters = rule(Nested(_Parameters), default=_Parameters())


@dataclass(frozen=True)
class _Request(Record):
    """A request, its tensors' data aside."""

    inputs: Tuple[_Given, ...] = rule(Items(Nested(_Given), max_items=8, min_items=1))
    outputs: Tuple[_Wanted, ...] = rule(Items(Nested(_Wanted), max_items=8), default=())
    id: str = rule(Text(max_length=128), default="")
    parameters: _Parameters = rule(Nested(_Parameters), default=_Parameters())


@dataclass(frozen=True)
class Question:
    """A checked request.

    Attributes:
        id: what the client calls it.
        payload: the bytes of all inputs, in the model's order.
        outputs: the numbers of the outputs that the answer shall have, in the client's order, and whether
            each is wanted as bytes.
        batch: how many examples the inputs hold, 1 for a model that takes no batches.
    """

    id: str
    payload: bytes
    outputs: Tuple[Tuple[int, bool], ...]
    batch: int = 1

    @property
    def is_binary(self) -> bool:
        """Whether the answer is more than JSON."""
        return any(is_binary for _, is_binary in self.outputs)


def read_question(
    body: bytes, header_length: str, taken: Specs, given: Specs, *, max_batch: Optional[int] = None
) -> Question:
    """Read the body of a request for a model.

    Args:
        body: JSON, with the binary extension followed by the tensors' bytes.
        header_length: the header HEADER_LENGTH: the JSON's bytes; empty if all is JSON.
        taken: the model's inputs.
        given: the model's outputs.
        max_batch: the first size of every tensor counts examples, 1 to this many; none if sizes are fixed.

    Raises:
        MessageError: it is no such request, or not one that the model can answer.
    """
    head, tail = _split(body, header_length)
    raw = parse_json(head, MAX_JSON_BYTES)
    request = load_record(_Request, raw)
    batch = 1 if max_batch is None else _read_batch(request, max_batch)
    if max_batch is not None:
        taken = _with_batch(taken, batch)
    specs = {spec.name: spec for spec in taken}
    _check_inputs(request, specs)
    tensors = {}
    for tensor, entry in zip(request.inputs, raw["inputs"]):
        spec, size = specs[tensor.name], tensor.parameters.binary_data_size
        if size is None:
            tensors[tensor.name] = _pack(entry.get("data"), spec)
        else:
            tensors[tensor.name], tail = _take_binary(tail, size, spec)
    if tail:
        raise MessageError(
            f"{len(tail)} bytes follow the JSON and the inputs, and no input says binary_data_size"
        )
    payload = b"".join(tensors[spec.name] for spec in taken)
    return Question(request.id, payload, _choose_outputs(request, given), batch)


def write_answer(
    question: Question, model: ModelVersion, given: Specs, output: bytes, parameters: Dict[str, Any]
) -> Tuple[bytes, int]:
    """Return the body of the answer, and how many bytes of it are JSON.

    Args:
        question: what was asked.
        model: who answers.
        given: the model's outputs, as `read_question` got them.
        output: the bytes of all outputs, in the model's order.
        parameters: what is told beside the tensors, as JSON types.

    Raises:
        MessageError: JSON has no word for NaN, and an output holds it.
    """
    if question.batch != 1:
        given = _with_batch(given, question.batch)
    cut = _cut(output, given)
    tensors, tail = [], b""
    for number, is_binary in question.outputs:
        tensor, data = _describe(given[number]), cut[number]
        if is_binary:
            tensor["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            tensor["data"] = _unpack(data, given[number])
        tensors.append(tensor)
    answer = {
        "model_name": model.name,
        "model_version": model.version,
        "outputs": tensors,
        "parameters": parameters,
    }
    if question.id:
        answer["id"] = question.id
    head = json.dumps(answer).encode("ascii")
    return head + tail, len(head)


def describe_model(
    model: ModelVersion, platform: str, inputs: Specs, outputs: Specs, *, takes_batches: bool = False
) -> Dict[str, Any]:
    """Return the metadata of a model; with `takes_batches` the first size of every tensor is -1, any."""
    described = {
        "inputs": [_describe(spec) for spec in inputs],
        "outputs": [_describe(spec) for spec in outputs],
    }
    if takes_batches:
        for tensor in (*described["inputs"], *described["outputs"]):
            tensor["shape"][0] = ANY_SIZE
    return {"name": model.name, "versions": [model.version], "platform": platform, **described}


def _read_batch(request: _Request, max_batch: int) -> int:
    """Return how many examples the first input has; whether the others agree is checked with their shapes."""
    shape = request.inputs[0].shape
    if not shape or not 1 <= shape[0] <= max_batch:
        raise MessageError(
            f"the first size must be the number of examples, 1 to {max_batch}, got {list(shape)}"
        )
    return shape[0]


def _with_batch(specs: Specs, batch: int) -> Specs:
    return tuple(dataclasses.replace(spec, shape=(batch, *spec.shape[1:])) for spec in specs)


def _describe(spec: TensorSpec) -> Dict[str, Any]:
    return {"name": spec.name, "datatype": _DATATYPES[spec.dtype][0], "shape": list(spec.shape)}


def _split(body: bytes, header_length: str) -> Tuple[bytes, bytes]:
    if not header_length:
        return body, b""
    is_number = header_length.isdecimal() and header_length.isascii() and len(header_length) < 10
    if not is_number or int(header_length) > len(body):
        raise MessageError(f"Inference-Header-Content-Length must be at most {len(body)}, the body's length")
    return body[: int(header_length)], body[int(header_length) :]


def _check_inputs(request: _Request, specs: Dict[str, TensorSpec]) -> None:
    """Each input of the model is given once, as it must be."""
    for tensor in request.inputs:
        taken = specs.get(tensor.name)
        if taken is None:
            raise MessageError(f"the model has no input {tensor.name!r}, it takes {_join(specs)}")
        datatype = _DATATYPES[taken.dtype][0]
        if tensor.datatype != datatype:
            raise MessageError(f"input {taken.name!r} must be {datatype}, got {tensor.datatype}")
        if tensor.shape != taken.shape:
            shape, got = list(taken.shape), list(tensor.shape)
            raise MessageError(f"input {taken.name!r} must have the shape {shape}, got {got}")
    if sorted(tensor.name for tensor in request.inputs) != sorted(specs):
        raise MessageError(
            f"the model takes {_join(specs)}, each once, and {len(request.inputs)} inputs were given"
        )


def _choose_outputs(request: _Request, given: Specs) -> Tuple[Tuple[int, bool], ...]:
    numbers = {spec.name: number for number, spec in enumerate(given)}
    default = request.parameters.binary_data_output
    chosen: Dict[int, bool] = {}
    for wanted in request.outputs:
        if wanted.name not in numbers:
            raise MessageError(f"the model has no output {wanted.name!r}, it gives {_join(numbers)}")
        if wanted.parameters.classification:
            raise MessageError("classification is not supported here; POST /predict?k=3 names the labels")
        if numbers[wanted.name] in chosen:
            raise MessageError(f"output {wanted.name!r} is named twice")
        said = wanted.parameters.binary_data
        chosen[numbers[wanted.name]] = default if said is None else said
    return tuple(chosen.items()) or tuple((number, default) for number in range(len(given)))


def _join(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _take_binary(tail: bytes, size: int, taken: TensorSpec) -> Tuple[bytes, bytes]:
    """Return the tensor's bytes, and what follows them."""
    expected = _count_bytes(taken)
    if size != expected or len(tail) < expected:
        raise MessageError(
            f"input {taken.name!r} has {expected} bytes; binary_data_size is {size}, sent were {len(tail)}"
        )
    return tail[:expected], tail[expected:]


def _cut(output: bytes, given: Specs) -> List[bytes]:
    cut, offset = [], 0
    for spec in given:
        size = _count_bytes(spec)
        cut.append(output[offset : offset + size])
        offset += size
    return cut


def _pack(data: Any, taken: TensorSpec) -> bytes:
    """Return a JSON tensor as bytes in row-major order."""
    values, shape = _flatten(data)
    if shape not in ([_count(taken)], list(taken.shape)):
        raise MessageError(
            f"input {taken.name!r}: data must be {_count(taken)} numbers, flat or nested as the shape"
        )
    try:
        packed = array.array(_DATATYPES[taken.dtype][1], values)
    except (TypeError, OverflowError) as error:
        raise MessageError(f"input {taken.name!r} must be {taken.dtype}: {error}") from error
    if taken.dtype == "bool" and max(packed) > 1:
        raise MessageError(f"input {taken.name!r} must be true or false")
    return packed.tobytes()


def _flatten(data: Any) -> Tuple[List[Any], List[int]]:
    """Return the values of nested lists, and how many there are on each level."""
    if not isinstance(data, list):
        raise MessageError("an input has neither a list in data nor binary_data_size")
    shape = [len(data)]
    while data and isinstance(data[0], list):
        lengths = {len(row) if isinstance(row, list) else -1 for row in data}
        if len(lengths) != 1:
            raise MessageError("the rows of data are not equally long")
        shape.append(lengths.pop())
        data = [value for row in data for value in row]
    return data, shape


def _unpack(output: bytes, given: TensorSpec) -> List[Any]:
    values = array.array(_DATATYPES[given.dtype][1], output).tolist()
    if given.dtype == "float32" and not all(map(math.isfinite, values)):
        raise MessageError(f"output {given.name!r} has NaN or infinity, ask for binary data")
    return [bool(value) for value in values] if given.dtype == "bool" else values


def _count_bytes(spec: TensorSpec) -> int:
    return _count(spec) * array.array(_DATATYPES[spec.dtype][1]).itemsize


def _count(spec: TensorSpec) -> int:
    count = 1
    for size in spec.shape:
        count *= size
    return count
