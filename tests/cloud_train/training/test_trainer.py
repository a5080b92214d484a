"""Training one model: it learns, from a common start, and a pass can be repeated to the bit."""

from dataclasses import replace

import numpy as np
import pytest

from cloud_train.averaging.fedavg import average
from cloud_train.training.models import build_model, initial_weights, load_model, model_with, save_model
from cloud_train.training.recipe import Recipe
from cloud_train.training.trainer import Examiner, evaluate_file, fit
from cloud_train.training.weights import Architecture
from host_cli.errors import Failed, WrongUsage
from tests.cloud_train.conftest import ARCHITECTURE, SIDE, make_samples, make_weights

RECIPE = Recipe(batch_size=16)
TEST = make_samples(80, seed=9)


def train(samples, start, epochs=1, client="shard-0"):
    return fit(samples, start, RECIPE, epochs=epochs, client=client, advance=lambda done: None)


@pytest.fixture(scope="module")
def start():
    return initial_weights(ARCHITECTURE, seed=0)


def test_cnn3_has_the_size_it_says():
    """241,546 parameters on Fashion-MNIST, and one probability per label."""
    model = build_model(Architecture("cnn3", (28, 28, 1), 10))
    assert model.count_params() == 241_546
    assert model.output_shape == (None, 10)


def test_the_logits_of_cnn3_have_a_fixed_range():
    """Whatever is learned, the softmax sees 0 to 12; and no layer is dense, with a single scale."""
    import keras

    model = build_model(ARCHITECTURE)
    for sign in (1, -1):
        model.set_weights([np.full_like(tensor, sign * 9) for tensor in model.get_weights()])
        logits = keras.Model(model.inputs, model.layers[-1].input).predict(
            np.ones((1, SIDE, SIDE, 1)), verbose=0
        )
        assert set(logits.reshape(-1).tolist()) == {12.0 if sign > 0 else 0.0}
    assert not any(isinstance(layer, keras.layers.Dense) for layer in model.layers)


def test_the_seed_decides_the_initialisation(start):
    """Every shard can make the common start for itself."""
    assert initial_weights(ARCHITECTURE, seed=0).digest() == start.digest()
    assert initial_weights(ARCHITECTURE, seed=1).digest() != start.digest()


def test_training_learns_and_counts(start):
    """Accuracy rises well above chance, and the update says how many pictures it took."""
    done = []
    samples = make_samples(200)
    update = fit(samples, start, RECIPE, epochs=4, client="shard-0", advance=done.append)
    assert Examiner(TEST).measure(update, "shard-0")["accuracy"] > 0.9
    assert (update.num_examples, update.passes, sum(done)) == (200, 4, 800)


def test_two_calls_of_one_pass_are_one_call_of_two(start):
    """So a run can be continued from weights alone, and round 1 is the first pass of the model alone."""
    samples = make_samples(100)
    once = train(samples, start, epochs=2)
    twice = train(samples, train(samples, start))
    for one, other in zip(once.tensors, twice.tensors, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert once.passes == twice.passes


def test_only_a_common_start_can_be_averaged():
    """Two models from one seed average to a good one, two from two seeds do not."""
    accuracy = {}
    for seeds in ((0, 0), (0, 1)):
        parts = [make_samples(240, seed=part) for part in (1, 2)]
        updates = [
            train(part, initial_weights(ARCHITECTURE, seed), epochs=3, client=f"shard-{index}")
            for index, (part, seed) in enumerate(zip(parts, seeds, strict=True))
        ]
        accuracy[seeds] = Examiner(TEST).measure(average(updates), "average")["accuracy"]
    assert accuracy[0, 0] > 0.9
    assert accuracy[0, 1] < accuracy[0, 0] - 0.2


def test_a_loss_that_explodes_is_a_failure(start):
    """Weights that are no numbers never become an update."""
    broken = replace(start, tensors=tuple(tensor * np.float32(np.nan) for tensor in start.tensors))
    with pytest.raises(Failed, match="weights are no longer numbers"):
        train(make_samples(32), broken)


def test_weights_of_other_layers_are_refused():
    """The error shows both lists of shapes."""
    with pytest.raises(WrongUsage, match="layers of the shapes"):
        model_with(make_weights(), "w.npz")


def test_pictures_too_small_for_the_model_are_refused():
    """Three poolings need eight pixels."""
    with pytest.raises(WrongUsage, match="too small"):
        build_model(Architecture("cnn3", (7, 28, 1), 10))


def test_a_saved_model_answers_as_its_weights(start, tmp_path):
    """What is measured in memory is what the file holds."""
    save_model(start, tmp_path / "model.keras")
    measured = evaluate_file(tmp_path / "model.keras", TEST, tmp_path / "test.npz")
    assert measured == Examiner(TEST).measure(start, "start")


def test_a_model_for_other_pictures_is_refused(start, tmp_path):
    """8 x 8 pictures do not go into a model of 16 x 16."""
    save_model(initial_weights(Architecture("cnn3", (16, 16, 1), 4), 0), tmp_path / "model.keras")
    with pytest.raises(WrongUsage, match=r"\(8, 8, 1\), expected \(16, 16, 1\)"):
        evaluate_file(tmp_path / "model.keras", TEST, tmp_path / "test.npz")


def test_a_damaged_model_is_refused(start, tmp_path, truncate):
    """Half a .keras file is an error of three lines, not a traceback."""
    save_model(start, tmp_path / "model.keras")
    with pytest.raises(WrongUsage, match="no whole Keras model"):
        load_model(truncate(tmp_path / "model.keras"))
