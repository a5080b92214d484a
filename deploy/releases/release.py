"""From a bundle to what is signed and sent: blobs cut into chunks, and the release manifest. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from contract import __version__
from contract.chunks import LARGE_CHUNK_BYTES, build_index, choose_chunk_bytes, cut
from contract.errors import ContractError
from contract.manifest import BlobRef, ReleaseManifest, ReleaseModel, Rollout, SelfTest
from contract.stamps import format_time
from deploy.releases.bundle import Bundle
from host_cli.errors import GateNotMet

RELEASE_DAYS = 90
MINIMUM_AGENT = __version__
_DAY_S = 86400.0


@dataclass(frozen=True)
class Blob:
    """A file of a release: how it is named and cut, its chunk hashes, its bytes."""

    ref: BlobRef
    index: bytes = field(repr=False)
    data: bytes = field(repr=False)

    def chunk(self, number: int) -> bytes:
        """Return chunk `number`; the last may be shorter."""
        start = number * self.ref.chunk_bytes
        return self.data[start : start + self.ref.chunk_bytes]

    def chunks(self) -> list[bytes]:
        """Return every chunk in order."""
        return list(cut(self.data, self.ref.chunk_bytes))


@dataclass(frozen=True)
class ReleasePlan:
    """Who gets the release, and as which one: `devices` empty means the whole channel.

    `revoked` are the SHA-256 (hex) of files that must not be used any more.
    """

    channel: str
    devices: tuple[str, ...]
    sequence: int
    rollout_id: str
    issued_s: float
    valid_s: float = RELEASE_DAYS * _DAY_S
    selftest: SelfTest = field(default_factory=SelfTest)
    revoked: tuple[str, ...] = ()


def cut_blobs(
    bundle: Bundle, chunk_bytes: int | None = None, room_bytes: int = LARGE_CHUNK_BYTES
) -> dict[str, Blob]:
    """Cut every file that travels, by role.

    Args:
        bundle: the checked bundle.
        chunk_bytes: bytes of a chunk; None chooses by the file's size.
        room_bytes: the largest payload that the broker takes.

    Raises:
        GateNotMet: a file is empty, too large, or would need too many chunks.
    """
    blobs = {}
    for role, data in bundle.files.items():
        size = chunk_bytes or choose_chunk_bytes(len(data), room_bytes)
        index = build_index(data, size)
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            ref = BlobRef(len(data), sha256, hashlib.sha256(index).hexdigest(), size)
        except ContractError as error:
            raise GateNotMet(
                f"{role} cannot be sent: {error}", "bundle", "try a larger --chunk-bytes"
            ) from error
        blobs[role] = Blob(ref, index, data)
    return blobs


def build_release(bundle: Bundle, blobs: Mapping[str, Blob], plan: ReleasePlan) -> ReleaseManifest:
    """Return the manifest that a release key signs.

    Raises:
        GateNotMet: the bundle says something that no release may say.
    """
    about = bundle.manifest
    try:
        return ReleaseManifest(
            channel=plan.channel,
            devices=plan.devices,
            sequence=plan.sequence,
            issued=format_time(plan.issued_s),
            expires=format_time(plan.issued_s + plan.valid_s),
            hardware=(),
            minimum_agent=MINIMUM_AGENT,
            minimum_runtime=about.minimum_runtime,
            model=_describe_model(bundle),
            blobs={role: blob.ref for role, blob in blobs.items()},
            selftest=plan.selftest,
            rollout=Rollout(plan.rollout_id),
            revoked=plan.revoked,
        )
    except ContractError as error:
        raise GateNotMet(f"no release can be made of it: {error}", "bundle", "see docs/mqtt.md") from error


def _describe_model(bundle: Bundle) -> ReleaseModel:
    about = bundle.manifest
    return ReleaseModel(
        name=about.name,
        version=about.version,
        security_floor=0,
        compiled=about.compiled,
        reweighted=about.reweighted,
        inputs=about.inputs,
        outputs=about.outputs,
    )
