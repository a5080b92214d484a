"""The rules for single operators: what the Edge TPU can run, and why not."""

import pytest

from quantize.check import op_rules
from quantize.check.op_rules import judge
from tests.quantize.graphs import constant, operator, tensor


def test_maps_an_ordinary_convolution():
    """int8 data, constant weights: that is what the chip is for."""
    weights = constant([[[[1, 2, 3, 4]]]], "INT8")
    placement = judge(operator("CONV_2D", [tensor(), weights, constant([1])], [tensor()]))
    assert (placement.target, placement.status) == ("tpu", op_rules.MAPPED)


@pytest.mark.parametrize("name", ["ARG_MAX", "CAST", "DIV", "GATHER_ND", "DEQUANTIZE", "GELU", "CUSTOM:x"])
def test_leaves_unknown_operators(name):
    """What the chip has no unit for stays on the CPU."""
    placement = judge(operator(name, [tensor()], [tensor()]))
    assert (placement.target, placement.status) == ("cpu", op_rules.NOT_SUPPORTED)
    assert placement.reason and placement.fix


def test_leaves_floats():
    """Only 8-bit data is computed."""
    assert judge(operator("ADD", [tensor(), tensor()], [tensor(dtype="FLOAT32")])).status == (
        op_rules.WRONG_TYPE
    )


def test_leaves_int32_data_but_takes_int32_constants():
    """A bias may be int32, an activation may not."""
    assert judge(operator("ADD", [tensor(dtype="INT32"), tensor()], [tensor()])).target == "cpu"
    assert judge(operator("RESHAPE", [tensor(), constant([1, 256])], [tensor((1, 256))])).target == "tpu"


def test_leaves_more_than_three_sizes():
    """Only the three innermost sizes may be above 1."""
    placement = judge(operator("ADD", [tensor((2, 8, 8, 4)), tensor()], [tensor((2, 8, 8, 4))]))
    assert placement.status == op_rules.WRONG_RANK


def test_leaves_weights_that_are_computed():
    """Weights must lie in the file."""
    placement = judge(operator("FULLY_CONNECTED", [tensor((1, 4)), tensor((4, 4))], [tensor((1, 4))]))
    assert placement.status == op_rules.NOT_CONSTANT


LIMITED = {
    "a dilation that differs": operator(
        "CONV_2D", [tensor(), constant([[1]], "INT8")], [tensor()], DilationWFactor=2, DilationHFactor=1
    ),
    "an activation in a pool": operator("MAX_POOL_2D", [tensor()], [tensor()], FusedActivationFunction=1),
    "shuffled weights": operator(
        "FULLY_CONNECTED", [tensor((1, 4)), constant([[1]], "INT8")], [tensor((1, 4))], WeightsFormat=1
    ),
    "many rows": operator("SOFTMAX", [tensor((1, 4, 10))], [tensor((1, 4, 10))]),
    "too many classes": operator("SOFTMAX", [tensor((1, 20_000))], [tensor((1, 20_000))]),
    "a large enlargement": operator(
        "RESIZE_BILINEAR", [tensor((1, 1, 1, 4)), constant([33, 33])], [tensor((1, 33, 33, 4))]
    ),
    "a mean over the batch": operator("MEAN", [tensor(), constant([0])], [tensor()]),
    "strides": operator("STRIDED_SLICE", [tensor(), constant([0]), constant([4]), constant([2])], [tensor()]),
    "padding of the batch": operator("PAD", [tensor(), constant([[1, 0], [0, 0]])], [tensor()]),
}


@pytest.mark.parametrize("case", LIMITED)
def test_leaves_what_the_chip_has_in_another_form(case):
    """Each limit says what it is about and what to do."""
    placement = judge(LIMITED[case])
    assert (placement.target, placement.status) == ("cpu", op_rules.LIMITATION)
    assert placement.reason and placement.fix


def test_maps_enlarging_by_two():
    """Small enlargements are fine."""
    resize = operator("RESIZE_BILINEAR", [tensor(), constant([16, 16])], [tensor((1, 16, 16, 4))])
    assert judge(resize).target == "tpu"
