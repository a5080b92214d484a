"""What is installed: the pointers of slots.json over the store of releases. Pointers first, files second."""

import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import List, Optional, Tuple, TypeVar

from contract.errors import ContractError
from contract.manifest import ReleaseManifest
from contract.messages import Problem
from edge_agent.disk import Disk
from edge_agent.errors import StorageError
from edge_agent.files import explain
from edge_agent.updates.rescue import Found, rescue
from edge_agent.updates.slot_state import MAX_REMEMBERED, NAME, Candidate, Refused, Slot, SlotState
from edge_agent.updates.state_file import StateFile
from edge_agent.updates.store import Store

_log = logging.getLogger(__name__)
P = TypeVar("P", Slot, Candidate)


class Slots(Store):
    """Which release is in which slot.

    Attributes:
        state: what is on disk; `save` replaces it.

    Raises:
        StorageError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path, disk: Optional[Disk] = None) -> None:
        super().__init__(folder, disk)
        self._file = StateFile(folder, NAME, SlotState, self.disk)
        state = self._file.load()
        self.state = rescue(self._find_all()) if state is None else state

    def save(self, state: SlotState) -> None:
        """Put `state` on disk; the one before is kept beside it.

        Raises:
            StorageError: it could not be written; what was there still is.
        """
        self._file.save(state)
        self.state = state

    def recover(self) -> None:
        """Begin after a stop of any kind. For the agent alone, not for who looks on while it runs.

        What an earlier run left visible is made to last, a damaged state is replaced, pointers that lead
        nowhere and orphans are removed.
        """
        try:
            self._make_last()
            state = self._without_dangling()
            if state != self.state or (state != SlotState() and not self._file.is_whole()):
                self.save(state)
        except (OSError, StorageError) as error:
            _log.error("%s is used as it is: %s", self._folder, error)
        else:
            self.collect_garbage()

    def collect_garbage(self) -> None:
        """Remove every release and file that no pointer needs. The pointers are on disk before."""
        state = self.state
        pointers = (state.active, state.last_known_good, state.factory, state.candidate)
        try:
            self._keep_only({pointer.release for pointer in pointers if pointer is not None})
        except (OSError, StorageError) as error:
            _log.error("cannot clean up %s, it is tried again later: %s", self._folder, error)

    def next_best(self) -> Optional[Slot]:
        """Return what shall answer when the active release cannot: the last known good, else the factory one.

        None if neither is there, whole, and free of revoked files.
        """
        state = self.state
        for slot in (state.last_known_good, state.factory):
            if slot is not None and (state.active is None or slot.release != state.active.release):
                with contextlib.suppress(StorageError):
                    manifest = self.release(slot.release)
                    self.model_files(manifest)
                    if not self.is_revoked(manifest):
                        return slot
        return None

    def is_revoked(self, manifest: ReleaseManifest) -> bool:
        """Say whether a release brings a file that must not be used any more."""
        return any(blob.sha256 in self.state.revoked for blob in manifest.blobs.values())

    def forget_candidate(self, problem: Optional[Problem] = None) -> None:
        """Give up the candidate; with a problem it is remembered and not tried again."""
        candidate = self.state.candidate
        if candidate is None:
            return
        refused = self.state.refused if problem is None else self.refuse(candidate.release, problem)
        self.save(replace(self.state, candidate=None, refused=refused))

    def refuse(self, digest: str, problem: Problem) -> Tuple[Refused, ...]:
        """Return the memory of what failed here, with one release more."""
        others = tuple(entry for entry in self.state.refused if entry.release != digest)
        return (*others, self._refuse(digest, problem))[-MAX_REMEMBERED:]

    def refusal(self, digest: str, manifest: ReleaseManifest) -> Optional[Problem]:
        """Return why a release is not tried again, if so: it failed here, or its model did in its rollout."""
        model = (manifest.rollout.id, manifest.blobs["model"].sha256)
        for entry in self.state.refused:
            if entry.release == digest or (entry.rollout, entry.model) == model:
                return entry.problem
        return None

    def _refuse(self, digest: str, problem: Problem) -> Refused:
        try:
            manifest = self.release(digest)
        except StorageError:
            return Refused(digest, problem)
        return Refused(digest, problem, manifest.rollout.id, manifest.blobs["model"].sha256)

    def _without_dangling(self) -> SlotState:
        """Return the state without pointers that lead nowhere; the active one is for others to mend."""
        state = self.state
        return replace(
            state,
            last_known_good=self._if_there(state.last_known_good),
            factory=self._if_there(state.factory),
            candidate=self._if_there(state.candidate, with_files=False),
        )

    def _if_there(self, place: Optional[P], with_files: bool = True) -> Optional[P]:
        return place if place is not None and self.is_there(place.release, with_files) else None

    def _find_all(self) -> List[Found]:
        try:
            found = [self._find(digest) for digest in self._digests()]
        except OSError as error:
            raise explain(error, self._folder) from error
        return [release for release in found if release is not None]

    def _find(self, digest: str) -> Optional[Found]:
        try:
            envelope = self.envelope(digest)
            manifest = envelope.open(ReleaseManifest)
            is_whole = all(self.has_blob(blob) for blob in manifest.blobs.values())
        except (ContractError, StorageError) as error:
            _log.warning("release %s is left out: %s", digest, error)
            return None
        return Found(digest, manifest, tuple(entry.keyid for entry in envelope.signatures), is_whole)
