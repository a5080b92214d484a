"""The learner: FedProx's loss, 16-bit arithmetic, and states that can be put back."""

from dataclasses import replace

import numpy as np
import pytest

from cloud_train import backend
from cloud_train.training import learner as module
from cloud_train.training.batches import batches
from cloud_train.training.learner import Learner
from cloud_train.training.models import initial_weights
from cloud_train.training.recipe import Recipe
from tests.cloud_train.conftest import ARCHITECTURE, make_samples


def test_fedprox_adds_mu_times_the_way_from_the_start():
    """One step of SGD against the gradient by hand: that of the loss, and mu * (w - w0)."""
    keras = backend.keras()
    random = np.random.default_rng(0)
    entry = keras.Input((3,))
    plain = keras.Model(entry, keras.layers.Dense(2, "softmax", use_bias=False)(entry))
    begin, now = random.normal(size=(2, 3, 2))
    plain.set_weights([begin])
    held = module._proximal(plain, 0.7)
    held.set_weights([now])
    held.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x, y = random.normal(size=(4, 3)), np.array([0, 1, 1, 0])
    loss = held.train_on_batch(x, y)

    scores = np.exp(x @ now) / np.exp(x @ now).sum(axis=1, keepdims=True)
    gradient = x.T @ (scores - np.eye(2)[y]) / 4 + 0.7 * (now - begin)
    np.testing.assert_allclose(plain.get_weights()[0], now - 0.1 * gradient, rtol=1e-5)
    cross_entropy = -np.log(scores[np.arange(4), y]).mean()
    np.testing.assert_allclose(loss, cross_entropy + 0.35 * ((now - begin) ** 2).sum(), rtol=1e-5)


def learn(recipe, steps=20):
    """Take some steps; return the learner and how far the weights went."""
    start = initial_weights(ARCHITECTURE, 0)
    learner = Learner(start, recipe, "shard-0")
    learner.begin_pass(0)
    samples = make_samples(8 * steps)
    learner.learn(batches(samples, np.arange(8 * steps), 8, (1 / 255, 0.0)), lambda steps, figures: None)
    moved = zip(learner.tensors(), start.tensors, strict=True)
    return learner, sum(float(((now - then) ** 2).sum()) for now, then in moved)


def test_fedprox_holds_the_weights_near_the_start():
    """The stronger, the nearer."""
    free, held = (learn(Recipe(proximal=mu, batch_size=8))[1] for mu in (0.0, 10.0))
    assert held < free / 2


def test_mixed_precision_computes_in_16_bits_and_keeps_weights_in_32():
    """On a processor bfloat16; the policy of other models is not touched."""
    learner, moved = learn(Recipe(mixed_precision=True, batch_size=8))
    assert moved > 0
    assert {tensor.dtype for tensor in learner.tensors()} == {np.dtype(np.float32)}
    kinds = {layer.compute_dtype for layer in learner.model.layers if layer.weights}
    assert kinds == {"float16" if backend.has_gpu() else "bfloat16"}
    assert learner.model.output.dtype == "float32"
    assert backend.keras().config.dtype_policy().name == "float32"


def test_a_gpu_gets_float16_with_a_scaled_loss(monkeypatch):
    """And the scale is part of the state that a pass starts with."""
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    learner, moved = learn(Recipe(mixed_precision=True, batch_size=8))
    assert moved > 0
    scale = learner._learned.optimizer.dynamic_scale
    scale.assign(1.0)
    learner.begin_pass(1)
    assert float(scale.numpy()) == 2.0**15


def test_a_state_that_is_put_back_goes_on_as_it_would_have():
    """Weights, moments, dropout and running figures: 8 steps and 8 more are 16."""
    start, recipe = initial_weights(replace(ARCHITECTURE, model="mnist_cnn"), 0), Recipe(batch_size=8)
    samples, places = make_samples(128), np.arange(128)

    def learner():
        return Learner(start, recipe, "shard-0")

    def take(learner, chosen):
        return learner.learn(batches(samples, chosen, 8, (1 / 255, 0.0)), lambda steps, figures: None)

    whole, first, second = learner(), learner(), learner()
    whole.begin_pass(0)
    expected = take(whole, places)
    first.begin_pass(0)
    take(first, places[:64])
    second.put_state(first.state())
    assert take(second, places[64:]) == pytest.approx(expected, rel=1e-4)
    for one, other in zip(second.tensors(), whole.tensors(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
