"""Where a run comes from: its data, its program, its settings, and the digest of every set of weights."""

import hashlib
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import contract
from cloud_train.averaging.screening import Screened
from cloud_train.data.shards import MANIFEST_FILE, ShardManifest
from cloud_train.runs.place import Place
from cloud_train.runs.run_folder import RunSettings
from contract.artifacts import CodeEntry, DataEntry, Lineage, RoundEntry, UpdateEntry
from contract.records import dump_record
from host_cli import files

# The packages that a run is made by.
PACKAGES = ("cloud_train", "contract", "host_cli")
REASON_CHARACTERS = 256
_GIT_SECONDS = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


def lineage_of(
    data: Place, manifest: ShardManifest, settings: RunSettings, rounds: Sequence[RoundEntry]
) -> Lineage:
    """Return how the model of a run came to be."""
    return Lineage(
        data=DataEntry(
            dataset=manifest.dataset,
            where=data.where,
            manifest_sha256=files.sha256_of(data.path / MANIFEST_FILE),
            shards=tuple(entry.file for entry in manifest.shards),
            test=manifest.test.file,
        ),
        code=code_entry(),
        config=dump_record(settings),
        rounds=tuple(rounds),
    )


def round_entry(number: int, before: str, after: str, screened: Screened) -> RoundEntry:
    """Return what is known of a round; `before` and `after` are digests of weights."""
    entries = [UpdateEntry(one.header.client, one.header.num_examples, one.sha256) for one in screened.kept]
    entries += [
        UpdateEntry(one.client, one.num_examples, one.sha256, one.reason[:REASON_CHARACTERS])
        for one in screened.left_out
    ]
    return RoundEntry(number, before, after, tuple(sorted(entries, key=lambda entry: entry.client)))


def code_entry() -> CodeEntry:
    """Return which program this is: an installed one is known by the digest of its sources."""
    root = Path(contract.__file__).parents[1]
    return CodeEntry(contract.__version__, _sources_sha256(root), _commit(root))


def _sources_sha256(root: Path) -> str:
    found = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            found.update(f"{path.relative_to(root)} {files.sha256_of(path)}\n".encode())
    return found.hexdigest()


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git on this computer
    return said if _COMMIT.fullmatch(said) else None
