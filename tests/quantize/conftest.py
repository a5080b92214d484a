"""What the tests of `quantize` share: a small trained model, its bundle, hand-made graphs."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from contract.artifacts import FileEntry, Preprocessing, RunRecord
from contract.codec import encode

FASHION = Path("/usr/share/datasets/fashion-mnist")
LABELS = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")
TRAINING_IMAGES = 12_000
HELD_OUT_IMAGES = 2_000


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for line in (
        # TensorFlow and its dependencies, on import and while converting.
        "ignore::DeprecationWarning:tensorflow.*",
        "ignore::DeprecationWarning:keras.*",
        "ignore::FutureWarning:keras.*",
        "ignore::UserWarning:tensorflow.lite.*",
    ):
        config.addinivalue_line("filterwarnings", line)


def read_idx(name: str) -> np.ndarray:
    raw = gzip.decompress((FASHION / name).read_bytes())
    sizes = [int.from_bytes(raw[4 + 4 * n : 8 + 4 * n], "big") for n in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


@pytest.fixture(scope="session")
def test_images() -> tuple[np.ndarray, np.ndarray]:
    if not FASHION.is_dir():
        pytest.skip(f"Fashion-MNIST is not installed in {FASHION}")
    images = read_idx("t10k-images-idx3-ubyte.gz")[..., np.newaxis]
    return images, read_idx("t10k-labels-idx1-ubyte.gz")


def build_cnn():
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def write_run(folder: Path, model: str = "model.keras") -> None:
    content = (folder / model).read_bytes()
    entry = FileEntry(model, len(content), hashlib.sha256(content).hexdigest())
    about = Preprocessing(height=28, width=28, channels=1)
    run = RunRecord("fashion", entry, LABELS, about, "2024-05-01T00:00:00.000Z")
    (folder / "run.json").write_bytes(encode(run))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, test_images) -> Path:
    """A folder as cloud-train leaves it (model.keras, run.json), and val.npz."""
    folder = tmp_path_factory.mktemp("trained")
    images = read_idx("train-images-idx3-ubyte.gz")[:TRAINING_IMAGES, ..., np.newaxis] / np.float32(255)
    labels = read_idx("train-labels-idx1-ubyte.gz")[:TRAINING_IMAGES]
    model = build_cnn()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=64, epochs=1, verbose=0)
    model.save(folder / "model.keras")
    write_run(folder)
    np.savez(folder / "val.npz", x=test_images[0][:HELD_OUT_IMAGES], y=test_images[1][:HELD_OUT_IMAGES])
    return folder


@pytest.fixture(scope="session")
def job(trained: Path, tmp_path_factory: pytest.TempPathFactory):
    from quantize.job import Job

    out = tmp_path_factory.mktemp("bundle") / "build"
    return Job(model=trained / "model.keras", data=trained / "val.npz", out=out, compile="never")


@pytest.fixture(scope="session")
def outcome(job):
    """The bundle made from the trained model."""
    from quantize.pipeline import quantize

    return quantize(job)


@pytest.fixture(scope="session")
def int8_model(outcome) -> bytes:
    return (outcome.bundle / "model.tflite").read_bytes()


def convert_plainly(keras_model, samples: np.ndarray) -> bytes:
    """The ordinary full-integer conversion, as the documentation of TensorFlow shows it."""
    import tensorflow as tf

    from host_cli.quiet import quiet

    converter = tf.lite.TFLiteConverter.from_keras_model(keras_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([samples[n : n + 1]] for n in range(len(samples)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    with quiet():
        return converter.convert()
