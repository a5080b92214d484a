"""A small residual network as Keras, int8 and float32, and how to change one thing in an int8 file."""

from functools import cache

import numpy as np

from quantize.tflite_file import parse_tflite
from quantize.tflite_model import Operator, Tensor, TfliteModel

SAMPLES = np.random.default_rng(5).uniform(size=(20, 8, 8, 3)).astype(np.float32)


@cache
def keras_model(seed: int, units: int = 4, activation: str = "relu6", factor: float = 2.0):
    """Convolution, depthwise, addition, multiplication, a dense layer with one scale; random weights."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    entry = keras.Input((8, 8, 3))
    first = layers.Conv2D(8, 3, padding="same", activation=activation, bias_initializer="random_normal")(
        entry
    )
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6", bias_initializer="random_normal")(first)
    x = layers.Conv2D(8, 1)(x)
    x = layers.Rescaling(factor)(layers.Add()([x, first]))
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    x = layers.Dense(units, activation="softmax", bias_initializer="random_normal")(x)
    return keras.Model(entry, x)


@cache
def int8_file(seed: int) -> bytes:
    """The ordinary conversion."""
    from quantize.convert.ptq import convert

    return convert(keras_model(seed), SAMPLES, advance=lambda amount: None)


@cache
def float_file(seed: int, **changes) -> bytes:
    """The same graph in float32; `changes` go to `keras_model`."""
    from quantize.convert.ptq import convert_float

    return convert_float(keras_model(seed, **changes))


def parse(content: bytes) -> TfliteModel:
    return parse_tflite(content, "test")


def layer(model: TfliteModel, name: str, number: int = 0) -> Operator:
    """The n-th operator of a kind."""
    return [operator for operator in model.operators if operator.name == name][number]


def with_scale(content: bytes, tensor: Tensor, factor: float) -> bytes:
    """The file with all scales of one tensor multiplied."""
    scales = np.asarray(tensor.scales, np.float32) * np.float32(factor)
    return overwrite(content, tensor.scales_start, scales.tobytes())


def overwrite(content: bytes, start: int, new: bytes) -> bytes:
    return content[:start] + new + content[start + len(new) :]


def with_shared_bytes(content: bytes, first: Tensor, second: Tensor) -> bytes:
    """The file with one place for two constants, as converters write it for equal ones."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    tensors = model.subgraphs[0].tensors
    tensors[second.index].buffer = tensors[first.index].buffer
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
