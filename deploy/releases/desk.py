"""Where a fleet's releases are signed: written down first, files and all, then given out to be published."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from contract.codec import decode, encode
from contract.envelope import RELEASE_TYPE, Envelope
from contract.errors import ContractError
from contract.manifest import ReleaseManifest
from contract.stamps import build_ulid, format_time
from contract.topics import Topics
from deploy.releases.blob_store import BlobStore
from deploy.releases.ledger import UNFINISHED, Desired, Ledger
from deploy.releases.publisher import Retention
from deploy.releases.release import RELEASE_DAYS, Blob
from deploy.trust.keys import load_key, load_root, reserve_sequence, root_path
from deploy.trust.signing import sign, verify
from host_cli.errors import GateNotMet, WrongUsage

_DAY_S = 86400.0
_ULID_RANDOM_BYTES = 10


class Desk:
    """A `with` block around the fleet's folder: its keys, its ledger, its files.

    Raises:
        WrongUsage: there are no keys, or they cannot be used.
        GateNotMet: the root does not trust them.
        Failed: the ledger cannot be used.
    """

    def __init__(self, fleet: Path, topics: Topics) -> None:
        self.fleet, self.topics = fleet, topics
        self._read_keys()
        self.store = BlobStore(fleet)
        self._open = ExitStack()

    def __enter__(self) -> "Desk":
        self.ledger = self._open.enter_context(Ledger(self.fleet))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _read_keys(self) -> None:
        self.root = load_root(self.fleet)
        self._key = load_key(self.fleet, "release", self.root)

    def _follow(self) -> None:
        """Take the newest keys: they may be replaced while a keeper or a controller runs."""
        if root_path(self.fleet, self.root.version + 1).exists():
            self._read_keys()

    def keep(self, blobs: Iterable[Blob]) -> None:
        """Put files into the store."""
        for blob in blobs:
            self.store.put(blob.ref.sha256, blob.data)

    def renew(self, release: ReleaseManifest, seen: Iterable[int], now_s: float) -> ReleaseManifest:
        """Return the release with a sequence above all that were ever seen or given out, issued now."""
        return replace(
            release,
            sequence=reserve_sequence(self.fleet, [*seen, self.ledger.last_sequence()]),
            issued=format_time(now_s),
            expires=format_time(now_s + RELEASE_DAYS * _DAY_S),
        )

    def sign(self, release: ReleaseManifest, topics: Iterable[str]) -> Retention:
        """Sign a release for these topics.

        Raises:
            GateNotMet: it names more than a device accepts.
            Failed: a file of it is not in the store.
        """
        return self.retention(release, self.seal(release), topics)

    def seal(self, release: ReleaseManifest) -> bytes:
        """Return a release as it travels: signed.

        Raises:
            GateNotMet: it names more than a device accepts.
        """
        self._follow()
        return encode(sign(release, [self._key]))

    def write_down(self, release: ReleaseManifest, wire: bytes, topics: Iterable[str], now_s: float) -> None:
        """Write down that a signed release is wanted from now on; only then it may be published.

        Raises:
            Failed: the ledger cannot be written.
        """
        self.ledger.add_release(release, wire, topics, self._key.id, now_s)

    def free(self, names: Iterable[str], sequence: int, now_s: float) -> None:
        """Write down that devices have no release of their own any more, from a sequence on."""
        with self.ledger.step():
            for name in names:
                self.ledger.want(Desired(self.topics.model_desired(name), sequence, b""))
                self.ledger.note("unpinned", name, now_s)

    def require_no_rollout(self, channel: str) -> None:
        """Check that no rollout of a channel may still go on, or go back.

        Raises:
            WrongUsage: one may.
        """
        query = "SELECT id, state FROM rollouts WHERE base = ? AND channel = ? AND state IN (?, ?, ?)"
        for row in self.ledger.read(query, (self.topics.base, channel, *UNFINISHED)):
            what = f"rollout {row['id']} of channel {channel} is not finished: it is {row['state']}"
            raise WrongUsage(what, str(self.ledger.path), f"deploy rollout resume {row['id']}, or abort it")

    def retention(self, release: ReleaseManifest, wire: bytes, topics: Iterable[str]) -> Retention:
        """Collect what a signed release needs on the broker."""
        blobs = (self.store.blob(ref) for ref in release.blobs.values())
        return Retention.build(self.topics, blobs, topics, wire)

    def read_release(self, wire: bytes) -> ReleaseManifest | None:
        """Return a release from the broker, None for one that this fleet's release key did not sign."""
        self._follow()
        try:
            envelope = decode(Envelope, wire)
            if envelope.payloadType != RELEASE_TYPE:
                return None
            verify(envelope, self.root.roles["release"], self.root.keys)
            return envelope.open(ReleaseManifest)
        except (ContractError, GateNotMet):
            return None

    def read_sequence(self, wire: bytes) -> int:
        """Return the sequence of a release from the broker, 0 for one that is not ours."""
        release = self.read_release(wire)
        return 0 if release is None else release.sequence


def new_rollout_id(now_s: float) -> str:
    """Return an id that nobody had before; it sorts by time."""
    return build_ulid(now_s, os.urandom(_ULID_RANDOM_BYTES)).lower()
