"""Claim: converting takes at most 1.3 x the bare TFLiteConverter. Peer: it, same model and samples."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.timing import compare, verdict
from host_cli.quiet import quiet
from quantize.convert import ptq
from quantize.convert.prepare import prepare

LIMIT_RATIO = 1.3
SAMPLES, SIDE = 50, 96


def main() -> None:
    """Measure both converters on one model."""
    with quiet():
        import keras

        keras.utils.set_random_seed(0)
        model = keras.applications.MobileNetV2((SIDE, SIDE, 3), alpha=0.35, weights=None, classes=10)
    samples = np.random.default_rng(0).random((SAMPLES, SIDE, SIDE, 3), np.float32)
    medians = compare(
        f"convert MobileNetV2 0.35, {SIDE} x {SIDE}, {SAMPLES} calibration samples",
        {
            "bare TFLiteConverter": lambda: convert_plainly(model, samples),
            "quantize: prepare and convert": lambda: convert(model, samples),
        },
        floor="bare TFLiteConverter",
        runs=3,
    )
    ours, peer = medians["quantize: prepare and convert"], medians["bare TFLiteConverter"]
    verdict(ours / peer, LIMIT_RATIO, "x the bare converter")


def convert(model: object, samples: np.ndarray) -> bytes:
    """Convert as `quantize` does."""
    return ptq.convert(prepare(model, "benchmark").model, samples, advance=lambda amount: None)


def convert_plainly(model: object, samples: np.ndarray) -> bytes:
    """Convert as TensorFlow's own page on full integer quantization shows it."""
    import tensorflow as tf

    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([samples[n : n + 1]] for n in range(len(samples)))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        return converter.convert()


if __name__ == "__main__":
    main()
