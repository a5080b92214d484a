"""Starts TensorFlow and Keras when they are first needed, without the greeting on stderr."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def keras() -> Any:
    """Return the module keras; the first call takes seconds."""
    with _stderr_closed():
        import keras as module
        import tensorflow

        tensorflow.config.list_physical_devices()  # where no CUDA is, this says so
    return module


@contextmanager
def _stderr_closed() -> Iterator[None]:
    # The lines that TensorFlow's C++ writes while it loads ignore every log level; Python errors still rise.
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
