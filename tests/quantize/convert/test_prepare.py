"""Models rewritten for the boards, and refused."""

import numpy as np
import pytest

from host_cli.errors import Failed, GateNotMet
from quantize.check.preflight import check
from quantize.check.requirements import find_violations
from quantize.convert import prepare as module
from quantize.convert import ptq
from quantize.convert.keras_file import load_keras
from quantize.convert.prepare import compare_models, prepare
from quantize.convert.rewrites import Rewrite
from quantize.tflite_file import parse_tflite

SHAPE = (12, 12, 4)


def build(first, *others):
    """Put layers between two convolutions, with biases that tell channels apart."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(4, 3, padding="same"),
            first,
            *others,
            layers.Conv2D(4, 1),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.5, weights.shape) for weights in model.get_weights()])
    return model


def convert(model):
    samples = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    return parse_tflite(ptq.convert(model, samples, advance=lambda n: None), "model")


def layers_to_rewrite():
    from keras import layers

    return {
        "nearest upsampling": layers.UpSampling2D((2, 3)),
        "hard silu": layers.Activation("hard_silu"),
        "fused hard swish": layers.Conv2D(4, 3, activation="hard_swish"),
        "leaky relu": layers.LeakyReLU(0.1),
        "relu with slope": layers.ReLU(negative_slope=0.1),
        "fused leaky relu": layers.DepthwiseConv2D(3, activation=layers.LeakyReLU(0.1)),
        "groups": layers.Conv2D(4, 3, groups=2, strides=2, padding="same", activation="relu6"),
        "channel groups": layers.Conv2D(8, 3, groups=4, dilation_rate=2, use_bias=False),
        "uneven strides": layers.Conv2D(8, 3, groups=4, strides=(1, 2), activation="hard_silu"),
        "dense over a map": layers.Dense(4, activation="leaky_relu"),
    }


@pytest.mark.parametrize("kind", list(layers_to_rewrite()))
def test_a_rewritten_layer_computes_the_same(kind):
    """And it is told of, by its name."""
    layer = layers_to_rewrite()[kind]
    model = build(layer)
    prepared = prepare(model, "model.keras")
    (rewrite,) = prepared.rewrites
    assert rewrite.startswith(f"{layer.name}: ") and compare_models(model, prepared.model) < 1e-6


def test_what_is_rewritten_maps():
    """As it stands, the compiler would not read it, and would leave most on the CPU."""
    model = build(*layers_to_rewrite().values())
    before = check(convert(model))
    graph = convert(prepare(model, "model.keras").model)
    after = check(graph)
    assert before.errors and (after.errors, after.cpu_ops) == ((), 0)
    assert find_violations(graph, "uint8") == ()


def test_operations_are_rewritten_too():
    """-x and x * x would be computed in float32."""
    import keras

    entry = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, padding="same")(entry)
    x = keras.ops.leaky_relu(-x, 0.3) + keras.ops.hard_silu(keras.ops.square(x))
    model = keras.Model(entry, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    prepared = prepare(model, "model.keras")
    assert len(prepared.rewrites) == 4 and compare_models(model, prepared.model) < 1e-6
    assert check(convert(prepared.model)).cpu_ops == 0


def test_inner_models_with_open_sizes_are_rewritten():
    """One that is used twice, with other sizes, and shares its weights."""
    import keras
    from keras import layers

    inner = keras.Sequential(
        [keras.Input((None, None, 4)), layers.UpSampling2D(name="up"), layers.Conv2D(4, 3, strides=2)],
        name="inner",
    )
    entry = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(inner(inner(entry)))
    model = keras.Model(entry, layers.Dense(3)(x))
    prepared = prepare(model, "model.keras")
    assert prepared.rewrites == ("up: nearest upsampling -> nearest resize",)
    assert compare_models(model, prepared.model) < 1e-6
    assert len(prepared.model.get_weights()) == len(model.get_weights())
    assert check(convert(prepared.model)).errors == ()


def test_a_model_without_anything_to_rewrite_stays_itself():
    """Not a copy of it."""
    from keras import layers

    model = build(
        layers.BatchNormalization(), layers.ReLU(6.0), layers.SeparableConv2D(4, 3), layers.Dropout(0.5)
    )
    prepared = prepare(model, "model.keras")
    assert prepared.model is model and prepared.rewrites == ()


def test_a_wrong_rewrite_is_not_used(monkeypatch):
    """Each is tried on random numbers; should one come through, the whole model is compared."""
    from keras import layers

    from quantize.convert import rewrites

    model = build(layers.Activation("hard_silu", name="corner"))
    monkeypatch.setitem(rewrites._OPERATIONS, "hardsilu", ("wrong", lambda x: x * 1.01))
    assert prepare(model, "model.keras").rewrites == ()
    wrong = Rewrite("corner", "wrong", lambda x, **_: x * 1.01)
    monkeypatch.setattr(module, "find_rewrite", lambda layer: wrong if layer.name == "corner" else None)
    with pytest.raises(Failed, match="differs"):
        prepare(model, "model.keras")


def test_refuses_before_it_rewrites():
    """The layer, the file and the replacement are named."""
    from keras import layers

    with pytest.raises(GateNotMet, match="layer norm") as error:
        prepare(build(layers.LayerNormalization(name="norm"), layers.UpSampling2D()), "model.keras")
    assert error.value.where == "model.keras"


def test_preprocessing_within_a_model_becomes_int8():
    """It needs no rewriting; what only augments is gone."""
    from keras import layers

    preprocessing = (
        layers.Resizing(10, 10),
        layers.CenterCrop(8, 8),
        layers.RandomFlip(),
        layers.Rescaling(1 / 127.5, -1),
        layers.Normalization(mean=[0.1] * 4, variance=[0.5] * 4),
    )
    prepared = prepare(build(*preprocessing), "model.keras")
    graph = convert(prepared.model)
    assert prepared.rewrites == () and find_violations(graph, "uint8") == () and check(graph).cpu_ops == 0


def test_a_prepared_file_gives_the_same_bytes_again(tmp_path):
    """The names that Keras makes up for what takes a layer's place are not among them."""
    layers = layers_to_rewrite()
    build(*(layers[kind] for kind in ("nearest upsampling", "groups", "hard silu"))).save(
        tmp_path / "model.keras"
    )
    samples = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    prepared = (prepare(load_keras(tmp_path / "model.keras"), "model.keras") for _ in range(2))
    first, second = (ptq.convert(each.model, samples, advance=lambda n: None) for each in prepared)
    assert first == second
