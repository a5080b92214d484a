"""Training one model: it learns, from a common start, and a pass can be repeated to the bit."""

from dataclasses import replace

import numpy as np
import pytest

from cloud_train import backend
from cloud_train.data.samples import Samples
from cloud_train.training.examiner import Examiner
from cloud_train.training.models import initial_weights
from cloud_train.training.recipe import Recipe
from cloud_train.training.trainer import Watching, fit
from host_cli.errors import Failed
from tests.cloud_train.conftest import ARCHITECTURE, make_samples

RECIPE = Recipe(batch_size=16)
TEST = make_samples(80, seed=9)


def train(samples, start, epochs=1, recipe=RECIPE, watching=None):
    return fit(
        samples,
        start,
        recipe,
        epochs=epochs,
        client="shard-0",
        advance=lambda done: None,
        watching=watching,
    )


@pytest.fixture(scope="module")
def start():
    return initial_weights(ARCHITECTURE, seed=0)


def test_training_learns_and_counts(start):
    """Accuracy rises well above chance, and the update says how many pictures it took."""
    done, passed = [], []
    update = fit(
        make_samples(200),
        start,
        RECIPE,
        epochs=4,
        client="shard-0",
        advance=done.append,
        watching=Watching(validation=TEST, passed=passed.append),
    )
    measured = Examiner(TEST).measure(update, "shard-0")
    assert measured["accuracy"] > 0.9
    assert (update.num_examples, update.passes, sum(done)) == (200, 4, 800)
    assert [figures["pass"] for figures in passed] == [1, 2, 3, 4]
    assert passed[-1]["validation_accuracy"] == measured["accuracy"]
    assert update.figures["validation_loss"] == measured["loss"]
    assert passed[0]["loss"] > passed[-1]["loss"] == update.figures["loss"]


def test_two_calls_of_one_pass_are_one_call_of_two():
    """So a run can be continued from weights alone; dropout follows from the pass, as the shuffle does."""
    samples = make_samples(60)
    start = initial_weights(replace(ARCHITECTURE, model="mnist_cnn"), seed=0)
    once = train(samples, start, epochs=2)
    twice = train(samples, train(samples, start))
    for one, other in zip(once.tensors, twice.tensors, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert once.passes == twice.passes


def test_only_a_common_start_can_be_averaged():
    """Two models from one seed average to a good one, two from two seeds do not."""
    accuracy = {}
    for seeds in ((0, 0), (0, 1)):
        updates = [
            train(make_samples(240, seed=part), initial_weights(ARCHITECTURE, seed), epochs=3)
            for part, seed in zip((1, 2), seeds, strict=True)
        ]
        pairs = zip(*(update.tensors for update in updates), strict=True)
        middle = replace(updates[0], tensors=tuple((one + other) / 2 for one, other in pairs))
        accuracy[seeds] = Examiner(TEST).measure(middle, "average")["accuracy"]
    assert accuracy[0, 0] > 0.9
    assert accuracy[0, 1] < accuracy[0, 0] - 0.2


def normalised(image_shape, classes):
    """A network with statistics of its own: 32 pictures give a mean of 77, in units of 255."""
    layers = backend.keras().layers
    entry = backend.keras().Input(image_shape)
    flat = layers.Flatten()(layers.BatchNormalization(momentum=0.0)(entry))
    return backend.keras().Model(entry, layers.Dense(classes, "softmax")(flat))


def test_the_statistics_of_batchnorm_move_with_the_data():
    """They keep their places and roles in the update."""
    samples = make_samples(32)
    start = initial_weights(replace(ARCHITECTURE, model=f"{__name__}:normalised"), 0)
    update = train(samples, start, recipe=Recipe(batch_size=32))
    assert (
        update.roles == start.roles == ("weight",) * 2 + ("moving_mean", "moving_variance") + ("weight",) * 2
    )
    mean = update.tensors[update.roles.index("moving_mean")]
    np.testing.assert_allclose(mean, [samples.x.mean() / 255], rtol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_pictures_than_a_batch_are_one_short_batch(start, count):
    """Even one picture can be learned from."""
    assert train(make_samples(count), start).num_examples == count


def test_a_model_that_holds_no_numbers_is_a_failure(start):
    """Weights that are no numbers never become an update, though ReLU6 gives them a loss."""
    broken = replace(start, tensors=tuple(tensor * np.float32(np.nan) for tensor in start.tensors))
    with pytest.raises(Failed, match="weights are no longer numbers"):
        train(make_samples(32), broken)


def test_a_loss_that_explodes_is_named():
    """The client, the loss, and what to try."""
    start = initial_weights(replace(ARCHITECTURE, model="mnist_cnn"), 0)
    tensors = (*start.tensors[:-1], np.full_like(start.tensors[-1], np.nan))
    with pytest.raises(Failed, match="the loss became nan") as found:
        train(make_samples(32), replace(start, tensors=tensors))
    assert (found.value.where, found.value.hint) == ("shard-0", "a smaller --learning-rate")


def test_a_batch_too_large_for_the_memory_is_named(start):
    """What the allocator says becomes three lines."""

    class TooLarge(Samples):
        def take(self, chosen):
            if np.array_equal(chosen, np.sort(chosen)):  # not a batch of the shuffled pass
                return super().take(chosen)
            raise MemoryError("Unable to allocate 51 GiB")

    samples = make_samples(32)
    with pytest.raises(Failed, match="too small for a batch of 16 pictures"):
        train(TooLarge(samples.x, samples.y), start)
