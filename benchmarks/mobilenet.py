"""A model of 4 MB for the agent's benchmarks: MobileNetV2, int8, random weights, 32x32 colour pictures."""

import io
import os

import numpy as np

from benchmarks.boards import Release
from contract.artifacts import Preprocessing, TensorSpec
from contract.codec import encode

SIDE, CLASSES, SEED = 32, 1000, 20261121


def build_release() -> Release:
    """Return it with its companions. The pictures are small, so that slow kernels are done in time."""
    content = _convert()
    labels = "\n".join(f"class {number}" for number in range(CLASSES)) + "\n"
    golden = io.BytesIO()
    inputs = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    np.savez_compressed(golden, inputs=inputs, outputs=np.zeros((1, CLASSES), np.uint8))
    files = {"model": content, "labels": labels.encode("utf-8"), "golden": golden.getvalue()}
    files["preprocessing"] = encode(Preprocessing(SIDE, SIDE, 3))
    taken = TensorSpec("in", (1, SIDE, SIDE, 3), "uint8", 1 / 255, 0)
    return Release(files, taken, TensorSpec("out", (1, CLASSES), "uint8", 1 / 256, 0))


def _convert() -> bytes:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    model = keras.applications.MobileNetV2(
        weights=None, classes=CLASSES, input_tensor=keras.Input(batch_shape=(1, SIDE, SIDE, 3))
    )
    random = np.random.default_rng(SEED)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [random.random((1, SIDE, SIDE, 3), np.float32)] for _ in range(10)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())
