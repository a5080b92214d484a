"""Promises of contract.inference_protocol: right tensors come through exactly, wrong ones are explained."""

import json
import struct

import pytest

from contract.artifacts import TensorSpec
from contract.errors import MessageError
from contract.inference_protocol import MAX_JSON_BYTES, describe_model, read_question, write_answer
from contract.messages import ModelVersion

MODEL = ModelVersion("fashion", "3", "ab" * 32)
TOLD = {"label": "sneaker", "score": 0.97}
TAKEN = TensorSpec("x", (1, 2, 3), "int8")
GIVEN = TensorSpec("y", (1, 4), "uint8")
VALUES = [1, -2, 3, -128, 127, 0]
PAYLOAD = struct.pack("6b", *VALUES)


def build(data=VALUES, shape=(1, 2, 3), datatype="INT8", name="x", **more):
    tensor = {"name": name, "shape": shape, "datatype": datatype, "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def build_binary(payload=PAYLOAD, size=None):
    parameters = {"binary_data_size": len(payload) if size is None else size}
    tensor = {"name": "x", "shape": [1, 2, 3], "datatype": "INT8", "parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + payload, str(len(head))


@pytest.mark.parametrize("data", [VALUES, [[[1, -2, 3], [-128, 127, 0]]]])
def test_json_may_be_flat_or_nested(data):
    """Both mean the same bytes."""
    assert read_question(build(data), "", (TAKEN,), (GIVEN,)).payload == PAYLOAD


@pytest.mark.parametrize(
    ("dtype", "datatype", "data", "layout"),
    [
        ("uint8", "UINT8", [0, 255], "<2B"),
        ("int8", "INT8", [-128, 127], "<2b"),
        ("float32", "FP32", [0.5, -3], "<2f"),
        ("int32", "INT32", [-(2**31), 7], "<2i"),
        ("int64", "INT64", [-(2**63), 7], "<2q"),
        ("bool", "BOOL", [True, False], "<2B"),
    ],
)
def test_every_dtype_has_the_protocols_layout(dtype, datatype, data, layout):
    """Little-endian, row-major, without gaps; and back."""
    spec = TensorSpec("x", (1, 2), dtype)
    question = read_question(build(data, (1, 2), datatype), "", (spec,), (GIVEN,))
    assert question.payload == struct.pack(layout, *data)
    body, _ = write_answer(question, MODEL, (spec,), question.payload, TOLD)
    assert json.loads(body)["outputs"] == [{"name": "x", "datatype": datatype, "shape": [1, 2], "data": data}]


def test_binary_tensors_follow_the_json():
    """The header says where it ends."""
    body, length = build_binary()
    assert read_question(body, length, (TAKEN,), (GIVEN,)).payload == PAYLOAD


@pytest.mark.parametrize(
    ("more", "is_binary"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "y"}]}, False),
        ({"outputs": [{"name": "y"}], "parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": True}}]}, True),
        (
            {
                "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
                "parameters": {"binary_data_output": True},
            },
            False,
        ),
    ],
)
def test_the_client_chooses_how_the_output_travels(more, is_binary):
    """What is said about the output goes before what is said about the request."""
    question = read_question(build(**more), "", (TAKEN,), (GIVEN,))
    assert question.is_binary is is_binary
    body, json_bytes = write_answer(question, MODEL, (GIVEN,), b"\x01\x02\x03\xff", TOLD)
    (tensor,) = json.loads(body[:json_bytes])["outputs"]
    if is_binary:
        assert body[json_bytes:] == b"\x01\x02\x03\xff" and tensor["parameters"] == {"binary_data_size": 4}
    else:
        assert tensor["data"] == [1, 2, 3, 255] and json_bytes == len(body)


def test_the_id_comes_back():
    """A client tells its answers apart by it."""
    question = read_question(build(id="42"), "", (TAKEN,), (GIVEN,))
    answer = json.loads(write_answer(question, MODEL, (GIVEN,), bytes(4), TOLD)[0])
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "fashion", "3")
    assert answer["parameters"] == TOLD


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (build(name="z"), "no input 'z'"),
        (build(datatype="UINT8"), "must be INT8"),
        (build(datatype="BYTES"), "must be INT8"),
        (build(shape=(2, 3)), "must have the shape"),
        (build(shape=(1, 2, -3)), "shape"),
        (build(shape=(1, 2, 2**60)), "shape"),
        (build(VALUES[:-1]), "must be 6 numbers"),
        (build([[1, 2, 3], [4, 5, 6]]), "must be 6 numbers"),
        (build([[[1, 2, 3], [4, 5]]]), "not equally long"),
        (build([[[1, 2, 3], 4]]), "not equally long"),
        (build([]), "must be 6 numbers"),
        (build([1, 2, 3, 4, 5, 128]), "must be int8"),
        (build([1, 2, 3, 4, 5, 1.5]), "must be int8"),
        (build([1, 2, 3, 4, 5, "6"]), "must be int8"),
        (build([1, 2, 3, 4, 5, None]), "must be int8"),
        (build([1, 2, 3, 4, 5, [6]]), "must be int8"),
        (build(None), "neither"),
        (build("abcdef"), "neither"),
        (build(outputs=[{"name": "z"}]), "no output 'z'"),
        (build(outputs=[{"name": "y"}, {"name": "y"}]), "twice"),
        (build(outputs=[{"name": "y", "parameters": {"classification": 3}}]), "classification"),
        (b'{"inputs":[]}', "inputs"),
        (b'{"inputs":[{"name":"x"}]}', "missing"),
        (b"{}", "missing"),
        (b"[]", "object"),
        (b"", "JSON"),
        (b"\xff", "JSON"),
        (b'{"inputs":' + b"[" * 100_000, "nested deeper"),
        (build([int("9" * 4000)]), "characters"),
        (build() + b" " * MAX_JSON_BYTES, "at most"),
        (build() + b"trailing", "JSON"),
    ],
)
def test_a_wrong_request_is_explained(body, said):
    """In one sentence, and never with a traceback."""
    with pytest.raises(MessageError, match=said):
        read_question(body, "", (TAKEN,), (GIVEN,))


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "\u0663", "9" * 30, "1000"])
def test_a_wrong_header_length_is_explained(length):
    """It must be a number, and lie inside the body."""
    with pytest.raises(MessageError, match="Inference-Header-Content-Length"):
        read_question(build_binary()[0], length, (TAKEN,), (GIVEN,))


@pytest.mark.parametrize(
    ("payload", "size"),
    [(PAYLOAD[:-1], None), (PAYLOAD + b"x", None), (PAYLOAD, 5), (PAYLOAD, 2**50), (b"", 6)],
)
def test_a_binary_tensor_has_exactly_the_models_size(payload, size):
    """What is said and what is sent must both be right."""
    body, length = build_binary(payload, size)
    with pytest.raises(MessageError, match="6 bytes"):
        read_question(body, length, (TAKEN,), (GIVEN,))


def test_bytes_that_no_tensor_asks_for_are_refused():
    """They would be ignored silently."""
    head = build()
    with pytest.raises(MessageError, match="follow the JSON"):
        read_question(head + b"abc", str(len(head)), (TAKEN,), (GIVEN,))


def test_a_number_that_json_has_no_word_for_is_not_sent_as_text():
    """NaN would be no JSON; the bytes have it."""
    spec = TensorSpec("y", (1, 1), "float32")
    question = read_question(build(), "", (TAKEN,), (spec,))
    with pytest.raises(MessageError, match="NaN"):
        write_answer(question, MODEL, (spec,), struct.pack("<f", float("nan")), TOLD)


def test_a_model_that_takes_batches_answers_as_many_examples_as_it_got():
    """The first size of what goes in and of what comes out is the number of examples."""
    body = build(VALUES * 2, (2, 2, 3))
    question = read_question(body, "", (TAKEN,), (GIVEN,), max_batch=2)
    assert (question.batch, question.payload) == (2, PAYLOAD * 2)
    answer = json.loads(write_answer(question, MODEL, (GIVEN,), bytes(range(8)), TOLD)[0])
    assert answer["outputs"] == [{"name": "y", "datatype": "UINT8", "shape": [2, 4], "data": list(range(8))}]


@pytest.mark.parametrize("shape", [(3, 2, 3), (0, 2, 3), (), (2, 3)])
def test_a_batch_has_a_limit(shape):
    """None, too many, and pictures without the size that counts them are refused."""
    with pytest.raises(MessageError, match=r"number of examples, 1 to 2|must have the shape"):
        read_question(build(VALUES, shape), "", (TAKEN,), (GIVEN,), max_batch=2)


def test_metadata_say_which_size_the_client_chooses():
    """-1 stands for any; a board's sizes are fixed."""
    fixed = describe_model(MODEL, "tensorflow_lite", (TAKEN,), (GIVEN,))
    open_ = describe_model(MODEL, "keras", (TAKEN,), (GIVEN,), takes_batches=True)
    assert [tensor["shape"] for tensor in (*fixed["inputs"], *fixed["outputs"])] == [[1, 2, 3], [1, 4]]
    assert [tensor["shape"] for tensor in (*open_["inputs"], *open_["outputs"])] == [[-1, 2, 3], [-1, 4]]
