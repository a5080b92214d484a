"""Starts TensorFlow and Keras when they are first needed, without the greeting on stderr."""

import sys
from functools import cache
from typing import Any

from host_cli.quiet import quiet


@cache
def keras() -> Any:
    """Return the module keras; the first call takes seconds."""
    if sys.stderr.isatty():
        print("starting TensorFlow", file=sys.stderr)
    with quiet():
        import keras as module
        import tensorflow

        tensorflow.config.list_physical_devices()  # where no CUDA is, this says so
    return module


def has_gpu() -> bool:
    """Say whether TensorFlow finds a GPU."""
    keras()
    import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))
