"""What keeps a model from running on another one's instructions."""

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.edgetpu.frozen import find_moved, require_frozen
from quantize.edgetpu.requantize import requantize
from tests.quantize import graphs
from tests.quantize.edgetpu.small_models import (
    float_file,
    int8_file,
    layer,
    overwrite,
    parse,
    with_scale,
)
from tests.quantize.edgetpu.test_template import files


@pytest.fixture(scope="module")
def template() -> bytes:
    return int8_file(1)


def moved(template: bytes, new: bytes) -> list[str]:
    return [str(one) for one in find_moved(parse(template), parse(new))]


def changed_byte(content: bytes, tensor) -> bytes:
    return overwrite(content, tensor.data_start, bytes([tensor.data[0] ^ 1]))


def test_nothing_has_moved_between_a_file_and_itself(template):
    """Equal is equal."""
    assert moved(template, template) == []


def test_weights_biases_and_their_channels_scales_are_free(template):
    """Another model's weights at the template's activation scales pass."""
    new = requantize(template, float_file(2), "new").content
    assert new != template
    require_frozen(parse(template), parse(new), "new")


@pytest.mark.parametrize("name", ["CONV_2D", "ADD", "MAX_POOL_2D", "FULLY_CONNECTED", "SOFTMAX"])
def test_an_activation_scale_has_moved(template, name):
    """The smallest step of float32 is enough, and the tensor and both numbers are told."""
    tensor = layer(parse(template), name).outputs[0]
    new = with_scale(template, tensor, 1 + 2**-23)
    assert any(tensor.name in line and str(tensor.scales[0]) in line for line in moved(template, new))
    with pytest.raises(GateNotMet, match="scales of") as refusal:
        require_frozen(parse(template), parse(new), "new.tflite")
    assert refusal.value.where == "new.tflite" and "real compile" in refusal.value.hint


def test_an_inner_scale_of_an_lstm_has_moved():
    """An LSTM rescales with a number of a tensor that no operator names as its input or output."""
    original = files("keras_lstm")[0]
    inner = next(tensor for tensor in parse(original).tensors if "effective_hidden_scale" in tensor.name)
    found = moved(original, with_scale(original, inner, 1.5))
    assert len(found) == 1 and "LSTM" in found[0]
    assert moved(original, original) == []


def test_a_single_weight_scale_has_moved(template):
    """It lies in the instructions, unlike the scales of channels."""
    dense = layer(parse(template), "FULLY_CONNECTED")
    found = moved(template, with_scale(template, dense.inputs[1], 1.5))
    assert len(found) == 1 and "weight scales of FULLY_CONNECTED" in found[0]


def test_scales_of_channels_must_be_scales(template):
    """Zero and negative ones are none."""
    weights = layer(parse(template), "CONV_2D").inputs[1]
    for factor in (0, -1):
        assert any("weight scales" in line for line in moved(template, with_scale(template, weights, factor)))


def test_a_bias_has_the_scale_of_input_times_weights(template):
    """The instructions add it to sums of that scale."""
    conv = layer(parse(template), "CONV_2D")
    found = moved(template, with_scale(template, conv.inputs[2], 1.01))
    assert len(found) == 1 and "bias scales of CONV_2D" in found[0]
    assert moved(template, with_scale(template, conv.inputs[1], 2))[0].startswith("bias scales")


def test_equal_scales_of_channels_are_frozen():
    """The compiler then writes them into the instructions, as it does with a single one."""

    def build(scale):
        scales = (scale,) * 4
        entry, out = graphs.tensor((1, 8, 8, 1)), graphs.tensor()
        weights = graphs.constant(np.ones((4, 3, 3, 1)), "INT8", scales=scales, zero_points=(0,) * 4)
        return graphs.model(graphs.operator("CONV_2D", [entry, weights], [out]))

    assert find_moved(build(0.5), build(0.5)) == ()
    assert "weight scales" in str(find_moved(build(0.5), build(0.25))[0])


def test_a_constant_that_is_no_weight_has_moved(template):
    """Such as the shape that RESHAPE takes."""
    tensor = layer(parse(template), "RESHAPE").inputs[1]
    assert "its bytes" in moved(template, changed_byte(template, tensor))[0]


def test_weights_that_something_else_reads_are_bound():
    """Then they are a constant of that other operator too."""

    def build(value):
        entry, out, sum_ = graphs.tensor(), graphs.tensor(), graphs.tensor()
        weights = graphs.constant(np.full((4, 3, 3, 4), value), "INT8")
        return graphs.model(
            graphs.operator("CONV_2D", [entry, weights], [out]),
            graphs.operator("ADD", [out, weights], [sum_]),
        )

    assert "constant" in str(find_moved(build(1), build(2))[0])


@pytest.mark.parametrize(
    ("was", "now", "what"),
    [
        ({}, {"StrideW": 2}, "StrideW"),
        ({"Padding": 0}, {"Padding": 1}, "Padding"),
        ({"Unread": True}, {"Unread": True}, "cannot be compared"),
    ],
)
def test_an_option_has_moved(was, now, what):
    """Every option counts, also one that only one of them has; what is not read counts as moved."""
    pairs = [
        graphs.model(graphs.operator("MAX_POOL_2D", [graphs.tensor()], [graphs.tensor()], **options))
        for options in (was, now)
    ]
    assert what in str(find_moved(*pairs)[0])


@pytest.mark.parametrize(
    "changes", [{"dtype": "INT16"}, {"shape": (1, 4, 4, 4)}, {"zero_points": (3,)}, {"is_variable": True}]
)
def test_a_property_of_a_tensor_has_moved(changes):
    """Dtype, shape, zero point and kind are all in the instructions."""
    pairs = [
        graphs.model(graphs.operator("RELU", [graphs.tensor()], [graphs.tensor(**with_)]))
        for with_ in ({}, changes)
    ]
    assert next(iter(changes)) in str(find_moved(*pairs)[0])


def test_a_version_or_an_operator_has_moved():
    """Another kernel may compute otherwise."""
    pool = graphs.model(graphs.operator("MAX_POOL_2D", [graphs.tensor()], [graphs.tensor()]))
    newer = graphs.model(graphs.operator("MAX_POOL_2D", [graphs.tensor()], [graphs.tensor()], version=2))
    assert "version" in str(find_moved(pool, newer)[0])
    assert "RELU in the new model" in str(find_moved(pool, graphs.chain("RELU"))[0])
    assert "number of operators" in str(find_moved(graphs.chain("RELU"), graphs.chain("RELU", "RELU"))[0])


def test_graphs_of_other_graphs_cannot_be_compared():
    """What a loop runs lies in a part of the file that is not read."""
    assert "cannot be compared" in str(find_moved(graphs.chain("WHILE"), graphs.chain("WHILE"))[0])
