"""Keeps a talkative library's output off the terminal, while our own progress still gets there."""

import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_STDERR = 2


@contextmanager
def quiet() -> Iterator[None]:
    """Swallow what the block prints on stdout, its warnings, and what native code writes to stderr.

    Python's own sys.stderr keeps working: progress is written through it.
    """
    sys.stderr.flush()
    saved = os.dup(_STDERR)
    own = sys.stderr
    try:
        with (
            tempfile.TemporaryFile() as swallowed,
            open(saved, "w", buffering=1, closefd=False) as still_there,
            redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            if own is sys.__stderr__:
                sys.stderr = still_there
            os.dup2(swallowed.fileno(), _STDERR)
            yield
    finally:
        sys.stderr = own
        os.dup2(saved, _STDERR)
        os.close(saved)
