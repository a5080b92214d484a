"""A Keras model that learns; everything that changes while it does can be taken out and put back."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from cloud_train import backend
from cloud_train.data.samples import Array
from cloud_train.training.models import model_with
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import Weights
from host_cli.errors import Failed

# Steps that TensorFlow takes between two looks at Python: fewer cost time, more make the progress jumpy.
STEPS_PER_CALL = 20
PLAIN_PRECISION = "float32"
GPU_PRECISION = "mixed_float16"
# Processors have no fast arithmetic for float16; some have it for bfloat16.
CPU_PRECISION = "mixed_bfloat16"
_SEED_STATE = "seed_generator_state"

Stepped = Callable[[int, Mapping[str, float]], None]


class Learner:
    """A model, its optimizer, the states of its random layers, and the running figures of the pass."""

    def __init__(self, start: Weights, recipe: Recipe, client: str) -> None:
        keras = backend.keras()
        keras.utils.set_random_seed(recipe.seed)
        self._recipe, self._client = recipe, client
        with _precision(recipe):
            self.model = model_with(start, client)
            self._learned = _proximal(self.model, recipe.proximal) if recipe.proximal else self.model
        self._adam = keras.optimizers.Adam(learning_rate=recipe.learning_rate)
        self._accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        self._learned.compile(
            optimizer=self._adam,
            loss="sparse_categorical_crossentropy",
            metrics=[self._accuracy],
            steps_per_execution=STEPS_PER_CALL,
        )
        self._learned.optimizer.build(self._learned.trainable_variables)
        self._fresh = [variable.numpy() for variable in self._learned.optimizer.variables]
        self._seeds = [each for each in self.model.variables if each.name == _SEED_STATE]
        self._running: list[Array] | None = None

    def begin_pass(self, passes: int) -> None:
        """Make the optimizer and the random layers as they are after `passes` whole passes."""
        for variable, value in zip(self._learned.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)  # step counter, moments, the scale of a 16-bit loss
        self._adam.learning_rate.assign(self._recipe.learning_rate_of(passes))
        random = np.random.default_rng((self._recipe.seed, passes, 1))
        for variable in self._seeds:
            variable.assign(random.integers(0, 2**32, variable.shape, np.uint32))

    def learn(self, batches: Any, stepped: Stepped) -> dict[str, float]:
        """Take a step with each batch and return loss and accuracy, means over the pass.

        Args:
            batches: a tf.data.Dataset of (N, height, width, channels) float32 and (N,) int64.
            stepped: called now and then with the steps taken and the figures so far.

        Raises:
            Failed: the loss is no longer a number.
        """

        def after_steps(index: int, logs: Mapping[str, float]) -> None:
            self._check_loss(logs["loss"])
            stepped(index + 1, logs)

        watch = backend.keras().callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self._put_running(), on_train_batch_end=after_steps
        )
        history = self._learned.fit(batches, shuffle=False, verbose=0, callbacks=[watch]).history
        return {name: float(history[name][-1]) for name in ("loss", "accuracy")}

    def tensors(self) -> tuple[Array, ...]:
        """Return the weights, float32, in Keras' order."""
        return tuple(self.model.get_weights())

    def state(self) -> list[Array]:
        """Return everything that the next step depends on."""
        return [variable.numpy() for variable in (*self._lasting(), *self._figures())]

    def put_state(self, values: list[Array]) -> None:
        """Put back what `state` returned, of the same model and recipe."""
        lasting = self._lasting()
        for variable, value in zip(lasting, values, strict=False):
            variable.assign(value)
        self._running = values[len(lasting) :]

    def check_finite(self, loss: float) -> None:
        """Refuse a model that is none any more.

        Raises:
            Failed: the loss or a weight is no longer a number.
        """
        self._check_loss(loss)
        # ReLU6 makes a number of a NaN, so a model of NaNs may have a loss.
        if not all(np.isfinite(tensor).all() for tensor in self.tensors()):
            raise Failed("the weights are no longer numbers", self._client, "a smaller --learning-rate")

    def _check_loss(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise Failed(f"the loss became {loss}", self._client, "a smaller --learning-rate")

    def _lasting(self) -> list[Any]:
        return [*self.model.weights, *self._learned.optimizer.variables, *self._seeds]

    def _figures(self) -> list[Any]:
        mean_loss = self._learned.metrics[0]
        return [*mean_loss.variables, *self._accuracy.variables]

    def _put_running(self) -> None:
        # Keras sets its figures to zero when a pass begins, also in the middle of ours.
        for variable, value in zip(self._figures(), self._running or [], strict=False):
            variable.assign(value)
        self._running = None


def _proximal(model: Any, strength: float) -> Any:
    """Return the same layers with FedProx's loss: + strength / 2 * |weights - start|^2.

    Source: Li et al., Federated Optimization in Heterogeneous Networks, 2020, arXiv:1812.06127, equation 2.
    """
    keras = backend.keras()
    start = [keras.ops.convert_to_tensor(variable.numpy()) for variable in model.trainable_variables]

    class Proximal(keras.Model):  # type: ignore[misc,name-defined]
        """A model that is held near where it started."""

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            moved = zip(self.trainable_variables, start, strict=True)
            away = sum(keras.ops.sum(keras.ops.square(now.value - then)) for now, then in moved)
            return super().compute_loss(*args, **kwargs) + strength / 2 * away

    return Proximal(inputs=model.inputs, outputs=model.outputs, name=model.name)


@contextmanager
def _precision(recipe: Recipe) -> Iterator[None]:
    # Layers ask for the policy when they are made.
    config = backend.keras().config
    if recipe.mixed_precision:
        config.set_dtype_policy(GPU_PRECISION if backend.has_gpu() else CPU_PRECISION)
    try:
        yield
    finally:
        config.set_dtype_policy(PLAIN_PRECISION)
