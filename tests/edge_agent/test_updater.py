"""Promises of updates.updater: releases, good and bad, on a board with fake time and workers."""

import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from contract.codec import decode, encode
from contract.envelope import ROOT_TYPE
from contract.manifest import Rollout
from contract.messages import ChunkNeed, GoldenResult
from contract.stamps import format_time
from contract.topics import Topics
from contract.trust import Role
from tests.fakes.board import DEVICE, GOOD, Board
from tests.fakes.faulty_disk import Fault, FaultyDisk
from tests.fakes.publisher import DAY_S, ISSUED_S, tiny_files

NEED = Topics().model_need(DEVICE)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def other_files(number: int) -> "dict[str, bytes]":
    """Return the tiny model with other labels, so that it is another release with other bytes."""
    return {**tiny_files(), "labels": b"\n".join(b"class %d of %d" % (n, number) for n in range(10))}


def test_a_good_release_goes_all_the_way(board: Board) -> None:
    """Each phase is reported, the model is active, nothing is left behind."""
    board.install()
    assert board.reported_phases == ["downloading", "verifying", "testing", "trial", "active"]
    report = board.report
    assert report.current is not None and report.current.version == "1"
    assert report.golden == GOOD
    assert board.predictor.serving is not None
    assert board.link.subscribed == []
    assert list((Path(board.config.state_dir) / "parts").iterdir()) == []


def test_an_order_is_acknowledged_when_it_is_on_disk(board: Board) -> None:
    """A power cut right after the acknowledgement loses no order."""
    board.publish()
    assert board.link.acknowledged == [Topics().model_desired(DEVICE)]
    assert board.slots.state.candidate is not None
    board.reboot()
    board.download()
    board.ready()
    board.tested()
    assert board.report.phase == "active"


def test_the_second_release_takes_over_and_the_first_is_kept_as_last_known_good(board: Board) -> None:
    """The new worker is warm before the old one is stopped."""
    board.install()
    board.publish(files=other_files(2))
    board.download()
    board.ready()
    assert board.workers[0].is_running and board.predictor.serving.worker is board.workers[0]
    board.tested()
    assert board.predictor.serving.worker is board.workers[1]
    assert not board.workers[0].is_running
    report = board.report
    assert (report.current.version, report.last_known_good.version) == ("2", "1")


def test_a_fourth_release_lets_the_second_go(board: Board) -> None:
    """The newest two and the first one are on disk, not all that ever were."""
    for number in range(4):
        board.install(files=other_files(number))
    folder = Path(board.config.state_dir)
    assert len(list((folder / "releases").iterdir())) == 3
    assert len(list((folder / "blobs").iterdir())) == 3 + 3


def test_a_release_that_was_seen_is_not_installed_twice(board: Board) -> None:
    """Retained orders come again at every connection."""
    envelope = board.install()
    workers = len(board.workers)
    board.order(envelope)
    board.reboot()
    board.order(envelope)
    assert board.download() == 0
    assert len(board.workers) == 1 and workers == 1


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (replace(GOOD, top1_agreement=0.95), "agreement"),
        (replace(GOOD, max_lsb=3), "LSB"),
        (replace(GOOD, p95_ms=1001.0), "latency"),
    ],
)
def test_failed_golden_samples_leave_the_old_model_in_place(
    board: Board, result: GoldenResult, said: str
) -> None:
    """Wrong or slow: the candidate never answers anyone, and is not tried again."""
    board.install()
    bad = board.publish(files=other_files(2))
    board.download()
    board.ready()
    board.tested(result)
    assert board.report.phase == "failed"
    assert board.report.error.code == "selftest" and said in board.report.error.message
    assert board.predictor.serving.worker is board.workers[0] and board.workers[0].is_running
    assert not board.workers[1].is_running
    board.order(bad)
    assert board.download() == 0 and len(board.workers) == 2


def test_a_model_with_another_signature_is_refused(board: Board) -> None:
    """What it takes and gives must be what the manifest says."""
    manifest = board.publisher.manifest()
    wrong = replace(manifest.model, inputs=(replace(manifest.model.inputs[0], shape=(1, 32, 32, 3)),))
    board.publish(model=wrong)
    board.download()
    board.ready()
    assert board.report.error.code == "signature_mismatch"
    assert board.predictor.serving is None


def test_a_child_that_dies_of_the_candidate_changes_nothing(board: Board) -> None:
    """A segfault in a delegate ends the release, not the service."""
    board.install()
    board.publish(files=other_files(2))
    board.download()
    board.worker_fails()
    assert (board.report.phase, board.report.error.code) == ("failed", "worker_died")
    assert board.predictor.serving.worker is board.workers[0]


def test_a_crash_during_the_soak_rolls_back(board: Board) -> None:
    """The one before is still warm and takes over at once."""
    board.install()
    board.install(files=other_files(2), rollout=Rollout("soaked", soak_s=60.0))
    assert board.report.phase == "trial"
    board.pass_time(30)
    board.worker_fails()
    assert (board.report.phase, board.report.current.version) == ("rolled_back", "1")
    assert board.predictor.serving.worker is board.workers[0] and board.workers[0].is_running


def test_a_roll_back_to_a_worker_that_died_meanwhile_starts_it_again(board: Board) -> None:
    """Both died during the soak: the installed model comes back all the same."""
    board.install()
    board.install(files=other_files(2), rollout=Rollout("soaked", soak_s=60.0))
    board.worker_fails(worker=0)
    board.worker_fails(worker=1)
    assert board.report.phase == "rolled_back"
    board.ready()
    assert board.predictor.serving.model.version.version == "1"


def test_a_soak_that_ends_well_commits(board: Board) -> None:
    """Until then the old release is what a reboot would start."""
    board.install()
    board.install(files=other_files(2), rollout=Rollout("soaked", soak_s=60.0))
    assert board.report.current.version == "1"
    board.pass_time(61)
    assert (board.report.phase, board.report.current.version) == ("active", "2")


def test_a_first_release_that_crashes_on_trial_leaves_nobody_serving(board: Board) -> None:
    """There is no model to go back to, and that is said."""
    board.install(rollout=Rollout("soaked", soak_s=60.0))
    board.worker_fails()
    assert board.report.phase == "rolled_back" and board.report.current is None
    assert board.predictor.serving is None


def test_a_newer_order_supersedes_a_download(board: Board) -> None:
    """The older one stops; shared files are not fetched again."""
    board.publish(files=other_files(1))
    board.download(at_most=12)
    board.publish(files=other_files(2))
    board.download()
    board.ready()
    board.tested()
    assert board.report.current.version == "2"
    assert board.link.subscribed == []


def test_an_older_order_is_refused_and_what_is_on_its_way_goes_on(board: Board) -> None:
    """The higher sequence wins, whatever the order of arrival."""
    old = board.publisher.release(board.publisher.manifest())
    board.publish(files=other_files(2))
    board.order(old)
    assert board.report.error.code == "rollback"
    board.download()
    board.ready()
    board.tested()
    assert board.report.current.version == "2"


@pytest.mark.parametrize("envelope", [b"junk", b"{}"])
def test_a_bad_order_is_refused_and_said(board: Board, envelope: bytes) -> None:
    """The sender sees why on model/reported; it is acknowledged, or it would come for ever."""
    board.install()
    board.order(envelope)
    assert (board.report.phase, board.report.error.code) == ("failed", "envelope_invalid")
    assert board.report.current.version == "1"
    assert len(board.link.acknowledged) >= 2


def test_an_empty_order_is_ignored(board: Board) -> None:
    """A cleared retained message is no release."""
    board.install()
    board.order(b"")
    assert board.report.phase == "active"


def test_a_release_of_its_own_overrides_the_channel(board: Board) -> None:
    """As long as it is there, whatever the channel says later; then the channel counts again."""
    board.install()
    channel = board.publisher.release(board.publisher.manifest())
    board.order(channel, is_own=False)
    assert board.slots.state.candidate is None and board.report.phase == "active"
    board.order(b"")
    board.order(channel, is_own=False)
    assert board.slots.state.candidate is not None


def test_without_a_release_of_its_own_the_channel_counts(board: Board) -> None:
    """Each connection finds out anew."""
    board.install()
    board.updater.connected()
    board.order(board.publisher.release(board.publisher.manifest()), is_own=False)
    assert board.slots.state.candidate is not None


def test_missing_chunks_are_asked_for_with_growing_pauses(board: Board) -> None:
    """Once for each pause, and the download goes on when they come."""
    envelope = board.publisher.release(board.publisher.manifest())
    board.order(envelope)
    for _ in range(30):
        board.pass_time(1)
    needs = [payload for topic, payload in board.broker.published if topic == NEED]
    blobs = len({decode(ChunkNeed, payload).blob for payload in needs})
    assert blobs == 4 and len(needs) == 4 * 2
    for data in tiny_files().values():
        board.broker.retain(board.publisher.messages(data))
    board.pass_time(60)
    board.download()
    board.ready()
    board.tested()
    assert board.report.phase == "active"


def test_where_nothing_is_retained_chunks_are_asked_for_at_once_and_each_but_once(board: Board) -> None:
    """As soon as it listens for them, window by window; nobody waits for a timeout."""
    board.link.has_retained = False
    board.order(board.publisher.release(board.publisher.manifest()))
    kept = dict(message for data in tiny_files().values() for message in board.publisher.messages(data))
    asked: list[ChunkNeed] = []
    while board.report.phase == "downloading":
        needs = [decode(ChunkNeed, payload) for topic, payload in board.broker.published if topic == NEED]
        new, asked = needs[len(asked) :], needs
        assert new, board.report
        for need in new:
            blob = [topic for topic in kept if f"/{need.blob}/" in topic]
            wanted = {"index"} if need.index else {str(number) for number in need.numbers()}
            for topic in blob:
                if topic.rsplit("/", 1)[1] in wanted:
                    board.updater.chunk(board.link.message(topic, kept[topic]))
    assert board.report.phase == "verifying"
    pieces = [(need.blob, number) for need in asked for number in need.numbers()]
    assert len(pieces) == len(set(pieces))


def test_the_broker_is_asked_for_at_most_a_window(board: Board) -> None:
    """4096 bytes of 1024-byte chunks, and the indexes."""
    board.publish()
    board.download()
    assert board.link.most_subscribed <= 4 + 4


def test_a_lost_connection_asks_anew(board: Board) -> None:
    """The broker has forgotten the subscriptions."""
    board.publish()
    board.download(at_most=6)
    board.link.waiting.clear()
    board.link.subscribed.clear()
    board.updater.connected()
    board.download()
    assert board.report.phase == "verifying"


def test_a_topic_that_may_not_be_read_fails_the_release(board: Board) -> None:
    """No hot loop against an ACL."""
    board.publish()
    board.updater.unreadable(board.link.subscribed[0])
    assert (board.report.phase, board.report.error.code) == ("failed", "acl")


def test_a_full_disk_delays_and_then_goes_on(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before the first byte; tried again when there may be room."""
    full = os.statvfs_result((4096, 4096, 10, 1, 1, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    board.publish()
    assert board.report.error.code == "disk_full"
    # Under its own sequence: a rollout counts it at once.
    assert (board.report.phase, board.report.sequence) == ("failed", 1)
    monkeypatch.undo()
    board.pass_time(20)
    board.download()
    board.ready()
    board.tested()
    assert board.report.phase == "active"


def test_a_disk_that_cannot_be_asked_for_its_room_delays(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not end the agent."""

    def fail(_path: str) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "statvfs", fail)
    board.publish()
    assert board.report.error.code == "disk_error"


def test_old_files_that_cannot_be_removed_do_not_stop_a_release(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is active all the same."""

    def fail(_path: Path) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Path, "iterdir", fail)
    board.publish()
    board.download()
    board.ready()
    board.tested()
    assert board.report.phase == "active"


def test_a_release_that_takes_the_board_down_is_given_up(board: Board) -> None:
    """Three attempts are counted on disk before each try; each time it lets the board live longer first."""
    board.publish()
    board.download()
    for pause_s in (10, 30, 70):
        board.reboot()
        board.pass_time(pause_s - 1)
        assert board.workers == []
        board.pass_time(2)
    assert board.report.phase == "failed"
    assert board.report.error.code == "too_many_attempts"
    assert board.slots.state.candidate is None


def test_a_compiled_release_runs_its_fallback_where_no_edge_tpu_is(board: Board) -> None:
    """The predictions say which file answers, and why it is not the compiled one."""
    files = {**tiny_files(), "fallback": tiny_files()["model"], "model": b"compiled for an Edge TPU"}
    compiled = replace(board.publisher.manifest().model, compiled=True)
    board.install(files=files, model=compiled)
    manifest = board.slots.release(board.slots.state.active.release)
    assert board.workers[0].files.model == board.slots.blob_path(manifest.blobs["fallback"])
    serving = board.predictor.serving.model
    assert serving.version.sha256 == manifest.blobs["fallback"].sha256
    assert "no Edge TPU" in serving.degraded
    board.reboot()
    board.ready()
    assert board.predictor.serving.model.degraded == serving.degraded


def test_an_expired_release_is_not_installed(board: Board) -> None:
    """Freeze protection looks at the latest time the board has seen."""
    board.publish(expires=format_time(ISSUED_S + DAY_S / 2))
    assert board.report.error.code == "expired"


def test_a_device_outside_the_percentage_waits(board: Board) -> None:
    """A stage is one publish; each device knows whether it is its turn."""
    board.publish(rollout=Rollout("none", percent=0.0))
    assert board.slots.state.candidate is None and board.slots.state.sequence_high == 1
    board.install(rollout=Rollout("all", percent=100.0))
    assert board.report.phase == "active"


def test_a_release_waits_for_its_time(board: Board) -> None:
    """`not_before` is kept when the clock is right, also over a restart."""
    board.publish(rollout=Rollout("later", not_before=format_time(board.clock.now + 100)))
    assert board.link.subscribed == []
    board.reboot()
    board.pass_time(1)
    assert board.link.subscribed == []
    board.clock.now += 101
    board.pass_time(1)
    assert board.link.subscribed != []


def test_a_security_floor_rises_when_a_release_is_committed(board: Board) -> None:
    """Only a healthy release may close the door behind it."""
    manifest: Any = board.publisher.manifest()
    board.install(model=replace(manifest.model, security_floor=3))
    assert board.slots.state.security_floor == 3
    board.publish(files=other_files(2))
    assert board.report.error.code == "security_floor"


def test_an_order_that_is_not_stored_waits_through_the_junk_of_strangers(tmp_path: Path) -> None:
    """It is tried again when the disk has room, acknowledged once; one that takes its place lets it go."""
    disk, own = FaultyDisk(), Topics().model_desired(DEVICE)
    board = Board(tmp_path, disk=disk)
    disk.faults = [Fault(errno.ENOSPC, "write", times=2)]
    board.publish()
    board.order(b"junk")
    assert board.link.acknowledged == [own], "only the junk"
    board.publish(files=other_files(2))
    assert board.link.acknowledged == [own, own], "the first has given way"
    board.pass_time(100)
    assert board.link.acknowledged == [own, own, own]
    board.download()
    board.ready()
    board.tested()
    assert board.report.current is not None and board.report.current.version == "2"


def test_a_candidate_whose_failure_the_disk_does_not_take_is_tried_again(tmp_path: Path) -> None:
    """It is neither left where it is for ever, nor tried for ever."""
    disk = FaultyDisk()
    board = Board(tmp_path, disk=disk)
    board.publish()
    board.download()
    disk.faults = [Fault(errno.EIO, "write", "slots")]
    board.worker_fails(code="model_load")
    assert board.report.phase == "failed" and board.slots.state.candidate is not None
    board.pass_time(20)
    board.worker_fails(code="model_load")
    assert board.slots.state.candidate is None and len(board.slots.state.refused) == 1


def test_a_release_that_waits_for_its_time_does_not_leave_the_last_one_on_trial(board: Board) -> None:
    """What was on trial gave way when the order came: the report says what answers."""
    board.install()
    board.install(files=other_files(2), rollout=Rollout("soaked", soak_s=60.0))
    assert board.report.phase == "trial"
    board.publish(
        files=other_files(3), rollout=Rollout("later", not_before=format_time(ISSUED_S + 9 * DAY_S))
    )
    assert (board.report.phase, board.report.sequence) == ("active", 1)


def test_a_candidate_that_dies_again_leaves_the_active_model_alone(board: Board) -> None:
    """The model before had died too and has just been started again: it goes on, no process is lost."""
    board.install()
    board.install(files=other_files(2), rollout=Rollout("soaked", soak_s=60.0, max_failures=1))
    board.worker_fails(0)
    board.worker_fails(1)
    again, active = board.workers[2:]
    board.ready(worker=3)
    assert board.predictor.serving is not None and board.predictor.serving.worker is active
    board.worker_fails(2)
    assert not again.is_running and board.report.phase == "rolled_back"
    assert board.predictor.serving is not None and board.predictor.serving.worker is active
    assert len(board.workers) == 4


def test_a_revoked_model_that_stands_in_for_a_dead_candidate_is_replaced(tmp_path: Path) -> None:
    """What answers is a process that is there."""
    board = Board(tmp_path)
    files = [{**other_files(number), "model": b"model %d" % number * 99} for number in range(4)]
    for number in range(2):
        board.install(files=files[number])
    board.install(files=files[2], rollout=Rollout("soaked", soak_s=60.0, max_failures=1))
    board.worker_fails(2)
    bad = board.publisher.blob(files[1]["model"]).sha256
    board.publish(files=files[3], revoked=(bad,), rollout=Rollout("elsewhere", percent=0.0))
    assert board.predictor.serving is None and board.predictor.is_restarting
    board.pass_time(1)
    assert not board.workers[1].is_running and board.workers[-1].files.model.read_bytes() == files[0]["model"]


def test_keys_that_are_replaced_in_the_middle_end_what_they_signed(tmp_path: Path) -> None:
    """The report tells it, and whatever the disk says, it is forgotten before the next order counts."""
    disk = FaultyDisk()
    board = Board(tmp_path, disk=disk)
    board.install()
    board.publish(files=other_files(2), sequence=900)
    assert board.report.phase == "downloading"
    board.broker.retained[Topics().trust_root(2)] = root = board.publisher.rotate("release")
    disk.faults = [Fault(errno.EIO, "write", "slots")]
    board.hear(Topics().trust_root(2), root)
    assert (board.report.phase, board.report.sequence) == ("failed", 900)
    assert board.slots.state.sequence_high == 900, "not written down"
    board.install(files=other_files(3))
    assert board.report.phase == "active" and board.slots.state.sequence_high < 900


def test_what_was_not_forgotten_is_at_the_next_connection(tmp_path: Path) -> None:
    """A candidate that replaced keys have signed does not come back with the next start."""
    disk = FaultyDisk()
    board = Board(tmp_path, disk=disk)
    board.publish()
    disk.faults = [Fault(errno.EIO, "write", "slots")]
    board.hear(Topics().trust_root(2), board.publisher.rotate("release"))
    assert board.slots.state.candidate is not None
    board.lane.connected()
    assert board.slots.state.candidate is None


def test_a_candidate_goes_with_its_key_although_another_key_signed_the_highest_order(board: Board) -> None:
    """A thief's release is not installed, and what the key that stays has said is remembered."""
    publisher = board.publisher
    publisher.keys["second"] = SigningKey(hashlib.sha256(b"second").digest())
    first, second = publisher.key_id("release"), publisher.key_id("second")
    root = publisher.root
    both = {**root.keys, second: bytes(publisher.keys["second"].verify_key)}

    def follow(version: int, names: "tuple[str, ...]") -> None:
        keys = {name: key for name, key in both.items() if name in names or name not in (first, second)}
        following = replace(root, version=version, keys=keys, roles={**root.roles, "release": Role(names, 1)})
        board.hear(Topics().trust_root(version), publisher.seal(ROOT_TYPE, encode(following), ["root"]))

    board.install()
    follow(2, (first, second))
    board.order(b"")
    board.order(publisher.release(publisher.manifest(other_files(2))), is_own=False)
    not_ours = publisher.manifest(other_files(3), devices=("board-b",))
    board.order(publisher.release(not_ours, ["second"]), is_own=False)
    assert board.slots.state.candidate is not None
    follow(3, (second,))
    assert board.slots.state.candidate is None and board.report.error.code == "signature"
    assert board.slots.state.sequence_high == not_ours.sequence
