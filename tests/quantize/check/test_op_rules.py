"""The rules for single operators: what the Edge TPU can run, and why not."""

import numpy as np
import pytest

from quantize.check import placement as words
from quantize.check.op_rules import judge
from tests.quantize.graphs import constant, operator, tensor


def test_maps_an_ordinary_convolution():
    """int8 data, constant weights: that is what the chip is for."""
    weights = constant([[[[1, 2, 3, 4]]]], "INT8")
    placement = judge(operator("CONV_2D", [tensor(), weights, constant([1])], [tensor()]))
    assert (placement.target, placement.status) == ("tpu", words.MAPPED)


@pytest.mark.parametrize("name", ["ARG_MAX", "CAST", "DIV", "GATHER_ND", "DEQUANTIZE", "GELU", "CUSTOM:x"])
def test_leaves_unknown_operators(name):
    """What the chip has no unit for stays on the CPU."""
    placement = judge(operator(name, [tensor()], [tensor()]))
    assert (placement.target, placement.status) == ("cpu", words.NOT_SUPPORTED)
    assert placement.reason and placement.fix


def test_leaves_floats():
    """Only 8-bit data is computed."""
    assert judge(operator("ADD", [tensor(), tensor()], [tensor(dtype="FLOAT32")])).status == (
        words.WRONG_TYPE
    )


def test_leaves_int32_data_but_takes_int32_constants():
    """A bias may be int32, an activation may not."""
    assert judge(operator("ADD", [tensor(dtype="INT32"), tensor()], [tensor()])).target == "cpu"
    assert judge(operator("RESHAPE", [tensor(), constant([1, 256])], [tensor((1, 256))])).target == "tpu"


def test_leaves_more_than_three_sizes():
    """Only the three innermost sizes may be above 1."""
    placement = judge(operator("ADD", [tensor((2, 8, 8, 4)), tensor()], [tensor((2, 8, 8, 4))]))
    assert placement.status == words.WRONG_RANK


def test_leaves_weights_that_are_computed():
    """Weights must lie in the file."""
    placement = judge(operator("FULLY_CONNECTED", [tensor((1, 4)), tensor((4, 4))], [tensor((1, 4))]))
    assert placement.status == words.NOT_CONSTANT


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
    "packing of the batch": operator("PACK", [tensor((4, 4))] * 2, [tensor((2, 4, 4))], Axis=0),
    "packing of the batch from behind": operator("PACK", [tensor((4, 4))], [tensor((1, 4, 4))], Axis=-3),
    "a mean over a depth of 6": operator("MEAN", [tensor((1, 2, 6)), constant([-1])], [tensor((1, 2))]),
    "a mean over a large map": operator(
        "MEAN", [tensor((1, 256, 128, 3)), constant([1, 2])], [tensor((1, 3))]
    ),
    "a large enlarged map": operator(
        "RESIZE_BILINEAR", [tensor((1, 256, 256, 32)), constant([512, 512])], [tensor((1, 512, 512, 32))]
    ),
    "a slope for each position": operator("PRELU", [tensor(), constant([[[1]], [[2]]], "INT8")], [tensor()]),
    "a joined constant": operator("CONCATENATION", [tensor(), constant([[1, 2]], "INT8")], [tensor()]),
    "two joined and zeros": operator(
        "CONCATENATION", [tensor(), tensor(), constant([0], "INT8")], [tensor()]
    ),
}


@pytest.mark.parametrize("case", LIMITED)
def test_leaves_what_the_chip_has_in_another_form(case):
    """Each limit says what it is about and what to do."""
    placement = judge(LIMITED[case])
    assert (placement.target, placement.status) == ("cpu", words.LIMITATION)
    assert placement.reason and placement.fix


def test_maps_enlarging_by_two():
    """Small enlargements are fine."""
    resize = operator("RESIZE_BILINEAR", [tensor(), constant([16, 16])], [tensor((1, 16, 16, 4))])
    assert judge(resize).target == "tpu"


SUPPORTED = {
    "a resize to the same size": operator("RESIZE_BILINEAR", [tensor(), constant([8, 8])], [tensor()]),
    "a softmax over 16,384": operator("SOFTMAX", [tensor((1, 16_384))], [tensor((1, 16_384))]),
    "a mean over half a large map": operator(
        "MEAN", [tensor((1, 64, 128, 3)), constant([1, 2])], [tensor((1, 3))]
    ),
    "a mean over a depth of 8": operator("MEAN", [tensor((1, 2, 8)), constant([2])], [tensor((1, 2))]),
    "a split into six": operator("SPLIT", [constant(3), tensor((1, 8, 8, 6))], [tensor((1, 8, 8, 1))] * 6),
    "a tile": operator("TILE", [tensor((1, 1, 1, 8)), constant([1, 33, 33, 1])], [tensor((1, 33, 33, 8))]),
    "a product with a constant map": operator(
        "MUL", [tensor(), constant(np.ones((8, 8, 4)), "INT8")], [tensor()]
    ),
    "padding with zeros by joining": operator(
        "CONCATENATION", [tensor(), constant([3, 3], "INT8", zero_point=3)], [tensor()]
    ),
    "a transposed convolution": operator(
        "TRANSPOSE_CONV",
        [constant([1, 8, 8, 4]), constant([[[[1]]]], "INT8"), tensor(), constant([1])],
        [tensor()],
    ),
    "packing of another axis": operator("PACK", [tensor((4, 4))] * 2, [tensor((4, 2, 4))], Axis=1),
    "a slope for each channel": operator("PRELU", [tensor(), constant([[[1, 2]]], "INT8")], [tensor()]),
    "int8 to uint8": operator("QUANTIZE", [tensor()], [tensor(dtype="UINT8")]),
}


@pytest.mark.parametrize("case", SUPPORTED)
def test_maps_what_is_within_the_limits(case):
    """What the documentation allows, or a compiled file was seen to hold, is not refused."""
    assert judge(SUPPORTED[case]) == words.ON_TPU


def test_a_float_border_has_the_words_that_the_compiler_uses_for_it():
    """QUANTIZE from float is a limitation, DEQUANTIZE and post-processing work on another type."""
    floats, bytes_ = tensor(dtype="FLOAT32"), tensor()
    assert judge(operator("QUANTIZE", [floats], [bytes_])).status == words.LIMITATION
    for name in ("DEQUANTIZE", "CUSTOM:TFLite_Detection_PostProcess", "ARG_MAX"):
        placement = judge(operator(name, [bytes_], [floats]))
        assert placement.status == words.WRONG_TYPE
        assert placement.reason.startswith("the Edge TPU has no")


def test_the_number_of_sizes_is_told_before_the_type():
    """The compiler tells a tensor's rank first, also in a float model."""
    deep = tensor((1, 2, 3, 4, 5), dtype="FLOAT32")
    assert judge(operator("RESHAPE", [deep, constant([1, 120])], [deep])).status == words.WRONG_RANK


def test_a_dense_layer_of_many_rows_is_refused_by_its_version():
    """Keras' Dense on a sequence keeps its dimensions, which the compiler's version does not have."""
    rows = tensor((1, 5, 4))
    weights = constant([[1] * 4] * 4, "INT8")
    dense = operator("FULLY_CONNECTED", [rows, weights], [rows], 5, KeepNumDims=True)
    assert judge(dense).status == words.VERSION_NOT_SUPPORTED


def test_a_filter_that_is_computed_is_refused_at_any_place():
    """A transposed convolution has its data third and its filter second."""
    size, data = constant([1, 8, 8, 4]), tensor()
    assert judge(operator("TRANSPOSE_CONV", [size, tensor(), data], [data])).status == words.NOT_CONSTANT


def test_every_unsupported_operator_comes_with_advice():
    """No refusal leaves a person without a next step."""
    for name in ("HARD_SWISH", "LEAKY_RELU", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "UNPACK", "CUSTOM:mine"):
        assert judge(operator(name, [tensor()], [tensor()])).fix
