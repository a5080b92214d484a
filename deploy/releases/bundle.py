"""Loads a bundle and checks every file of it against its manifest."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from contract.artifacts import BUNDLE_FILE, BundleManifest, FileEntry
from contract.chunks import MAX_BLOB_BYTES
from contract.codec import decode
from contract.errors import ContractError
from host_cli.errors import GateNotMet, WrongUsage

HINT = "make the bundle again with quantize"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are what the manifest says; `files` holds those that travel, by role."""

    manifest: BundleManifest
    files: dict[str, bytes] = field(repr=False)


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest and files.

    Raises:
        WrongUsage: there is no bundle, or its manifest cannot be read.
        GateNotMet: a file is missing, or is not the one that the manifest names.
    """
    path = folder / BUNDLE_FILE
    try:
        manifest = decode(BundleManifest, path.read_bytes())
    except OSError as error:
        raise WrongUsage(f"no bundle here: {error.strerror}", str(path), HINT) from error
    except ContractError as error:
        raise WrongUsage(f"not a bundle manifest: {error}", str(path), HINT) from error
    _read_checked(folder, manifest.report)
    files = {role: _read_checked(folder, entry) for role, entry in manifest.files().items()}
    return Bundle(manifest, files)


def _read_checked(folder: Path, entry: FileEntry) -> bytes:
    path = folder / entry.path
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BLOB_BYTES + 1)
    except OSError as error:
        raise GateNotMet(f"a file of the bundle is missing: {error.strerror}", str(path), HINT) from error
    if len(data) > MAX_BLOB_BYTES:
        raise GateNotMet(f"a file has more than {MAX_BLOB_BYTES} bytes", str(path), "send a smaller model")
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise GateNotMet("a file is not the one that the manifest names", str(path), HINT)
    return data
