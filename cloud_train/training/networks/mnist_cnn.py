"""mnist_cnn: the small network that the samples for MNIST have used for years, with ReLU6 for int8."""

from typing import Any

from cloud_train import backend
from cloud_train.training.networks.sides import refuse_small
from cloud_train.training.weights import Architecture

NAME = "mnist_cnn"
FILTERS = (32, 64)
DENSE_UNITS = 128
# Two convolutions without a border take 4 pixels, and the pooling needs 2 of what is left.
MIN_SIDE = 6
DROPOUT_CONVOLUTIONS = 0.25
DROPOUT_DENSE = 0.5


def build(architecture: Architecture) -> Any:
    """Return two convolutions, a pooling, and two dense layers, with dropout before each of these."""
    keras = backend.keras()
    layers = keras.layers
    refuse_small(architecture, MIN_SIDE)
    entry = x = keras.Input(architecture.image_shape)  # (height, width, channels) float32, 0 to 1
    for filters in FILTERS:
        x = layers.Conv2D(filters, 3, activation="relu6")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Dropout(DROPOUT_CONVOLUTIONS)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(DENSE_UNITS, activation="relu6")(x)
    x = layers.Dropout(DROPOUT_DENSE)(x)
    scores = layers.Softmax(dtype="float32")(layers.Dense(architecture.classes)(x))
    return keras.Model(entry, scores, name=NAME)
