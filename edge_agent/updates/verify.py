"""May this release be trusted? Rules over bytes: no file, no socket, no clock of its own."""

import hashlib
import re
from dataclasses import dataclass
from typing import Tuple, Type, TypeVar

from nacl.signing import VerifyKey

from contract import __version__
from contract.codec import decode
from contract.envelope import MAX_ENVELOPE_BYTES, Envelope, SignedDocument
from contract.errors import ContractError
from contract.manifest import ReleaseManifest
from contract.rings import is_in_percent
from contract.stamps import parse_time
from contract.trust import Root
from edge_agent.errors import TrustError

D = TypeVar("D", bound=SignedDocument)


@dataclass(frozen=True)
class Scope:
    """Which releases are meant for this device; `is_own` if one came on the device's own topic."""

    device: str
    channel: str
    hardware: str
    is_own: bool = True


@dataclass(frozen=True)
class Seen:
    """What the device has seen so far, and must not go back behind.

    Attributes:
        sequence_high: the highest sequence accepted, 0 before the first.
        release_high: SHA-256 (hex) of the envelope that had it.
        security_floor: the lowest model generation still accepted.
        time_floor_s: the latest signed time seen; the clock may be older, a board starts in 1970.
        newest: the sequence that the newest timestamp names for the channel, 0 without one.
        revoked: SHA-256 (hex) of models that must not come back.
    """

    sequence_high: int = 0
    release_high: str = ""
    security_floor: int = 0
    time_floor_s: float = 0.0
    newest: int = 0
    revoked: Tuple[str, ...] = ()


@dataclass(frozen=True)
class VerifiedRelease:
    """A release that is what it says.

    Attributes:
        manifest: its content.
        digest: SHA-256 (hex) of its envelope's payload and type.
        signed_by: ids of the release keys that signed it, sorted.
        is_ours: whether it is for this device; otherwise only its sequence is remembered.
    """

    manifest: ReleaseManifest
    digest: str
    signed_by: Tuple[str, ...]
    is_ours: bool


def load_root(payload: bytes) -> Root:
    """Read the root of trust that the board was enrolled with.

    Raises:
        TrustError: not a root, or not signed by a threshold of its own root keys.
    """
    try:
        envelope = decode_envelope(payload)
        root = envelope.open(Root)
    except (ContractError, TrustError) as error:
        hint = "let `root` name the root-1.json that `deploy keys init` made"
        raise TrustError("root_invalid", f"the root of trust is not valid: {error}", hint) from error
    require_signatures(envelope, root, "root")
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
    envelope = decode_envelope(payload)
    signed_by = require_signatures(envelope, root, "release")
    manifest = open_document(envelope, ReleaseManifest, "release_invalid")
    digest = hashlib.sha256(envelope.signed_bytes()).hexdigest()
    now_s = max(clock_s, seen.time_floor_s)
    require_fresh_root(root, now_s)
    _require_scope(manifest, scope)
    _require_progress(manifest, digest, seen)
    release = VerifiedRelease(manifest, digest, signed_by, _is_ours(manifest, scope.device))
    if release.is_ours:
        _require_fitness(manifest, seen, now_s)
    return release


def decode_envelope(payload: bytes) -> Envelope:
    """Read an envelope, and nothing of what is in it.

    Raises:
        TrustError: it is none.
    """
    try:
        return decode(Envelope, payload, MAX_ENVELOPE_BYTES)
    except ContractError as error:
        raise TrustError("envelope_invalid", f"not a signed envelope: {error}") from error


def require_signatures(envelope: Envelope, root: Root, role: str) -> Tuple[str, ...]:
    """Return the ids of a role's keys that signed the envelope's bytes, sorted.

    Raises:
        TrustError: they are fewer than the root asks for.
    """
    wanted = root.roles[role]
    signed = envelope.signed_bytes()
    # By the key, not by its id: the same key counts once, also if the root gives it two ids.
    good = {
        root.keys[entry.keyid]: entry.keyid
        for entry in envelope.signatures
        if entry.keyid in wanted.keys and _is_signed(root.keys[entry.keyid], signed, entry.sig)
    }
    if len(good) < wanted.threshold:
        raise TrustError(
            "signature",
            f"{wanted.threshold} good signature(s) of the role {role} are needed, there are {len(good)}",
            f"sign it with a {role} key that version {root.version} of the root of trust names",
        )
    return tuple(sorted(good.values()))


def open_document(envelope: Envelope, kind: Type[D], code: str) -> D:
    """Decode what has been verified.

    Raises:
        TrustError: with this code, if it is something else.
    """
    try:
        return envelope.open(kind)
    except ContractError as error:
        raise TrustError(code, f"signed, but not a {kind.__name__}: {error}") from error


def require_fresh_root(root: Root, now_s: float) -> None:
    """Refuse to let keys speak whose root has expired: its successor may have been held back.

    Raises:
        TrustError: it has.
    """
    if parse_time(root.expires) < now_s:
        what = f"version {root.version} of the root of trust expired {root.expires}"
        raise TrustError("root_expired", what, "deploy keys rotate root, then deploy keys publish")


def _is_signed(key: bytes, signed: bytes, signature: bytes) -> bool:
    # Whatever the library raises on strange input is a refusal.
    try:
        VerifyKey(key).verify(signed, signature)
    except Exception:
        return False
    return True


def _is_ours(manifest: ReleaseManifest, device: str) -> bool:
    rollout = manifest.rollout
    is_named = not manifest.devices or device in manifest.devices
    return is_named and is_in_percent(rollout.salt, rollout.percent, device)


def _require_scope(manifest: ReleaseManifest, scope: Scope) -> None:
    if manifest.channel != scope.channel:
        raise TrustError("scope", f"release is for channel {manifest.channel}, not {scope.channel}")
    if scope.is_own and manifest.devices and scope.device not in manifest.devices:
        raise TrustError("scope", f"release is not for device {scope.device}")
    if manifest.hardware and scope.hardware not in manifest.hardware:
        raise TrustError("scope", f"release is not for hardware {scope.hardware}")


def _require_progress(manifest: ReleaseManifest, digest: str, seen: Seen) -> None:
    sequence = manifest.sequence
    if sequence < seen.sequence_high:
        raise TrustError(
            "rollback",
            f"sequence {sequence} is older than {seen.sequence_high}",
            "to go back, push the old bundle again: it gets a new sequence",
        )
    if sequence == seen.sequence_high and digest != seen.release_high:
        raise TrustError("equivocation", f"sequence {sequence} has come with other content before")
    # A release that names its devices is theirs; the timestamp speaks of the whole channel.
    if sequence < seen.newest and not manifest.devices:
        raise TrustError(
            "withheld",
            f"sequence {sequence} comes, but {seen.newest} is the newest of channel {manifest.channel}",
            "see who holds the newer release back: deploy keep publishes it again",
        )


def _require_fitness(manifest: ReleaseManifest, seen: Seen, now_s: float) -> None:
    if manifest.model.security_floor < seen.security_floor:
        raise TrustError("security_floor", f"the model is below the security floor {seen.security_floor}")
    runs = {manifest.blobs[role].sha256 for role in ("model", "fallback") if role in manifest.blobs}
    if runs.intersection(seen.revoked + manifest.revoked):
        raise TrustError("revoked", f"model {manifest.model.version} has been revoked", "push another one")
    if parse_time(manifest.expires) < now_s:
        raise TrustError("expired", f"release {manifest.sequence} expired {manifest.expires}", "push anew")
    if _read_version(manifest.minimum_agent) > _read_version(__version__):
        what = f"the release needs agent {manifest.minimum_agent}, this is {__version__}"
        raise TrustError("agent_too_old", what, "install a newer edge-agent on the board first")


def _read_version(text: str) -> Tuple[int, ...]:
    """Return the numbers that a version begins with; what begins with none is newer than all."""
    found = re.match(r"[0-9]{1,9}(\.[0-9]{1,9})*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else (10**9,)
