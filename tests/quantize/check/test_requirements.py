"""What a converted file must not have, and what is said about it."""

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.check.requirements import find_load_failures, find_violations, require
from quantize.tflite_file import parse_tflite
from tests.quantize.conftest import convert_plainly
from tests.quantize.graphs import chain, constant, model, operator, tensor


def words(violations) -> str:
    return "\n".join(str(violation) for violation in violations)


def pixels(**changes):
    return tensor(dtype="UINT8", **changes)


def test_finds_nothing_in_our_own_conversion(int8_model):
    """What quantize makes keeps every rule."""
    assert find_violations(parse_tflite(int8_model, "model.tflite"), "uint8") == ()


def test_catches_the_ordinary_conversion(trained, test_images):
    """An open batch and per-channel dense weights, as TensorFlow makes them by default, are caught."""
    import keras

    samples = test_images[0][:20] / np.float32(255)
    trained_model = keras.models.load_model(trained / "model.keras", compile=False)
    found = find_violations(parse_tflite(convert_plainly(trained_model, samples), "plain"), "uint8")
    said = words(found)
    assert "RESHAPE" in said and "its size is only known while the model runs" in said
    assert "has the open shape [-1, 28, 28, 1]" in said

    entry = keras.Input(batch_shape=(1, 28, 28, 1))
    fixed = keras.Model(entry, trained_model(entry))
    found = find_violations(parse_tflite(convert_plainly(fixed, samples), "plain"), "uint8")
    assert [(violation.op, "one scale per channel" in violation.what) for violation in found] == [
        ("FULLY_CONNECTED", True),
        ("FULLY_CONNECTED", True),
    ]


def test_require_names_operator_tensor_and_remedy():
    """The error is one that a person can act on."""
    weights = constant([[1, 2], [3, 4]], "INT8", name="dense/MatMul", scales=(0.1, 0.2))
    dense = operator("FULLY_CONNECTED", [pixels(shape=(1, 2)), weights], [pixels(shape=(1, 2))])
    with pytest.raises(GateNotMet) as error:
        require(model(dense), "uint8", "model.keras")
    assert "operator 0 FULLY_CONNECTED, tensor dense/MatMul" in error.value.what
    assert error.value.where == "model.keras" and "per tensor" in error.value.hint


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("CONV_2D", 6, "versions up to 5"),
        ("FULLY_CONNECTED", 12, "versions up to 9"),
        ("TILE", 3, "versions up to 2"),
        ("GELU", 1, "not known"),
        ("CUSTOM:Atan", 1, "custom operator"),
    ],
)
def test_refuses_operators_that_an_old_runtime_cannot_read(name, version, said):
    """TensorFlow Lite 2.5 refuses the whole file for one operator it does not know."""
    found = find_load_failures(model(operator(name, [tensor()], [tensor()], version)))
    assert said in words(found) and found[0].fix


def test_lets_an_open_batch_pass_that_no_operator_computes_with():
    """The compiler maps such files: only sizes that are computed while running stop it."""
    open_batch = {"signature": (-1, 8, 8, 4)}
    graph = model(operator("RELU", [pixels(**open_batch)], [pixels(**open_batch)]))
    assert find_load_failures(graph) == ()
    assert "open shape" in words(find_violations(graph, "uint8"))


def test_refuses_floats_inside_and_a_border_of_another_type():
    """Integer in and out means integer all the way; what was asked for is what is there."""
    inside = tensor(dtype="FLOAT32", name="middle")
    graph = model(operator("RELU", [pixels()], [inside]), operator("RELU", [inside], [tensor()]))
    said = words(find_violations(graph, "uint8"))
    assert "tensor middle: is FLOAT32" in said and "asked for was uint8" in said


def test_allows_floats_at_the_border_when_asked_for():
    """--io float32 keeps float in and out, not within."""
    ends = [tensor(dtype="FLOAT32") for _ in range(2)]
    middle = [tensor() for _ in range(2)]
    graph = model(
        operator("QUANTIZE", [ends[0]], [middle[0]]),
        operator("RELU", [middle[0]], [middle[1]]),
        operator("DEQUANTIZE", [middle[1]], [ends[1]]),
    )
    assert find_violations(graph, "float32") == ()


def test_refuses_a_batch_of_two():
    """Boards send one picture at a time."""
    two = model(operator("RELU", [pixels(shape=(2, 4))], [pixels(shape=(2, 4))]))
    assert "not batch 1" in words(find_violations(two, "uint8"))


def test_reports_every_load_failure_once():
    """A chain of good operators has none."""
    assert find_load_failures(chain("RELU", "ADD")) == ()


def test_names_the_grouped_convolution_that_raised_the_version_of_all():
    """The converter gives one version to all convolutions; only the grouped one has to change."""
    plain, grouped = constant([[[[1] * 4]]], "INT8"), constant([[[[1] * 2]]], "INT8")
    graph = model(
        operator("CONV_2D", [tensor(), plain], [tensor()], 6),
        operator("CONV_2D", [tensor(), grouped], [tensor()], 6),
    )
    assert [violation.index for violation in find_load_failures(graph)] == [1]
    assert "split the grouped" in find_load_failures(graph)[0].fix


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("RESHAPE", 2),
        ("TILE", 2),
        ("SPLIT_V", 3),
        ("SPACE_TO_BATCH_ND", 3),
        ("TRANSPOSE_CONV", 3),
        ("WHERE", 1),
    ],
)
def test_refuses_sizes_that_are_computed(name, inputs):
    """A size that an operator computes is not known before the model runs."""
    made = tensor((2,), "INT32")
    operators = [operator("SHAPE", [tensor()], [made]), operator(name, [made] * inputs, [tensor()])]
    assert [violation.words[:10] for violation in find_load_failures(model(*operators))] == ["Attempting"]
