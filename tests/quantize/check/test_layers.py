"""Which Keras layer an operator was made from."""

import pytest

from quantize.check.layers import find_layer, name_layers, tell_places
from quantize.tflite_file import parse_tflite
from tests.quantize.conftest import convert_plainly
from tests.quantize.graphs import chain, constant, model, operator, tensor


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("classifier/sequential/conv2d_1/Relu;other/thing", "conv2d_1"),
        ("model/ln/moments/mean", "ln"),
        ("model/act/Gelu/mul_2", "act"),
        ("model/up/Repeat_1/Tile", "up"),
        ("model/sep/separable_conv2d/depthwise1", "sep"),
        ("dense/weights_quant/FakeQuantWithMinMaxVars/transpose", "dense"),
        ("model/softmax/Softmax", "softmax"),
        ("model/Conv1/Conv2D", "Conv1"),
        ("classifier_1/net_1/conv2d_1._2/Relu;classifier_1/net_1/conv2d._1/convolution", "conv2d_1"),
        ("classifier_1/net_1/scores./MatMul", "scores"),
        ("StatefulPartitionedCall:0", None),
        ("", None),
    ],
)
def test_finds_the_layer_in_a_tensor_name(name, layer):
    """The layer stands before the names that its own code gives to its steps."""
    assert find_layer(name) == layer


def test_a_weighted_operator_is_named_by_its_weights():
    """A convolution that took in its activation is still that convolution."""
    weights = constant([[[[1]]]], "INT8", name="net/conv/convolution")
    fused = tensor(name="net/relu/Relu6;net/conv/convolution")
    assert name_layers(model(operator("CONV_2D", [tensor(), weights], [fused]))) == ("conv",)


def test_a_weighted_operator_without_a_telling_weight_is_the_last_of_its_names():
    """The converter joins the names from the last step back to the first."""
    weights = constant([[[[1]]]], "INT8", name="arith.constant3")
    fused = tensor(name="net/relu/Relu6;net/conv/convolution")
    assert name_layers(model(operator("CONV_2D", [tensor(), weights], [fused]))) == ("conv",)


def test_joined_weights_name_the_layer_that_was_first():
    """A depthwise convolution that took in what follows it carries all their names."""
    weights = constant([[[[1]]]], "INT8", name="net/relu/Relu6;net/norm/batchnorm/mul_1;net/wide/depthwise;1")
    graph = model(operator("DEPTHWISE_CONV_2D", [tensor(), weights], [tensor(name="net/relu/Relu6;1")]))
    assert name_layers(graph) == ("wide",)


def test_a_shared_constant_does_not_name_a_layer():
    """The converter keeps one copy of equal constants: its name tells another layer."""
    paddings = constant([[0, 0]], name="net/other_pad/Pad/paddings")
    pad = operator("PAD", [tensor(), paddings], [tensor(name="net/first_pad/Pad")])
    assert name_layers(model(pad)) == ("first_pad",)


def test_leaves_a_number_that_only_some_layers_have():
    """`dense_1` is a layer's own name, unless the converter numbered all of them."""
    names = ("net/dense_1/MatMul", "net/conv/Conv2D")
    data = [tensor(), *(tensor(name=name) for name in names)]
    graph = model(operator("RELU", data[:1], data[1:2]), operator("RELU", data[1:2], data[2:]))
    assert name_layers(graph) == ("dense_1", "conv")
    assert name_layers(chain("RELU"))[0].startswith("layer_")


def test_finds_the_layers_of_a_real_conversion():
    """Nested models, folded batch norms and joined activations lead back to the layers that were built."""
    import keras
    import numpy as np
    from keras import layers

    entry = keras.Input((8, 8, 3))
    data = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="folded")(entry))
    inner = keras.Model(entry, layers.ReLU(name="clip")(data), name="backbone")
    outer_entry = keras.Input((8, 8, 3), batch_size=1)
    data = layers.MaxPooling2D(name="pool")(inner(outer_entry))
    data = layers.Dense(5, name="scores")(layers.Flatten(name="flat")(data))
    built = keras.Model(outer_entry, layers.Softmax(name="probabilities")(data), name="net")
    content = convert_plainly(built, np.random.default_rng(0).random((4, 8, 8, 3), np.float32))
    graph = parse_tflite(content, "net")
    found = dict(zip((op.name for op in graph.operators), name_layers(graph), strict=True))
    assert found["CONV_2D"] == "folded" and found["MAX_POOL_2D"] == "pool"
    assert found["FULLY_CONNECTED"] == "scores" and found["RESHAPE"] == "flat"


def test_layers_with_numbered_names_are_found_in_what_quantize_converts():
    """Keras' own numbers and those of the tracing are told apart, and the model keeps its names."""
    import keras
    import numpy as np
    from keras import layers

    from quantize.convert import ptq

    numbers = [layers.Conv2D(4, 3, name="conv2d" + end) for end in ("", "_1", "_1_1", "_2")]
    dense = [layers.Flatten(name="flatten_1"), layers.Dense(3, name="dense_1")]
    built = keras.Sequential([keras.Input((12, 12, 3)), *numbers, *dense])
    content = ptq.convert(built, np.zeros((2, 12, 12, 3), np.float32), advance=lambda amount: None)
    graph = parse_tflite(content, "net")
    weighted = [
        layer for op, layer in zip(graph.operators, name_layers(graph), strict=True) if "2D" in op.name
    ]
    assert weighted == ["conv2d", "conv2d_1", "conv2d_1_1", "conv2d_2"]
    assert [layer.name for layer in built.layers] == [*weighted, "flatten_1", "dense_1"]


def test_an_operator_without_a_layer_is_told_by_the_one_before_it():
    """The last softmax has the name of the model's output only."""
    names = ("net/dense./MatMul", "StatefulPartitionedCall:0")
    data = [tensor(), *(tensor(name=name) for name in names)]
    graph = model(operator("RELU", data[:1], data[1:2]), operator("SOFTMAX", data[1:2], data[2:]))
    assert tell_places(graph.operators, name_layers(graph)) == ("dense", "after dense")
    assert tell_places(graph.operators[1:], [None]) == ("StatefulPartitionedCall:0",)
