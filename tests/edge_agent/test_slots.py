"""Promises of updates.slots."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from contract.codec import decode, encode
from contract.envelope import Envelope
from contract.manifest import Rollout
from contract.messages import Problem
from edge_agent.errors import StorageError
from edge_agent.updates.slot_state import MAX_REMEMBERED, Candidate, Slot, SlotState
from edge_agent.updates.slots import Slots
from tests.fakes.publisher import Publisher, tiny_files

SINCE = "2026-01-01T00:00:00.000Z"


def keep(slots: Slots, publisher: Publisher, files: "dict[str, bytes]") -> str:
    """Put a release and its files on disk and return its digest."""
    manifest = publisher.manifest(files)
    envelope = publisher.release(manifest)
    digest = hashlib.sha256(decode(Envelope, envelope).signed_bytes()).hexdigest()
    slots.keep_release(digest, envelope)
    for role, data in files.items():
        slots.blob_path(manifest.blobs[role]).write_bytes(data)
    return digest


def test_the_state_survives_a_restart(tmp_path: Path) -> None:
    """What was saved is what is read."""
    state = SlotState(active=Slot("ab" * 32, SINCE), sequence_high=7)
    Slots(tmp_path).save(state)
    assert Slots(tmp_path).state == state


@pytest.mark.parametrize("damage", [b"", b"garbage", b"0" * 64 + b"\n{}"])
def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path, damage: bytes) -> None:
    """Truncated, zero-length or garbage: the copy is used, never half of anything."""
    slots = Slots(tmp_path)
    before = SlotState(sequence_high=1)
    slots.save(before)
    slots.save(SlotState(sequence_high=2))
    (tmp_path / "slots.json").write_bytes(damage)
    again = Slots(tmp_path)
    assert again.state == before
    again.save(SlotState(sequence_high=3))
    assert (tmp_path / "slots.prev.json").read_bytes() != damage


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """The checksum covers every byte of the state."""
    slots = Slots(tmp_path)
    slots.save(SlotState(sequence_high=1))
    path = tmp_path / "slots.json"
    path.write_bytes(path.read_bytes().replace(b'"sequence_high":1', b'"sequence_high":9'))
    assert Slots(tmp_path).state == SlotState()


def test_a_release_that_changed_on_disk_is_noticed(tmp_path: Path) -> None:
    """The envelope's digest is its name."""
    slots, publisher = Slots(tmp_path), Publisher()
    digest = keep(slots, publisher, tiny_files())
    path = tmp_path / "releases" / (digest + ".json")
    path.write_bytes(publisher.release(publisher.manifest()))
    with pytest.raises(StorageError, match="changed"):
        slots.release(digest)


def test_a_rotten_blob_is_noticed(tmp_path: Path) -> None:
    """Files are hashed before they are used."""
    slots = Slots(tmp_path)
    manifest = slots.release(keep(slots, Publisher(), tiny_files()))
    assert set(slots.model_files(manifest)) == {"model", "labels", "preprocessing", "golden"}
    path = slots.blob_path(manifest.blobs["model"])
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StorageError, match="model"):
        slots.model_files(manifest)


def test_garbage_is_what_no_pointer_needs(tmp_path: Path) -> None:
    """Active, last known good and candidate stay with their files, everything else goes."""
    slots, publisher = Slots(tmp_path), Publisher()
    digests = [keep(slots, publisher, {**tiny_files(), "labels": b"%d" % number}) for number in range(4)]
    part = tmp_path / "parts" / ("0" * 64)
    part.write_bytes(b"left over")
    slots.save(
        SlotState(
            Slot(digests[0], SINCE), last_known_good=Slot(digests[1], SINCE), candidate=Candidate(digests[2])
        )
    )
    slots.collect_garbage()
    assert {path.stem for path in (tmp_path / "releases").iterdir()} == set(digests[:3])
    assert len(list((tmp_path / "blobs").iterdir())) == 3 + 3
    assert not part.exists()


def test_a_refused_candidate_is_remembered_but_not_for_ever(tmp_path: Path) -> None:
    """It is not tried again; the memory is bounded."""
    slots, problem = Slots(tmp_path), Problem("selftest", "wrong answers")
    for number in range(MAX_REMEMBERED + 1):
        slots.save(replace(slots.state, candidate=Candidate(f"{number:064x}")))
        slots.forget_candidate(problem)
    other = Publisher().manifest()
    assert slots.refusal(f"{0:064x}", other) is None
    assert slots.refusal(f"{1:064x}", other) == problem
    assert Slots(tmp_path).state.candidate is None


def test_a_part_beside_its_whole_file_is_garbage(tmp_path: Path) -> None:
    """A power cut may bring back a part that was no longer needed."""
    slots = Slots(tmp_path)
    digest = keep(slots, Publisher(), tiny_files())
    slots.save(SlotState(active=Slot(digest, SINCE)))
    part = slots.part_path(slots.release(digest).blobs["model"])
    part.write_bytes(b"left over")
    Slots(tmp_path).recover()
    assert not part.exists()


def test_the_factory_release_is_the_last_resort(tmp_path: Path) -> None:
    """The last known good comes first, unless it is damaged or revoked; without either there is nothing."""
    slots, publisher = Slots(tmp_path), Publisher()
    one, two, three = (keep(slots, publisher, {**tiny_files(), "labels": b"%d" % each}) for each in range(3))
    state = SlotState(Slot(three, SINCE), last_known_good=Slot(two, SINCE), factory=Slot(one, SINCE))
    slots.save(state)
    assert slots.next_best() == state.last_known_good
    labels = slots.release(two).blobs["labels"]
    slots.save(replace(state, revoked=(labels.sha256,)))
    assert slots.next_best() == state.factory
    slots.save(state)
    slots.blob_path(labels).unlink()
    assert slots.next_best() == state.factory
    slots.blob_path(slots.release(one).blobs["labels"]).unlink()
    assert slots.next_best() is None


def test_a_model_that_failed_is_not_tried_in_another_stage_of_its_rollout(tmp_path: Path) -> None:
    """The same files under a higher sequence are refused; under another rollout they get a new chance."""
    slots, publisher, problem = Slots(tmp_path), Publisher(), Problem("selftest", "wrong answers")
    slots.save(SlotState(candidate=Candidate(keep(slots, publisher, tiny_files()))))
    slots.forget_candidate(problem)
    rollout = Slots(tmp_path).state.refused[0].rollout
    stage = publisher.manifest(tiny_files(), rollout=Rollout(rollout))
    assert slots.refusal("a" * 64, stage) == problem
    assert slots.refusal("a" * 64, replace(stage, rollout=Rollout("another"))) is None


def test_an_old_state_is_read(tmp_path: Path) -> None:
    """What an earlier version wrote has no factory, no keys, nothing revoked."""
    body = encode(SlotState(Slot("ab" * 32, SINCE), sequence_high=7))
    old = json.loads(body)
    for key in ("factory", "revoked", "signed_by"):
        del old[key]
    body = json.dumps(old).encode()
    (tmp_path / "slots.json").write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    state = Slots(tmp_path).state
    assert (state.active, state.factory, state.revoked) == (Slot("ab" * 32, SINCE), None, ())


def test_a_looker_on_removes_nothing(tmp_path: Path) -> None:
    """Only the agent sweeps: a release that it is about to point to is no orphan."""
    digest = keep(Slots(tmp_path), Publisher(), tiny_files())
    Slots(tmp_path)
    assert (tmp_path / "releases" / (digest + ".json")).exists()
