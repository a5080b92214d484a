"""mobilenet_v2: keras.applications' network in six widths, with a head for our labels."""

from typing import Any

from cloud_train import backend
from cloud_train.training.networks.sides import refuse_small
from cloud_train.training.weights import Architecture
from host_cli.errors import WrongUsage

NAME = "mobilenet_v2"
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
MIN_SIDE = 32
DROPOUT = 0.2
# Keras' 0.999 forgets the statistics it starts with after thousands of steps; a shard has hundreds.
STATISTICS_MOMENTUM = 0.9


def build(architecture: Architecture) -> Any:
    """Return the network with random weights; its input is -1 to 1.

    Raises:
        WrongUsage: there is no such width, or the pictures are too small.

    Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018, arXiv:1801.04381.
    """
    keras = backend.keras()
    layers = keras.layers
    refuse_small(architecture, MIN_SIDE)
    if architecture.width not in WIDTHS:
        known = "|".join(f"{width:g}" for width in WIDTHS)
        raise WrongUsage(f"there is no {NAME} of width {architecture.width:g}", "--width", known)
    body = keras.applications.MobileNetV2(
        input_shape=architecture.image_shape, alpha=architecture.width, include_top=False, weights=None
    )
    for layer in body.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = STATISTICS_MOMENTUM
    x = layers.GlobalAveragePooling2D()(body.output)  # (filters,)
    x = layers.Dropout(DROPOUT)(x)
    scores = layers.Softmax(dtype="float32")(layers.Dense(architecture.classes, name="head")(x))
    return keras.Model(body.input, scores, name=NAME)
