"""Arrays in an .npz, with the record that tells of them beside them: weights, and checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from cloud_train.data.samples import Array, read_arrays
from contract.codec import MAX_PAYLOAD_BYTES, decode, encode
from contract.errors import MessageError
from contract.records import Record
from host_cli import files
from host_cli.errors import WrongUsage

# The name of the array that holds the record, UTF-8 JSON as uint8.
META = "meta"

R = TypeVar("R", bound=Record)


def save_recorded(path: Path, record: Record, arrays: Mapping[str, Array]) -> None:
    """Replace the file: a reader sees the old one or the whole new one; equal ones have equal bytes."""
    held = {**arrays, META: np.frombuffer(encode(record), np.uint8)}
    files.write_with(path, lambda temporary: np.savez(temporary, allow_pickle=False, **held))


def load_recorded(
    kind: type[R], path: Path, what: str, hint: str, max_bytes: int = MAX_PAYLOAD_BYTES
) -> tuple[R, dict[str, Array]]:
    """Read what `save_recorded` wrote.

    Args:
        kind: of the record.
        path: the file.
        what: what the file should be, for the error: `weights file`.
        hint: what to try when it is not.
        max_bytes: a larger record is refused.

    Returns:
        The record, and the arrays by name without it.

    Raises:
        WrongUsage: the file is missing, cut short, or holds something else.
    """
    arrays = read_arrays(path, hint)
    try:
        return decode(kind, arrays.pop(META).tobytes(), max_bytes), arrays
    except KeyError as error:
        raise WrongUsage(f"it is no {what}, there is no {error} in it", str(path), hint) from error
    except MessageError as error:
        raise WrongUsage(f"it is no {what}: {error}", str(path), hint) from error
