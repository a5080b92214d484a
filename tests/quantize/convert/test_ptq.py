"""Loading Keras models and converting them."""

import numpy as np
import pytest

from host_cli.errors import WrongUsage
from quantize.convert import ptq


def save(model, path):
    model.save(path)
    return path


@pytest.mark.parametrize("kind", ["absent", "text", "truncated", "zip"])
def test_refuses_what_is_no_keras_file(tmp_path, trained, kind):
    """The error tells how to save one."""
    path = tmp_path / "model.keras"
    content = (trained / "model.keras").read_bytes()
    if kind == "zip":
        np.savez(tmp_path / "other.npz", x=np.zeros(3))
        content = (tmp_path / "other.npz").read_bytes()
    if kind != "absent":
        path.write_bytes({"text": b"hello", "truncated": content[:1000], "zip": content}[kind])
    with pytest.raises(WrongUsage) as error:
        ptq.load_keras(path)
    assert "model.save" in error.value.hint


def test_refuses_code_in_a_model(tmp_path):
    """A lambda layer is somebody's code; it is not run."""
    import keras

    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Lambda(lambda x: x[:, 0, 0])])
    with pytest.raises(WrongUsage):
        ptq.load_keras(save(model, tmp_path / "model.keras"))


def test_refuses_a_model_that_does_not_classify_pictures(tmp_path):
    """One picture in, one row of scores out."""
    import keras

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    with pytest.raises(WrongUsage, match="not a classifier"):
        ptq.load_keras(save(model, tmp_path / "model.keras"))


def test_float_scores_do_not_depend_on_batches(trained, test_images):
    """More pictures than a batch, not a multiple of it."""
    from contract.artifacts import Preprocessing

    model = ptq.load_keras(trained / "model.keras")
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
        ptq.convert(ptq.load_keras(trained / "model.keras"), samples, advance=done.append) for _ in range(2)
    )
    assert first == second and sum(done) >= 20
