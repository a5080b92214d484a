"""The colour tracker that two recorded templates were made from, as a Keras model with samples."""

from pathlib import Path

import numpy as np

from contract.artifacts import Preprocessing, RunRecord
from contract.codec import encode
from host_cli.files import describe
from quantize.edgetpu.numbers import numbers_of
from quantize.tflite_file import parse_tflite


def save_tracker(folder: Path, original: str) -> None:
    """Leave blue.keras, run.json and val.npz in a folder, the weights being those of `original`."""
    blue_tracker(Path(original).read_bytes()).save(folder / "blue.keras")
    entry = describe(folder / "blue.keras")
    about = Preprocessing(height=64, width=64, channels=3, scale=1.0)
    run_record = RunRecord("tracker", entry, ("right", "down"), about, "2024-05-01T00:00:00.000Z")
    (folder / "run.json").write_bytes(encode(run_record))
    pictures, labels = blue_squares()
    np.savez(folder / "val.npz", x=pictures, y=labels)


def blue_tracker(original: bytes):
    """The Keras model that the recorded colour trackers were made from, with the weights of one of them."""
    import keras
    from keras import layers

    tensors = {tensor.name: tensor for tensor in parse_tflite(original, "original").tensors}
    entry = keras.Input((64, 64, 3))
    filtered = layers.Conv2D(1, 1, padding="same", use_bias=False, activation="relu")(entry)
    shares = layers.Softmax()(layers.Flatten()(filtered))
    places = [layers.Dense(1, use_bias=False)(shares) for _ in range(2)]
    model = keras.Model(entry, layers.Concatenate()(places))
    weights = [tensors[name] for name in ("tfl.pseudo_qconst3", "tfl.pseudo_qconst1", "tfl.pseudo_qconst")]
    real = [numbers_of(tensor) * np.float32(tensor.scales[0]) for tensor in weights]
    model.set_weights(
        [value.reshape(own.shape) for value, own in zip(real, model.get_weights(), strict=True)]
    )
    return model


def blue_squares() -> tuple[np.ndarray, np.ndarray]:
    """Pictures with a blue square, and whether it is further down than to the right."""
    chance = np.random.default_rng(1)
    pictures, labels = np.zeros((240, 64, 64, 3), np.uint8), np.arange(240) % 2
    for picture, label in zip(pictures, labels, strict=True):
        near, far = chance.integers(0, 8), chance.integers(44, 56)
        row, column = (far, near) if label else (near, far)
        picture[row : row + 8, column : column + 8, 2] = 250
    return pictures, labels
