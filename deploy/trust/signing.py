"""Signs and verifies envelopes with Ed25519. Pure: bytes in, bytes out; the only module that imports nacl."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nacl.signing import SigningKey, VerifyKey

from contract.codec import encode
from contract.envelope import (
    MAX_METADATA_BYTES,
    Envelope,
    Signature,
    SignedDocument,
    pre_authentication_encoding,
)
from contract.trust import Role
from host_cli.errors import GateNotMet

KEY_ID_DIGITS = 16


@dataclass(frozen=True)
class PrivateKey:
    """An Ed25519 private key; its 32-byte seed never shows in a repr."""

    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "PrivateKey":
        """Make a new key from the system's randomness."""
        return cls(bytes(SigningKey.generate()))

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        return bytes(SigningKey(self.seed).verify_key)

    @property
    def id(self) -> str:
        """The id of its public key."""
        return key_id(self.public)

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature over `data`."""
        return bytes(SigningKey(self.seed).sign(data).signature)


def key_id(public: bytes) -> str:
    """Return the id of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:KEY_ID_DIGITS]


def sign(document: SignedDocument, keys: Sequence[PrivateKey]) -> Envelope:
    """Encode a document and sign exactly these bytes with every key.

    Raises:
        GateNotMet: the document is larger than a device accepts.
    """
    payload = encode(document)
    if len(payload) > MAX_METADATA_BYTES:
        what = f"the signed document has {len(payload)} bytes, a device takes {MAX_METADATA_BYTES}"
        raise GateNotMet(what, type(document).__name__, "name fewer devices or revoked models")
    data = pre_authentication_encoding(document.TYPE, payload)
    return Envelope(document.TYPE, payload, tuple(Signature(key.id, key.sign(data)) for key in keys))


def verify(envelope: Envelope, role: Role, public_keys: Mapping[str, bytes]) -> None:
    """Check that enough different keys of a role signed the envelope's bytes.

    Args:
        envelope: what was sent.
        role: the key ids that count, and how many of them must agree.
        public_keys: 32-byte Ed25519 public keys by id.

    Raises:
        GateNotMet: too few good signatures.
    """
    data = envelope.signed_bytes()
    # By the key, not by its id: the same key counts once, also under two ids.
    good = {
        public_keys[signature.keyid]
        for signature in envelope.signatures
        if signature.keyid in role.keys and _is_good(public_keys[signature.keyid], data, signature.sig)
    }
    if len(good) < role.threshold:
        what = f"{len(good)} good signatures, {role.threshold} needed"
        raise GateNotMet(what, envelope.payloadType, "sign it with the fleet's own keys")


def _is_good(public: bytes, data: bytes, signature: bytes) -> bool:
    # Whatever goes wrong in the library, the signature is not good.
    try:
        VerifyKey(public).verify(data, signature)
    except Exception:
        return False
    return True
