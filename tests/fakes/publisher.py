"""A publisher with its own keys: makes roots and releases for tests, good ones and bad ones."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from nacl.signing import SigningKey

from contract.artifacts import TensorSpec
from contract.chunks import blob_id, build_index, cut
from contract.codec import encode
from contract.envelope import (
    COMMAND_TYPE,
    RELEASE_TYPE,
    ROOT_TYPE,
    TIMESTAMP_TYPE,
    Envelope,
    Signature,
    pre_authentication_encoding,
)
from contract.manifest import BlobRef, ReleaseManifest, ReleaseModel, Rollout, SelfTest
from contract.stamps import format_time
from contract.topics import Topics
from contract.trust import ROLES, Command, Role, Root, Timestamp

DATA = Path(__file__).parents[1] / "edge_agent" / "data"
TOPICS = Topics()
ISSUED_S = 1_767_225_600.0
DAY_S = 86_400.0


def tiny_files() -> Dict[str, bytes]:
    """Return the files of a small real model by role."""
    names = {"model": "tiny.tflite", "labels": "tiny_labels.txt"}
    names.update({"preprocessing": "tiny_preprocessing.json", "golden": "tiny_golden.npz"})
    return {role: (DATA / name).read_bytes() for role, name in names.items()}


class Publisher:
    """Two root keys of which one signs, one release key, and counters that only rise."""

    def __init__(self, chunk_bytes: int = 1024) -> None:
        self.keys = {role: SigningKey(hashlib.sha256(role.encode()).digest()) for role in ROLES}
        self.chunk_bytes = chunk_bytes
        self.sequence = 0
        public = {self.key_id(role): bytes(key.verify_key) for role, key in self.keys.items()}
        roles = {role: Role((self.key_id(role),), 1) for role in ROLES}
        self.root = self.newest_root = Root(1, format_time(ISSUED_S + 36_500 * DAY_S), public, roles)

    def key_id(self, role: str) -> str:
        """Return the id of a role's key."""
        return hashlib.sha256(bytes(self.keys[role].verify_key)).hexdigest()[:16]

    def root_envelope(self) -> bytes:
        """Return the signed root of trust."""
        return self.seal(ROOT_TYPE, encode(self.root), ["root"])

    def rotate(self, role: str) -> bytes:
        """Give a role (not root) another key; return the next root, which says so."""
        before, old = self.newest_root, self.key_id(role)
        version = before.version + 1
        self.keys[role] = SigningKey(hashlib.sha256(f"{role} {version}".encode()).digest())
        public = {keyid: key for keyid, key in before.keys.items() if keyid != old}
        public[self.key_id(role)] = bytes(self.keys[role].verify_key)
        roles = {**before.roles, role: Role((self.key_id(role),), 1)}
        self.newest_root = replace(before, version=version, keys=public, roles=roles)
        return self.seal(ROOT_TYPE, encode(self.newest_root), ["root"])

    def timestamp(self, issued_s: float = ISSUED_S, days: float = 7, **channels: int) -> bytes:
        """Return a signed timestamp that names these sequences."""
        times = format_time(issued_s), format_time(issued_s + days * DAY_S)
        found = Timestamp(*times, self.newest_root.version, channels)
        return self.seal(TIMESTAMP_TYPE, encode(found), ["timestamp"])

    def command(self, counter: int, command: str = "rollback", **changes: Any) -> bytes:
        """Return a signed order to board-a."""
        times = format_time(ISSUED_S), format_time(ISSUED_S + 2 * DAY_S)
        order = replace(Command("board-a", counter, *times, command), **changes)
        return self.seal(COMMAND_TYPE, encode(order), ["release"])

    def manifest(self, files: Optional[Dict[str, bytes]] = None, **changes: Any) -> ReleaseManifest:
        """Return a release of the given files with the next sequence."""
        self.sequence += 1
        files = tiny_files() if files is None else files
        tensors = (
            TensorSpec("in", (1, 28, 28, 1), "uint8", 1 / 255, 0),
            TensorSpec("out", (1, 10), "uint8", 1 / 256, 0),
        )
        fields: Dict[str, Any] = {
            "channel": "stable",
            "devices": (),
            "sequence": self.sequence,
            "issued": format_time(ISSUED_S),
            "expires": format_time(ISSUED_S + 3650 * DAY_S),
            "hardware": (),
            "minimum_agent": "0.1.0",
            "minimum_runtime": "tflite 2.5",
            "model": ReleaseModel("tiny", str(self.sequence), 0, False, False, tensors[:1], tensors[1:]),
            "blobs": {role: self.blob(data) for role, data in files.items()},
            "selftest": SelfTest(),
            "rollout": Rollout(f"push-{self.sequence}"),
        }
        return ReleaseManifest(**{**fields, **changes})

    def blob(self, data: bytes) -> BlobRef:
        """Return how a file is named in a release."""
        index = build_index(data, self.chunk_bytes)
        return BlobRef(
            len(data), hashlib.sha256(data).hexdigest(), hashlib.sha256(index).hexdigest(), self.chunk_bytes
        )

    def release(self, manifest: ReleaseManifest, roles: Sequence[str] = ("release",)) -> bytes:
        """Return a release signed with the keys of `roles`."""
        return self.seal(RELEASE_TYPE, encode(manifest), roles)

    def seal(self, kind: str, payload: bytes, roles: Sequence[str]) -> bytes:
        """Return an envelope over `payload`."""
        signed = pre_authentication_encoding(kind, payload)
        signatures = tuple(
            Signature(self.key_id(role), self.keys[role].sign(signed).signature) for role in roles
        )
        return encode(Envelope(kind, payload, signatures))

    def messages(self, data: bytes) -> Iterator[Tuple[str, bytes]]:
        """Yield (topic, payload) of a file's index and chunks."""
        name = blob_id(hashlib.sha256(data).hexdigest())
        yield TOPICS.blob_index(name), build_index(data, self.chunk_bytes)
        for number, chunk in enumerate(cut(data, self.chunk_bytes)):
            yield TOPICS.blob_chunk(name, number), chunk
