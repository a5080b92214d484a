"""Cross-layer equalization."""

import numpy as np
import pytest

from quantize.convert.chains import find_chains
from quantize.convert.equalization import equalize
from quantize.convert.prepare import compare_models


def test_evens_out_without_changing_the_function(badly_scaled):
    """The model given stays as it is; in the copy both layers have the same share of each channel's range."""
    before = [weights.copy() for weights in badly_scaled.get_weights()]
    even = equalize(badly_scaled)
    assert compare_models(badly_scaled, even) < 1e-4
    assert all((one == other).all() for one, other in zip(before, badly_scaled.get_weights(), strict=True))
    first, second = even.layers[0].get_weights()[0], even.layers[2].get_weights()[0]
    np.testing.assert_allclose(
        np.abs(first).max(axis=(0, 1, 2)), np.abs(second).max(axis=(0, 1, 3)), rtol=0.3
    )


def build(middle, last=None):
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="first"),
            *middle,
            last or layers.DepthwiseConv2D(3, name="second", depth_multiplier=2),
            layers.ReLU(6.0),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def randomize(model) -> None:
    random = np.random.default_rng(0)
    for variable in model.weights:
        spread = 2 ** random.uniform(-4, 4, variable.shape[-1])
        variable.assign(np.abs(random.normal(1, 0.2, variable.shape)) * spread)


@pytest.mark.parametrize("kind", ["norm", "pooled", "leaky", "plain", "dense"])
def test_looks_through_what_a_scale_passes(kind):
    """BatchNormalization takes the factor itself; pooling, relu, dropout and flatten let it pass."""
    from keras import layers

    middle, last = {
        "norm": ([layers.BatchNormalization(), layers.ReLU()], None),
        "pooled": ([layers.ReLU(), layers.MaxPooling2D(), layers.Dropout(0.5)], None),
        "leaky": ([layers.LeakyReLU(0.1), layers.ZeroPadding2D()], None),
        "plain": ([], layers.Conv2D(5, 3, name="second")),
        "dense": ([layers.ReLU(), layers.Flatten()], layers.Dense(5, name="second")),
    }[kind]
    model = (
        build(middle, last)
        if kind != "dense"
        else build([*middle, last, layers.Reshape((1, 1, 5))], layers.ReLU())
    )
    randomize(model)
    chain = next(find_chains(model))
    assert (chain.first.name, chain.second.name, chain.norm is not None) == (
        "first",
        "second",
        kind == "norm",
    )
    even = equalize(model)
    assert even is not None and compare_models(model, even) < 1e-4


@pytest.mark.parametrize("kind", ["relu6", "sigmoid", "norm after relu", "grouped", "unscaled norm"])
def test_stops_where_a_scale_would_change_the_function(kind):
    """Then there is no chain, and nothing to even out."""
    from keras import layers

    middle, last = {
        "relu6": ([layers.ReLU(6.0)], None),
        "sigmoid": ([layers.Activation("sigmoid")], None),
        "norm after relu": ([layers.ReLU(), layers.BatchNormalization()], None),
        "grouped": ([layers.ReLU()], layers.Conv2D(4, 3, groups=2)),
        "unscaled norm": ([layers.BatchNormalization(scale=False)], None),
    }[kind]
    model = build(middle, last)
    assert list(find_chains(model)) == [] and equalize(model) is None


def test_a_channel_with_two_readers_keeps_its_scale():
    """A residual connection reads it too; inner models are looked at on their own."""
    import keras
    from keras import layers

    entry = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="shared", activation="relu")(entry)
    y = layers.Conv2D(4, 3, padding="same", name="inner_reader", activation="relu")(x)
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(4, 1, name="a"), layers.Conv2D(4, 1, name="b")]
    )
    model = keras.Model(entry, layers.Dense(2)(layers.Flatten()(inner(layers.Add()([x, y])))))
    assert [(chain.first.name, chain.second.name) for chain in find_chains(model)] == [("a", "b")]


def test_what_a_model_gives_out_keeps_its_scale():
    """An inner model may give out what it reads on with."""
    import keras
    from keras import layers

    entry = keras.Input((8, 8, 3))
    first = layers.Conv2D(4, 1)(entry)
    assert len(list(find_chains(keras.Model(entry, layers.Conv2D(4, 1)(first))))) == 1
    assert list(find_chains(keras.Model(entry, [layers.Conv2D(4, 1)(first), first]))) == []
