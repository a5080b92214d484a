"""May this release be trusted? Rules over bytes: no file, no socket, no clock of its own."""

import hashlib
from dataclasses import dataclass
from typing import Dict, Tuple

from nacl.signing import VerifyKey

from contract.codec import decode
from contract.envelope import MAX_ENVELOPE_BYTES, Envelope, Signature
from contract.errors import ContractError
from contract.manifest import ReleaseManifest
from contract.stamps import parse_time
from contract.trust import Role, Root
from edge_agent.errors import TrustError


@dataclass(frozen=True)
class Scope:
    """Which releases are meant for this device."""

    device: str
    channel: str
    hardware: str


@dataclass(frozen=True)
class Seen:
    """What the device has seen so far, and must not go back behind.

    Attributes:
        sequence_high: the highest sequence accepted, 0 before the first.
        release_high: SHA-256 (hex) of the envelope that had it.
        security_floor: the lowest model generation still accepted.
        time_floor_s: the latest signed time seen; the clock may be older, a board starts in 1970.
    """

    sequence_high: int = 0
    release_high: str = ""
    security_floor: int = 0
    time_floor_s: float = 0.0


@dataclass(frozen=True)
class VerifiedRelease:
    """A release that may be installed, and the SHA-256 (hex) of its envelope's payload and type."""

    manifest: ReleaseManifest
    digest: str


def load_root(payload: bytes) -> Root:
    """Read the root of trust that the board was enrolled with.

    Raises:
        TrustError: not a root, or not signed by a threshold of its own root keys.
    """
    try:
        envelope = _decode_envelope(payload)
        root = envelope.open(Root)
    except (ContractError, TrustError) as error:
        hint = "let `root` name the root-1.json that `deploy keys init` made"
        raise TrustError("root_invalid", f"the root of trust is not valid: {error}", hint) from error
    _require_signatures(envelope, root.keys, root.roles["root"], "root of trust")
    return root


def verify_release(payload: bytes, root: Root, scope: Scope, seen: Seen, clock_s: float) -> VerifiedRelease:
    """Decide whether a release may be installed. Signatures come first; nothing unsigned is parsed.

    Args:
        payload: the envelope as it arrived.
        root: whose keys count.
        scope: who this device is.
        seen: what it must not go back behind.
        clock_s: the device's clock, seconds since 1970.

    Raises:
        TrustError: it may not; the code says which rule.
    """
    envelope = _decode_envelope(payload)
    _require_signatures(envelope, root.keys, root.roles["release"], "release")
    try:
        manifest = envelope.open(ReleaseManifest)
    except ContractError as error:
        raise TrustError("release_invalid", f"signed, but not a release: {error}") from error
    release = VerifiedRelease(manifest, hashlib.sha256(envelope.signed_bytes()).hexdigest())
    _require_scope(manifest, scope)
    _require_progress(release, seen)
    if parse_time(manifest.expires) < max(clock_s, seen.time_floor_s):
        raise TrustError("expired", f"release {manifest.sequence} expired {manifest.expires}", "push anew")
    return release


def _decode_envelope(payload: bytes) -> Envelope:
    try:
        return decode(Envelope, payload, MAX_ENVELOPE_BYTES)
    except ContractError as error:
        raise TrustError("envelope_invalid", f"not a signed envelope: {error}") from error


def _require_signatures(envelope: Envelope, keys: Dict[str, bytes], role: Role, what: str) -> None:
    signed = envelope.signed_bytes()
    # A set: the same key twice counts once.
    good = {
        entry.keyid for entry in _of_role(envelope, role) if _is_signed(keys[entry.keyid], signed, entry.sig)
    }
    if len(good) < role.threshold:
        raise TrustError(
            "signature",
            f"{what} needs {role.threshold} good signature(s), has {len(good)}",
            "sign it with a key that the board's root of trust names",
        )


def _of_role(envelope: Envelope, role: Role) -> Tuple[Signature, ...]:
    return tuple(entry for entry in envelope.signatures if entry.keyid in role.keys)


def _is_signed(key: bytes, signed: bytes, signature: bytes) -> bool:
    # Whatever the library raises on strange input is a refusal.
    try:
        VerifyKey(key).verify(signed, signature)
    except Exception:
        return False
    return True


def _require_scope(manifest: ReleaseManifest, scope: Scope) -> None:
    if manifest.channel != scope.channel:
        raise TrustError("scope", f"release is for channel {manifest.channel}, not {scope.channel}")
    if manifest.devices and scope.device not in manifest.devices:
        raise TrustError("scope", f"release is not for device {scope.device}")
    if manifest.hardware and scope.hardware not in manifest.hardware:
        raise TrustError("scope", f"release is not for hardware {scope.hardware}")


def _require_progress(release: VerifiedRelease, seen: Seen) -> None:
    sequence = release.manifest.sequence
    if sequence < seen.sequence_high:
        raise TrustError(
            "rollback",
            f"sequence {sequence} is older than {seen.sequence_high}",
            "to go back, push the old bundle again: it gets a new sequence",
        )
    if sequence == seen.sequence_high and release.digest != seen.release_high:
        raise TrustError("equivocation", f"sequence {sequence} has come with other content before")
    if release.manifest.model.security_floor < seen.security_floor:
        raise TrustError("security_floor", f"the model is below the security floor {seen.security_floor}")
