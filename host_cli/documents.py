"""Reads a document, a record as JSON, from a file."""

from pathlib import Path
from typing import TypeVar

from contract.codec import MAX_PAYLOAD_BYTES, decode
from contract.errors import ContractError
from contract.records import Record
from host_cli.errors import WrongUsage

R = TypeVar("R", bound=Record)


def read_document(
    kind: type[R], path: Path, hint: str, *, max_bytes: int = MAX_PAYLOAD_BYTES, where: str | None = None
) -> R:
    """Return the record that a file holds.

    Args:
        kind: the record to expect.
        path: the file.
        hint: what to try when it is not there or not such a document.
        max_bytes: a larger file is refused; no more than that is read of it.
        where: what an error names, when the file is a copy of something else; None: the file.

    Raises:
        WrongUsage: it is missing, cannot be read, or is not such a document.
    """
    try:
        with path.open("rb") as stream:
            return decode(kind, stream.read(max_bytes + 1), max_bytes)
    except FileNotFoundError as error:
        raise WrongUsage(f"there is no {path.name}", where or str(path.parent), hint) from error
    except OSError as error:
        raise WrongUsage(f"it cannot be read: {error.strerror}", where or str(path), hint) from error
    except ContractError as error:
        raise WrongUsage(str(error), where or str(path), hint) from error
