"""Pictures as TensorFlow takes them: batch by batch, gathered by their places, scaled on the way."""

import math
from typing import Any

import numpy as np

from cloud_train.data.samples import Array, Pictures

# Python is asked for several batches at once, because each question costs a millisecond.
BLOCK_BATCHES = 20
BLOCK_BYTES = 16 * 1024 * 1024


def shuffled_places(count: int, seed: int, passes: int) -> Array:
    """Return the order in which the pass after `passes` whole ones sees `count` pictures, (count,) int64."""
    return np.random.default_rng((seed, passes)).permutation(count)


def batches(pictures: Pictures, places: Array, batch_size: int, normalisation: tuple[float, float]) -> Any:
    """Return a tf.data.Dataset of float32 batches; the next ones are gathered while one is learned.

    Args:
        pictures: where they are; only the batches under way are in memory.
        places: which pictures, in which order, (K,) int64.
        batch_size: pictures in a batch; the last one may be short.
        normalisation: scale and offset, input = pixel * scale + offset.
    """
    import tensorflow as tf

    scale, offset = normalisation
    # A correctly rounded division by 255 comes nearer to pixel / 255 than a product with 1 / 255.
    divisor = np.float32(1 / scale)

    def gather(chosen: Array) -> tuple[Array, Array]:
        found = pictures.take(chosen)
        return found.x, found.y

    def load(chosen: Any) -> tuple[Any, Any]:
        x, y = tf.numpy_function(gather, [chosen], (tf.uint8, tf.int64), stateful=False)
        x.set_shape((None, *pictures.image_shape))
        y.set_shape((None,))
        return x, y

    def scaled(x: Any, y: Any) -> tuple[Any, Any]:
        x = tf.cast(x, tf.float32) / divisor
        return (x + np.float32(offset) if offset else x), y

    block = batch_size * _batches_in_block(pictures, batch_size)
    count = tf.data.experimental.assert_cardinality(math.ceil(len(places) / batch_size))
    blocks = tf.data.Dataset.from_tensor_slices(np.asarray(places, np.int64)).batch(block).map(load)
    return blocks.unbatch().batch(batch_size).apply(count).map(scaled).prefetch(tf.data.AUTOTUNE)


def _batches_in_block(pictures: Pictures, batch_size: int) -> int:
    batch_bytes = batch_size * int(np.prod(pictures.image_shape))
    return max(1, min(BLOCK_BATCHES, BLOCK_BYTES // batch_bytes))
