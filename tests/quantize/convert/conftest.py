"""A model whose channels are badly scaled, and its conversions: for the remedies and the layer errors."""

from itertools import pairwise

import numpy as np
import pytest

from contract.artifacts import Preprocessing

PREPROCESSING = Preprocessing(height=28, width=28, channels=1)
SPREAD = 6.0


def scale_badly(model) -> None:
    """Scale each channel between the first three convolutions, and back again: relu lets the function be."""
    random = np.random.default_rng(0)
    convolutions = [layer for layer in model.layers if "conv2d" in layer.name]
    for first, second in pairwise(convolutions):
        factors = 2 ** random.uniform(-SPREAD, SPREAD, first.filters).astype(np.float32)
        kernel, bias = first.get_weights()
        first.set_weights([kernel * factors, bias * factors])
        kernel, bias = second.get_weights()
        second.set_weights([kernel / factors[:, np.newaxis], bias])


@pytest.fixture(scope="session")
def badly_scaled(trained):
    from quantize.convert.keras_file import load_keras

    model = load_keras(trained / "model.keras")
    scale_badly(model)
    return model


@pytest.fixture(scope="session")
def calibration(test_images) -> np.ndarray:
    return test_images[0][-100:]


@pytest.fixture(scope="session")
def int8_and_float(badly_scaled, calibration) -> tuple[bytes, bytes]:
    from quantize.convert import ptq

    samples = ptq.to_real(calibration, PREPROCESSING)
    return ptq.convert(badly_scaled, samples, advance=lambda n: None), ptq.convert_float(badly_scaled)


@pytest.fixture(scope="session")
def count_right(test_images):
    """Return a function that tells the share of right answers of an int8 model, on a thousand pictures."""
    from quantize.runtime import run_model

    def count(content: bytes) -> float:
        images, labels = test_images[0][:1000], test_images[1][:1000]
        return float((run_model(content, images).argmax(axis=1) == labels).mean())

    return count
