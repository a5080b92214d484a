"""Layers that cannot work, named before the conversion."""

import pytest

from host_cli.errors import GateNotMet
from quantize.convert.constructs import find_unusable, require_usable, walk


def build(*middle):
    import keras
    from keras import layers

    return keras.Sequential([keras.Input((8, 8, 4)), *middle, layers.Flatten(), layers.Dense(2)])


def unusable_layers():
    from keras import layers

    return {
        "gelu": layers.Activation("gelu", name="bad"),
        "fused gelu": layers.Conv2D(4, 3, activation="gelu", name="bad"),
        "ELU": layers.ELU(name="bad"),
        "LayerNormalization": layers.LayerNormalization(name="bad"),
        "wrapped": layers.TimeDistributed(layers.Conv1D(4, 3, activation="mish", name="bad")),
        "bicubic": layers.UpSampling2D(interpolation="bicubic", name="bad"),
        "area": layers.Resizing(4, 4, interpolation="area", name="bad"),
        "limited slope": layers.ReLU(6.0, negative_slope=0.1, name="bad"),
        "dilated": layers.Conv2DTranspose(4, 3, dilation_rate=2, name="bad"),
        "Conv3D": layers.Conv3D(4, 3, name="bad"),
        "RepeatVector": layers.RepeatVector(3, name="bad"),
        "LSTM": layers.LSTM(3, name="bad"),
    }


BEFORE = {"Conv3D": (8, 8, 4, 1), "RepeatVector": (256,), "LSTM": (8, 32)}


@pytest.mark.parametrize("kind", list(unusable_layers()))
def test_names_the_layer_and_a_replacement(kind):
    """Before the long conversion, which would end in an error far from the cause."""
    from keras import layers

    middle = [layers.Reshape(BEFORE[kind])] if kind in BEFORE else []
    (found,) = find_unusable(build(*middle, unusable_layers()[kind]))
    assert found.layer == "bad" and found.reason and found.replacement


@pytest.mark.parametrize("name", ["relu6", "silu", "hard_silu", "sigmoid", "softmax", "leaky_relu"])
def test_lets_pass_what_only_stays_on_the_cpu(name):
    """And what is rewritten: it is no reason to refuse a model."""
    from keras import layers

    assert (
        find_unusable(build(layers.Activation(name), layers.UpSampling2D(), layers.Conv2D(4, 3, groups=2)))
        == ()
    )


def test_the_error_tells_what_where_and_what_instead():
    """Also in a model within a model; it counts the others."""
    from keras import layers

    model = build(layers.ReLU(), build_inner(), layers.LayerNormalization())
    with pytest.raises(GateNotMet) as error:
        require_usable(model, "model.keras")
    assert error.value.what == (
        "layer bad (Activation with gelu) cannot run on a board: "
        "it becomes an operator that TensorFlow Lite 2.5 does not read (and 1 more layers)"
    )
    assert error.value.where == "model.keras"
    assert error.value.hint == "use relu6 or silu in place of gelu, then train again"


def build_inner():
    import keras
    from keras import layers

    return keras.Sequential([keras.Input((8, 8, 4)), layers.Activation("gelu", name="bad")])


def test_operations_outside_of_layers_count_too():
    """keras.ops in a functional model leaves nodes that are no layers."""
    import keras

    entry = keras.Input((8, 8, 4))
    scores = keras.layers.Dense(2)(keras.layers.Flatten()(keras.ops.gelu(entry) + keras.ops.erf(entry)))
    model = keras.Model(entry, scores)
    assert [found.kind for found in find_unusable(model)] == ["Gelu", "Erf"]
    assert len(list(walk(model))) == 6
