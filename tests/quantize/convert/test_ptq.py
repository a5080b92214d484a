"""Running Keras models and converting them."""

import numpy as np

from quantize.convert import ptq
from quantize.convert.keras_file import load_keras


def test_float_scores_do_not_depend_on_batches(trained, test_images):
    """More pictures than a batch, not a multiple of it."""
    from contract.artifacts import Preprocessing

    model = load_keras(trained / "model.keras")
    about = Preprocessing(height=28, width=28, channels=1)
    done = []
    all_scores = ptq.predict_float(model, test_images[0][:300], about, done.append)
    assert all_scores.shape == (300, 10) and sum(done) == 300
    few = ptq.predict_float(model, test_images[0][290:300], about, done.append)
    np.testing.assert_allclose(all_scores[290:], few, atol=1e-5)


def test_converting_twice_gives_the_same_bytes(trained, test_images):
    """Also within one process, where Keras counts names on."""
    samples = test_images[0][:10] / np.float32(255)
    done = []
    first, second = (
        ptq.convert(load_keras(trained / "model.keras"), samples, advance=done.append) for _ in range(2)
    )
    assert first == second and sum(done) >= 20
