"""The Open Inference Protocol v2, JSON and binary tensors, as plain values: no HTTP and no model in here.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md; the binary tensor
data extension: Triton's docs/protocol/extension_binary_data.md.
"""

import array
import json
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from contract.artifacts import TensorSpec
from contract.codec import parse_json
from contract.errors import MessageError
from contract.messages import ModelVersion, Prediction
from contract.records import Flag, Integer, Items, Maybe, Nested, Record, Text, load_record, rule
from edge_agent.errors import RequestError

EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "tensorflow_lite"
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
    """A checked request: its id, the input tensor's bytes, and whether the output is wanted as bytes too."""

    id: str
    payload: bytes
    is_binary: bool


def read_question(body: bytes, header_length: str, taken: TensorSpec, given: TensorSpec) -> Question:
    """Read the body of a request for a model.

    Args:
        body: JSON, with the binary extension followed by the tensor's bytes.
        header_length: the header Inference-Header-Content-Length: the JSON's bytes; empty if all is JSON.
        taken: the model's input.
        given: the model's output.

    Raises:
        RequestError: it is no such request, or not one that the model can answer.
    """
    head, tail = _split(body, header_length)
    try:
        raw = parse_json(head, MAX_JSON_BYTES)
        request = load_record(_Request, raw)
    except MessageError as error:
        raise _bad(str(error)) from error
    _check_tensors(request, taken, given)
    size = request.inputs[0].parameters.binary_data_size
    if size is not None:
        payload = _take_binary(tail, size, taken)
    elif tail:
        raise _bad(f"{len(tail)} bytes follow the JSON, and no input says binary_data_size")
    else:
        payload = _pack(raw["inputs"][0].get("data"), taken)
    return Question(request.id, payload, _wants_binary(request))


def write_answer(
    question: Question, prediction: Prediction, given: TensorSpec, output: bytes
) -> Tuple[bytes, int]:
    """Return the body of the answer, and how many bytes of it are JSON.

    Args:
        question: what was asked.
        prediction: what the labels and the backend are; told as parameters.
        given: the model's output.
        output: the output tensor's bytes.
    """
    tensor = _describe(given)
    if question.is_binary:
        tensor["parameters"] = {"binary_data_size": len(output)}
    else:
        tensor["data"] = _unpack(output, given)
    answer = {
        "model_name": prediction.model.name,
        "model_version": prediction.model.version,
        "outputs": [tensor],
        "parameters": {"label": prediction.label, "score": prediction.score, "backend": prediction.backend},
    }
    if question.id:
        answer["id"] = question.id
    head = json.dumps(answer).encode("ascii")
    return head + (output if question.is_binary else b""), len(head)


def describe_model(
    model: ModelVersion, inputs: Tuple[TensorSpec, ...], outputs: Tuple[TensorSpec, ...]
) -> Dict[str, Any]:
    """Return the metadata of a model."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [_describe(spec) for spec in inputs],
        "outputs": [_describe(spec) for spec in outputs],
    }


def _describe(spec: TensorSpec) -> Dict[str, Any]:
    return {"name": spec.name, "datatype": _DATATYPES[spec.dtype][0], "shape": list(spec.shape)}


def _split(body: bytes, header_length: str) -> Tuple[bytes, bytes]:
    if not header_length:
        return body, b""
    is_number = header_length.isdecimal() and header_length.isascii() and len(header_length) < 10
    if not is_number or int(header_length) > len(body):
        raise _bad(f"Inference-Header-Content-Length must be at most {len(body)}, the body's length")
    return body[: int(header_length)], body[int(header_length) :]


def _check_tensors(request: _Request, taken: TensorSpec, given: TensorSpec) -> None:
    if len(request.inputs) != 1:
        raise _bad(f"the model has one input, {taken.name!r}, and {len(request.inputs)} were given")
    tensor, datatype = request.inputs[0], _DATATYPES[taken.dtype][0]
    if tensor.name != taken.name:
        raise _bad(f"the model has no input {tensor.name!r}, its input is {taken.name!r}")
    if tensor.datatype != datatype:
        raise _bad(f"input {taken.name!r} must be {datatype}, got {tensor.datatype}")
    if tensor.shape != taken.shape:
        raise _bad(f"input {taken.name!r} must have the shape {list(taken.shape)}, got {list(tensor.shape)}")
    for wanted in request.outputs:
        if wanted.name != given.name:
            raise _bad(f"the model has no output {wanted.name!r}, its output is {given.name!r}")
        if wanted.parameters.classification:
            raise _bad("classification is not supported here; POST /predict?k=3 names the labels")
    if len(request.outputs) > 1:
        raise _bad(f"output {given.name!r} is named twice")


def _wants_binary(request: _Request) -> bool:
    for wanted in request.outputs:
        if wanted.parameters.binary_data is not None:
            return wanted.parameters.binary_data
    return request.parameters.binary_data_output


def _take_binary(tail: bytes, size: int, taken: TensorSpec) -> bytes:
    expected = _count(taken) * array.array(_DATATYPES[taken.dtype][1]).itemsize
    if size != expected or len(tail) != expected:
        raise _bad(
            f"input {taken.name!r} has {expected} bytes; binary_data_size is {size}, sent were {len(tail)}"
        )
    return tail


def _pack(data: Any, taken: TensorSpec) -> bytes:
    """Return a JSON tensor as bytes in row-major order."""
    values, shape = _flatten(data)
    if shape not in ([_count(taken)], list(taken.shape)):
        raise _bad(f"input {taken.name!r}: data must be {_count(taken)} numbers, flat or nested as the shape")
    try:
        packed = array.array(_DATATYPES[taken.dtype][1], values)
    except (TypeError, OverflowError) as error:
        raise _bad(f"input {taken.name!r} must be {taken.dtype}: {error}") from error
    if taken.dtype == "bool" and max(packed) > 1:
        raise _bad(f"input {taken.name!r} must be true or false")
    return packed.tobytes()


def _flatten(data: Any) -> Tuple[List[Any], List[int]]:
    """Return the values of nested lists, and how many there are on each level."""
    if not isinstance(data, list):
        raise _bad("an input has neither a list in data nor binary_data_size")
    shape = [len(data)]
    while data and isinstance(data[0], list):
        lengths = {len(row) if isinstance(row, list) else -1 for row in data}
        if len(lengths) != 1:
            raise _bad("the rows of data are not equally long")
        shape.append(lengths.pop())
        data = [value for row in data for value in row]
    return data, shape


def _unpack(output: bytes, given: TensorSpec) -> List[Any]:
    values = array.array(_DATATYPES[given.dtype][1], output).tolist()
    return [bool(value) for value in values] if given.dtype == "bool" else values


def _count(spec: TensorSpec) -> int:
    count = 1
    for size in spec.shape:
        count *= size
    return count


def _bad(message: str) -> RequestError:
    return RequestError("bad_request", message)
