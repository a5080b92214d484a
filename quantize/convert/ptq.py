"""Post-training quantization: the module that knows Keras and the TensorFlow Lite converter."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.artifacts import Preprocessing
from host_cli.errors import Failed
from host_cli.quiet import quiet
from quantize.check.layers import LAYER_MARK
from quantize.convert.constructs import walk
from quantize.data import Pixels

BATCH = 256

Advance = Callable[[float], None]
Floats = NDArray[np.float32]


def input_shape(model: Any) -> tuple[int, int, int]:
    """Return height, width and channels of the model's input."""
    height, width, channels = (int(size) for size in model.inputs[0].shape[1:])
    return height, width, channels


def count_classes(model: Any) -> int:
    """Return how many scores the model gives."""
    return int(model.outputs[0].shape[1])


def to_real(pixels: Pixels, preprocessing: Preprocessing) -> Floats:
    """Return pixel * scale + offset, float32, in the shape of `pixels`."""
    real = np.arange(256, dtype=np.float64) * preprocessing.scale + preprocessing.offset
    found: Floats = real.astype(np.float32)[pixels]
    return found


def predict_float(model: Any, pixels: Pixels, preprocessing: Preprocessing, advance: Advance) -> Floats:
    """Run the float model.

    Args:
        model: the Keras model; batch open or 1.
        pixels: (N, H, W, C) uint8.
        preprocessing: what the model expects.
        advance: told of every batch that is done.

    Returns:
        Scores, (N, classes) float32.
    """
    batch = model.inputs[0].shape[0] or BATCH
    scores = []
    for start in range(0, len(pixels), batch):
        part = to_real(pixels[start : start + batch], preprocessing)
        scores.append(np.asarray(model.predict_on_batch(part), dtype=np.float32))
        advance(len(part))
    return np.concatenate(scores)


def convert(model: Any, samples: Floats, *, io: str = "uint8", advance: Advance) -> bytes:
    """Make a model int8, with fixed sizes and batch 1.

    Args:
        model: the Keras model.
        samples: calibration pictures as real values, (N, H, W, C).
        io: dtype of input and output: `uint8`, `int8` or `float32`.
        advance: told of every calibration sample.

    Returns:
        The .tflite file.

    Raises:
        Failed: the converter gave up.
    """
    with quiet():
        import tensorflow as tf

    def calibrate() -> Iterator[list[Floats]]:
        for number in range(len(samples)):
            yield [samples[number : number + 1]]
            advance(1)

    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibrate
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, io)
    # One scale per channel in a dense layer is read wrongly, without an error, by TensorFlow Lite 2.5.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return _run(converter, model, "post-training quantization", "use layers that have an int8 form")


def convert_float(model: Any) -> bytes:
    """Return the same graph in float32, with fixed sizes and batch 1: the measure for the int8 one.

    Raises:
        Failed: the converter gave up.
    """
    return _run(_converter(model), model, "conversion to float32", "use builtin layers")


def _converter(model: Any) -> Any:
    with quiet():
        import tensorflow as tf

    logging.getLogger("absl").setLevel(logging.ERROR)
    return tf.lite.TFLiteConverter.from_keras_model(_with_batch_of_one(model))


def _run(converter: Any, model: Any, where: str, hint: str) -> bytes:
    try:
        with quiet(), _marked(model):
            content: bytes = converter.convert()
    except Exception as error:  # The converter lets through whatever went wrong below it.
        what = f"the converter gave up: {type(error).__name__}: {error}".splitlines()[0][:300]
        raise Failed(what, where, hint) from error
    return content


def _with_batch_of_one(model: Any) -> Any:
    """Wrap a model so that every size is fixed; the names make the same model give the same bytes."""
    import keras

    entry = keras.Input(batch_shape=(1, *input_shape(model)), name="image")
    return keras.Model(entry, model(entry, training=False), name="classifier")


@contextmanager
def _marked(model: Any) -> Iterator[None]:
    """Mark the layers' names while they are traced: whatever number is added then stands after the mark."""
    layers = list(walk(model))
    for layer in layers:
        layer.name += LAYER_MARK
    try:
        yield
    finally:
        for layer in layers:
            layer.name = layer.name.removesuffix(LAYER_MARK)


def name_versions() -> dict[str, str]:
    """Return the versions of the libraries that made the file."""
    import keras
    import tensorflow as tf

    return {"tensorflow": tf.__version__, "keras": keras.__version__}
