"""A fleet's authority: keys by name, chains of roots, and whatever is signed with them, right or wrong."""

import hashlib
from typing import Any, Dict, Iterable, Optional, Tuple

from nacl.signing import SigningKey

from contract.codec import encode
from contract.envelope import Envelope, Signature, SignedDocument, pre_authentication_encoding
from contract.manifest import ReleaseManifest
from contract.stamps import format_time
from contract.trust import Command, Role, Root, Timestamp
from tests.fakes.publisher import DAY_S, ISSUED_S, Publisher

ROOT_KEYS = ("root a", "root b", "root c")
TWO = ROOT_KEYS[:2]


class Authority:
    """Keys come into being when they are named: the same name is always the same key."""

    def __init__(self) -> None:
        self._publisher = Publisher()

    def key(self, name: str) -> SigningKey:
        """Return the private key of this name."""
        return SigningKey(hashlib.sha256(name.encode()).digest())

    def public(self, name: str) -> bytes:
        """Return the 32 bytes of its public key."""
        return bytes(self.key(name).verify_key)

    def keyid(self, name: str) -> str:
        """Return the id of its public key."""
        return hashlib.sha256(self.public(name)).hexdigest()[:16]

    def root(
        self,
        version: int = 1,
        *,
        root: Tuple[str, ...] = ROOT_KEYS,
        release: Tuple[str, ...] = ("release",),
        timestamp: Tuple[str, ...] = ("timestamp",),
        expires_s: float = ISSUED_S + 3650 * DAY_S,
        needs: Optional[Dict[str, int]] = None,
    ) -> Root:
        """Return a root with these keys; of root 2 must agree, of the others 1, or as `needs` says."""
        needed = {"root": min(2, len(root)), "release": 1, "timestamp": 1, **(needs or {})}
        names = {"root": root, "release": release, "timestamp": timestamp}
        roles = {role: Role(tuple(self.keyid(name) for name in names[role]), needed[role]) for role in names}
        public = {self.keyid(name): self.public(name) for each in names.values() for name in each}
        return Root(version, format_time(expires_s), public, roles)

    def manifest(self, **changes: Any) -> ReleaseManifest:
        """Return a release of the tiny model."""
        return self._publisher.manifest(**changes)

    def timestamp(
        self, issued_s: float = ISSUED_S, days: float = 7, root: int = 1, **channels: int
    ) -> Timestamp:
        """Return a timestamp that names these sequences."""
        return Timestamp(
            format_time(issued_s), format_time(issued_s + days * DAY_S), root, channels or {"stable": 1}
        )

    def command(self, counter: int = 1, **changes: Any) -> Command:
        """Return an order to board-a."""
        fields: Dict[str, Any] = {
            "device": "board-a",
            "counter": counter,
            "issued": format_time(ISSUED_S),
            "expires": format_time(ISSUED_S + 2 * DAY_S),
            "command": "restart",
        }
        return Command(**{**fields, **changes})

    def seal(self, document: SignedDocument, *names: str) -> bytes:
        """Return an envelope over a document, signed by these keys."""
        return self.seal_bytes(document.TYPE, encode(document), names)

    def seal_bytes(self, kind: str, payload: bytes, names: Iterable[str]) -> bytes:
        """Return an envelope over any bytes."""
        signed = pre_authentication_encoding(kind, payload)
        signatures = tuple(
            Signature(self.keyid(name), self.key(name).sign(signed).signature) for name in names
        )
        return encode(Envelope(kind, payload, signatures))
