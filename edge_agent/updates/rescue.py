"""What to believe when both copies of the state are lost: a rule over the releases that are still on disk."""

from typing import NamedTuple, Optional, Sequence, Tuple

from contract.manifest import ReleaseManifest
from contract.stamps import parse_time
from edge_agent.updates.slot_state import MAX_REVOKED, Slot, SlotState


class Found(NamedTuple):
    """A release on disk.

    Attributes:
        digest: its name.
        manifest: what it says.
        signed_by: ids of the keys that signed it.
        is_whole: whether every file of it is there and undamaged.
    """

    digest: str
    manifest: ReleaseManifest
    signed_by: Tuple[str, ...]
    is_whole: bool


def rescue(found: Sequence[Found]) -> SlotState:
    """Return the best state: the newest whole release answers, the next ones stand behind it.

    Whether the newest has been tried is lost too; if it cannot be loaded, the next one answers.
    """
    newest_first = sorted(found, key=lambda release: release.manifest.sequence, reverse=True)
    if not newest_first:
        return SlotState()
    revoked = tuple(dict.fromkeys(each for release in newest_first for each in release.manifest.revoked))
    whole = [release for release in newest_first if release.is_whole]
    # What has been revoked answers only if nothing else is left.
    whole = [release for release in whole if not _brings(release.manifest, revoked)] or whole
    return SlotState(
        active=_slot(whole, 0),
        last_known_good=_slot(whole, 1),
        factory=_slot(whole, -1),
        revoked=revoked[:MAX_REVOKED],
        sequence_high=newest_first[0].manifest.sequence,
        release_high=newest_first[0].digest,
        signed_by=newest_first[0].signed_by,
        security_floor=whole[0].manifest.model.security_floor if whole else 0,
        time_floor_s=max(parse_time(release.manifest.issued) for release in found),
    )


def _brings(manifest: ReleaseManifest, revoked: Sequence[str]) -> bool:
    return any(blob.sha256 in revoked for blob in manifest.blobs.values())


def _slot(releases: Sequence[Found], place: int) -> Optional[Slot]:
    try:
        release = releases[place]
    except IndexError:
        return None
    return Slot(release.digest, release.manifest.issued)
