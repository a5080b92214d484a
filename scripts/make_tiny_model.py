"""Makes tests/edge_agent/data: a tiny int8 model that tells ten synthetic patterns apart, and its companions.

    python scripts/make_tiny_model.py

Needs tensorflow; takes about half a minute. The tests read the files that are checked in.
"""

import sys
from pathlib import Path

import numpy as np

from contract.artifacts import Preprocessing
from contract.codec import encode

DATA = Path(__file__).resolve().parent.parent / "tests" / "edge_agent" / "data"
SEED = 20261121
CLASSES = 10
SIDE = 28
LABELS = ("dash", "bar", "slope", "rise", "box", "disc", "cross", "dots", "corner", "hill")


def draw_patterns() -> np.ndarray:
    """Return one clean picture per class, (10, 28, 28, 1) float32 from 0 to 1."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    middle = SIDE // 2
    pictures = [
        abs(y - middle) < 3,
        abs(x - middle) < 3,
        abs(y - x) < 3,
        abs(y + x - SIDE) < 3,
        np.maximum(abs(y - middle), abs(x - middle)) > 10,
        (y - middle) ** 2 + (x - middle) ** 2 < 60,
        (abs(y - middle) < 3) | (abs(x - middle) < 3),
        (y % 6 < 2) & (x % 6 < 2),
        (y < 12) & (x < 12),
        y > SIDE - x // 2 - 8,
    ]
    return np.stack(pictures).astype(np.float32)[..., np.newaxis]


def draw_samples(count: int, random: np.random.Generator) -> "tuple[np.ndarray, np.ndarray]":
    """Return pictures (count, 28, 28, 1) float32 from 0 to 1, and their classes; moved, dimmed and noisy."""
    classes = np.arange(count) % CLASSES
    pictures = draw_patterns()[classes]
    for picture in pictures:
        picture[...] = np.roll(picture, random.integers(-2, 3, size=2), axis=(0, 1)) * random.uniform(0.6, 1)
    noise = random.normal(0, 0.08, size=pictures.shape)
    return np.clip(pictures + noise, 0, 1).astype(np.float32), classes


def train(pictures: np.ndarray, classes: np.ndarray) -> "keras.Model":  # noqa: F821
    """Train a small convolutional network for a few seconds."""
    import keras

    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(1, SIDE, SIDE, 1)),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(12, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(pictures, classes, batch_size=1, epochs=2, verbose=2)
    return model


def convert(model: "keras.Model", pictures: np.ndarray) -> bytes:  # noqa: F821
    """Quantize to int8 with uint8 at both ends."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([picture[np.newaxis]] for picture in pictures[:200])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())


def answer(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """Return the model's own answers, (count, 10) uint8."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    print(taken, given)
    answers = []
    for picture in inputs:
        interpreter.set_tensor(taken["index"], picture[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(given["index"])[0].copy())
    return np.stack(answers)


def main() -> int:
    """Write the model, its labels, its preprocessing and its golden samples."""
    random = np.random.default_rng(SEED)
    pictures, classes = draw_samples(2000, random)
    content = convert(train(pictures, classes), pictures)
    tests, expected = draw_samples(20, random)
    inputs = np.round(tests * 255).astype(np.uint8)
    outputs = answer(content, inputs)
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "tiny.tflite").write_bytes(content)
    (DATA / "tiny_labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    (DATA / "tiny_preprocessing.json").write_bytes(encode(Preprocessing(SIDE, SIDE, 1)))
    np.savez_compressed(DATA / "tiny_golden.npz", inputs=inputs, outputs=outputs)
    right = int((outputs.argmax(axis=1) == expected).sum())
    print(f"{len(content)} bytes, {right} of {len(expected)} golden samples are right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
