"""Faults of a fleet: one named test each; docs/reliability.md lists them with their numbers."""

import itertools
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from contract.codec import encode
from contract.messages import TrustState
from deploy.releases.keeping import keep
from deploy.releases.push import Order as PushOrder
from deploy.releases.push import push
from deploy.releases.rollback import Order as RollbackOrder
from deploy.releases.rollback import roll_back
from deploy.rollouts import controller
from deploy.rollouts.rollout import abort, list_all, pause, resume
from tests.deploy.fake_device import SILENCE, FakeDevice, make_info
from tests.deploy.helpers import write_bundle
from tests.deploy.killing import Killed, killed_at
from tests.deploy.rollout_helpers import (
    QUICK,
    LossyBroker,
    Place,
    boards,
    in_background,
    require_all_stages_once,
)
from tests.fakes.waiting import wait_for

ROOT = Path(__file__).parents[2]
NAMES = [f"reef-{number:03}" for number in range(100)]


@pytest.fixture
def mosquitto(tmp_path):
    found = LossyBroker(tmp_path)
    yield found
    found.kill()


def test_f08_a_broker_that_lost_everything_is_given_it_again(mosquitto, bundle, fleet, base):
    """The keeper re-asserts what the fleet needs, and a device that comes later finishes."""
    said: list[str] = []
    order = PushOrder(bundle, fleet, mosquitto.address, base=base, wait=False)
    with FakeDevice(mosquitto.address, base, "reef-1"):
        push(order, said.append)
    there = Place(bundle, fleet, mosquitto.address, base)
    over: list[bool] = []
    with in_background(lambda: keep(fleet, mosquitto.address, base, lambda: bool(over), said.append)) as kept:
        wait_for("it listens", lambda: there.topics.trust_timestamp() in there.retained_now())
        mosquitto.kill()
        mosquitto.start()
        with FakeDevice(mosquitto.address, base, "reef-2") as board:
            release = board.await_release()
            assert len(board.fetch(release)) == release.blobs["model"].size
        wait_for("a timestamp", lambda: there.topics.trust_timestamp() in there.retained_now())
        over.append(True)
    assert kept[0].bytes_published > release.blobs["model"].size and kept[0].timestamps == 2


def test_f72_three_percent_failing_stop_in_the_canary(place):
    """With a threshold of 2 % nobody but the canaries ever sees the release."""
    canaries = NAMES[:33]
    with boards(place.address, place.base, NAMES[:40], {NAMES[7]: "selftest"}) as found:
        ended = place.roll_out(canaries, (50.0, 100.0))
    assert ended.rollout.state == "aborted"
    assert "1 of 33 devices failed; at most 2 % may" in ended.rollout.reason
    touched = {name for name, board in found.items() if board.taken}
    assert touched == set(canaries)


def test_f73_exactly_at_the_threshold_it_goes_on(place):
    """One of 50 is 2 %: allowed. Its failure is told in every later stage, too, and is still one of 50."""
    with boards(place.address, place.base, NAMES[:50], {NAMES[0]: "selftest"}):
        ended = place.roll_out(NAMES[:50])
    assert ended.rollout.state == "done" and [one.device for one in ended.unfinished] == [NAMES[0]]


def test_f73_an_empty_ring_passes_and_says_so(place):
    """Nobody of the channel falls into it, so there is nothing to wait for."""
    with boards(place.address, place.base, ["reef-1"]):
        ended = place.roll_out(percents=(0.001, 100.0))
    assert ended.rollout.state == "done"
    assert any("nobody of the channel falls into this ring" in one for one in place.said)


def test_f73_when_all_are_offline_it_waits_for_the_timeout_and_ends(place):
    """Silence is not success."""
    with boards(place.address, place.base, NAMES[:3]) as found:
        for board in found.values():
            board.send(board.topics.status(board.name), b"offline")
            board.client.unsubscribe(board.topics.channel_desired("stable"))
        started = time.monotonic()
        ended = place.roll_out(gate=replace(QUICK, timeout_s=1.0))
    assert ended.rollout.state == "aborted" and time.monotonic() - started >= 1.0
    assert "3 of them said nothing in 1 s" in ended.rollout.reason


def test_f74_a_device_that_never_reports_counts_as_a_failure(place):
    """When the time is over, not before; the others have been waiting for it."""
    with boards(place.address, place.base, NAMES[:4], {NAMES[2]: SILENCE}):
        ended = place.roll_out(NAMES[:4], gate=replace(QUICK, timeout_s=1.0, min_success=100.0))
    assert ended.rollout.state == "aborted"
    assert [one.device for one in ended.unfinished] == [NAMES[2]]
    assert "1 of 4 devices failed, 1 of them said nothing in 1 s" in ended.rollout.reason


def test_f75_reports_count_once_in_whatever_order_they_come(place):
    """Duplicates, older ones of the same boot, and late ones of a boot that has ended change nothing."""
    old_boot, new_boot = "01JD8Z6M5T3Q0E9W2K7R4C1XAB", "01JD8Z6M5T3Q0E9W2K7R4C1XAC"
    gate = replace(QUICK, max_failures=0.0, min_success=100.0)

    def story(board: FakeDevice, release) -> None:
        for n in (5, 5, 4):
            board.report("failed" if n == 4 else "downloading", release.sequence, boot=old_boot, n=n)
        board.send(board.topics.info(board.name), info_of(board, new_boot))
        board.report("failed", release.sequence, boot=old_boot, n=6)

    first = boards(place.address, place.base, ["reef-1"], {"reef-1": SILENCE}, boot=old_boot)
    other = boards(place.address, place.base, ["reef-2"], {"reef-2": SILENCE})
    with first as found, other as second, in_background(lambda: place.roll_out(gate=gate)) as results:
        wait_for("the release", lambda: found["reef-1"].taken and second["reef-2"].taken)
        release = found["reef-1"].taken[0]
        story(found["reef-1"], release)
        for _ in range(3):
            second["reef-2"].report("active", release.sequence, n=1)
        # What came before it has been judged by now: nothing of it may have counted.
        wait_for("the other one counts", lambda: tally(place) == (2, 1))
        found["reef-1"].report("active", release.sequence, boot=new_boot, n=1)
    assert results[0].rollout.state == "done", results[0]
    assert (results[0].tally.good, results[0].tally.devices) == (2, 2)


def info_of(board: FakeDevice, boot: str) -> bytes:
    return encode(make_info(board.name, boot=boot))


def test_f76_a_controller_killed_between_any_two_steps_resumes(place, monkeypatch, tmp_path):
    """At every boundary: no stage is done twice, none is skipped, none begins before its gate was met."""
    monkeypatch.setattr(controller, "DECIDE_EVERY_S", 0.02)
    for boundary in itertools.count():
        here = fresh(place, tmp_path, boundary)
        with boards(here.address, here.base, ["reef-1", "reef-2"]) as found:
            if not kill_once(here, boundary):
                break
            finish(here)
            require_all_stages_once(here, found)
    assert boundary > 20


def fresh(place: Place, tmp_path: Path, number: int) -> Place:
    folder = tmp_path / f"fleet-{number}"
    shutil.copytree(place.fleet, folder)
    return Place(place.bundle, folder, place.address, f"{place.base}-{number}")


def kill_once(place: Place, boundary: int) -> bool:
    """Roll out and be killed; say whether it came to that."""
    with killed_at(boundary):
        try:
            place.roll_out(["reef-1"], (100.0,))
        except Killed:
            return True
    return False


def finish(place: Place) -> None:
    known = list_all(place.fleet)
    ended = place.roll_out(["reef-1"], (100.0,)) if not known else known[0]
    if ended.rollout.is_unfinished:
        ended = resume(place.fleet, place.address, ended.rollout.id, place.said.append)
    assert ended.rollout.state == "done" and not ended.unfinished


def test_f76_also_when_it_is_sigkill():
    """The same by a real SIGKILL of a real process; `make torture` does it a hundred times."""
    command = [sys.executable, "scripts/torture_rollouts.py", "--count", "1", "--seed", "4"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True
    )
    assert done.returncode == 0 and " 0 failures" in done.stdout, done.stderr


def test_f76_a_controller_killed_while_it_goes_back_finishes_going_back(place, monkeypatch, tmp_path):
    """The abort is as resumable as the rollout: one release that points back, and the fleet has it."""
    monkeypatch.setattr(controller, "DECIDE_EVERY_S", 0.02)
    old = write_bundle(tmp_path / "old", model_bytes=2000, version="0")
    refuse = {"reef-1": lambda release: None if release.model.version == "0" else "selftest"}
    for boundary in itertools.count(8):
        here = fresh(place, tmp_path, boundary)
        with boards(here.address, here.base, ["reef-1", "reef-2"], refuse) as found:
            push(PushOrder(old, here.fleet, here.address, base=here.base), here.said.append)
            if not kill_once(here, boundary):
                break
            ended = list_all(here.fleet)[0]
            if ended.rollout.is_unfinished:
                ended = resume(here.fleet, here.address, ended.rollout.id, here.said.append)
            assert ended.rollout.state == "aborted"
            assert [version for _, version, _ in here.sequences()] == ["0", "1", "0"]
            wait_for("it is back", lambda board=found["reef-1"]: board.taken[-1].model.version == "0")
            assert all(one.model.version == "0" for one in found["reef-2"].taken)
    assert boundary > 12


def test_f77_an_operators_roll_back_in_the_middle_wins(place, tmp_path):
    """The rollout ends as superseded, and the whole fleet converges to what ran before."""
    old = write_bundle(tmp_path / "old", model_bytes=2000, version="0")
    slow = {NAMES[1]: lambda release: SILENCE if release.model.version == "1" else None}
    with boards(place.address, place.base, NAMES[:5], slow) as found:
        push(PushOrder(old, place.fleet, place.address, base=place.base), place.said.append)
        with in_background(lambda: place.roll_out(NAMES[:2], (50.0, 100.0))) as results:
            wait_for("canaries have it", lambda: found[NAMES[0]].taken[-1].model.version == "1")
            order = RollbackOrder(place.fleet, place.address, base=place.base)
            result = roll_back(order, time.time(), place.said.append)
    assert result.version == "0" and not result.bad and len(result.outcomes) == 5
    assert results[0].rollout.state == "superseded" and "release 3 came in" in results[0].rollout.reason
    assert all(board.taken[-1].model.version == "0" for board in found.values())
    assert [version for _, version, _ in place.sequences()] == ["0", "1", "0"]


def test_f78_a_device_that_was_imaged_anew_counts_again(place):
    """A new boot that has forgotten the release is a new device under an old name."""
    gate = replace(QUICK, soak_s=60.0, min_success=100.0)
    with boards(place.address, place.base, ["reef-1"]) as found:
        board = found["reef-1"]
        with in_background(lambda: place.roll_out(gate=gate)) as results:
            wait_for("it runs", lambda: tally(place) == (1, 1))
            boot = "01JD8Z6M5T3Q0E9W2K7R4C1XAD"
            board.send(board.topics.info("reef-1"), info_of(board, boot))
            board.report("idle", None, boot=boot, n=1, trust=TrustState(1, 0, 0))
            wait_for("it counts anew", lambda: tally(place) == (1, 0))
            board.boot, board._n = boot, 1
            board.tell("active", board.taken[0])
            wait_for("it runs again", lambda: tally(place) == (1, 1))
            identity = list_all(place.fleet)[0].rollout.id
            pause(place.fleet, identity)
            abort(place.fleet, place.address, identity, place.said.append)
    assert results[0].rollout.state == "aborted"


def tally(place: Place) -> tuple[int, int]:
    found = list_all(place.fleet)
    return (found[0].tally.devices, found[0].tally.good) if found else (0, 0)
