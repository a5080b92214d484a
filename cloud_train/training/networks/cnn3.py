"""cnn3: three convolutions and two dense layers, made to be re-weighted after it was compiled."""

from typing import Any

from cloud_train import backend
from cloud_train.training.networks.sides import refuse_small
from cloud_train.training.weights import Architecture

NAME = "cnn3"
FILTERS = (32, 64, 128)
DENSE_UNITS = 128
# Each pooling halves height and width, and the last one needs a pixel left.
MIN_SIDE = 2 ** len(FILTERS)
MIDDLE = 3.0


def build(architecture: Architecture) -> Any:
    """Return a CNN whose int8 form keeps its scales from one round to the next.

    A model that was compiled for an Edge TPU takes new weights only where nothing else changes. Hence:

    - Dense layers are written as convolutions: these have a scale for each channel, which may change.
    - Hidden layers end with ReLU6, so that training cannot push their ranges far.
    - The logits have a fixed range, 0 to 12: the softmax computes with a table that follows from it.
    """
    keras = backend.keras()
    layers = keras.layers
    height, width, _ = architecture.image_shape
    refuse_small(architecture, MIN_SIDE)
    entry = x = keras.Input(architecture.image_shape)  # (height, width, channels) float32, 0 to 1
    for filters in FILTERS:
        x = layers.Conv2D(filters, 3, padding="same", activation="relu6")(x)
        x = layers.MaxPooling2D(2)(x)
    whole = (height // MIN_SIDE, width // MIN_SIDE)
    # Keras' default counts the pixels of the kernel as outputs too, and would start too low.
    x = layers.Conv2D(DENSE_UNITS, whole, activation="relu6", kernel_initializer="he_uniform")(x)
    # A logit that is clipped learns nothing, so they start in the middle.
    middle = keras.initializers.Constant(MIDDLE)
    x = layers.Conv2D(architecture.classes, 1, activation="relu6", bias_initializer=middle)(x)
    x = layers.Flatten()(x)
    # Up to 6 alone, no score could pass 0.98 and half a point of accuracy was lost. A factor of 2, not a sum,
    # would cost half of the int8 levels: the converter gives a factor's input the scale of its output.
    scores = layers.Softmax(dtype="float32")(layers.Add()([x, x]))
    return keras.Model(entry, scores, name=NAME)
