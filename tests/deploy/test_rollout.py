"""The story of a rollout: stages, gates, pauses, ends; a real broker, and boards that play their part."""

import shutil
from dataclasses import replace

import pytest

from contract.codec import decode
from contract.envelope import Envelope
from contract.manifest import ReleaseManifest
from contract.rings import is_in_percent
from contract.rollout import RolloutProgress
from deploy.releases.ledger import Ledger
from deploy.releases.push import Order as PushOrder
from deploy.releases.push import push
from deploy.rollouts.controller_lock import only_controller
from deploy.rollouts.rollout import Forecast, abort, as_json, list_all, pause, resume
from deploy.rollouts.rollout_book import RolloutBook
from host_cli.errors import Unreachable, WrongUsage
from tests.deploy.fake_device import SILENCE
from tests.deploy.helpers import write_bundle
from tests.deploy.rollout_helpers import QUICK, boards, in_background
from tests.fakes.waiting import wait_for

NAMES = [f"reef-{number}" for number in range(1, 9)]


def refuse_version_1(release: ReleaseManifest) -> "str | None":
    return "selftest" if release.model.version == "1" else None


def only_rollout(place):
    with Ledger(place.fleet) as ledger:
        (found,) = RolloutBook(ledger).all()
    return found


def stage_of(place) -> tuple[str, int]:
    with Ledger(place.fleet) as ledger:
        found = RolloutBook(ledger).all()
    return (found[0].state, found[0].stage) if found else ("", 0)


def test_a_rollout_goes_from_canaries_to_everybody(place, link):
    """One signed, retained release a stage; at the end everybody runs it and nobody was asked twice."""
    with boards(place.address, place.base, NAMES) as found:
        ended = place.roll_out(["reef-3"], (25.0, 100.0))
    assert (ended.rollout.state, ended.tally.good, ended.unfinished) == ("done", 8, ())
    assert place.sequences() == [(1, "1", 100.0), (2, "1", 25.0), (3, "1", 100.0)]
    assert found["reef-3"].taken[0].devices == ("reef-3",)
    identity = ended.rollout.id
    for name, board in found.items():
        ring = [2] if is_in_percent(identity, 25, name) else []
        assert [one.sequence for one in board.taken] == [*([1] if name == "reef-3" else []), *ring, 3]
    wire = place.retained(link)[place.channel_topic]
    release = decode(Envelope, wire).open(ReleaseManifest)
    assert (release.rollout.id, release.rollout.salt, release.sequence) == (identity, identity, 3)


def test_progress_is_retained_for_dashboards(place, link):
    """Also the plan, and how it ended."""
    with boards(place.address, place.base, NAMES[:2]):
        ended = place.roll_out(["reef-1"], (100.0,))
    payload = place.retained(link)[place.topics.rollout(ended.rollout.id)]
    progress = decode(RolloutProgress, payload)
    assert (progress.state, progress.stages, progress.stage) == ("done", ("1 canary", "100 %"), 2)
    assert (progress.devices, progress.good, progress.failed) == (2, 2, 0)


def test_a_failing_canary_takes_everybody_back(place, link, tmp_path):
    """A higher sequence that points to what the channel had before; the rest never saw the new one."""
    old = write_bundle(tmp_path / "old", model_bytes=20_000, version="0")
    with boards(place.address, place.base, NAMES[:3]) as found:
        push(PushOrder(old, place.fleet, place.address, base=place.base), place.said.append)
        with boards(place.address, place.base, ["reef-9"], {"reef-9": refuse_version_1}) as nine:
            ended = place.roll_out(["reef-9"], (100.0,))
            wait_for("it is back", lambda: nine["reef-9"].taken[-1].model.version == "0")
    assert ended.rollout.state == "aborted" and "1 of 1 devices failed" in ended.rollout.reason
    assert place.sequences() == [(1, "0", 100.0), (2, "1", 100.0), (3, "0", 100.0)]
    assert all([one.model.version for one in board.taken] == ["0", "0"] for board in found.values())
    back = decode(Envelope, place.retained(link)[place.channel_topic]).open(ReleaseManifest)
    assert (back.sequence, back.model.version, back.rollout.percent, back.devices) == (3, "0", 100.0, ())
    assert back.rollout.id != ended.rollout.id


def test_without_a_release_before_the_channel_is_cleared(place, link):
    """And it says so."""
    with boards(place.address, place.base, ["reef-1"], {"reef-1": "selftest"}):
        ended = place.roll_out()
    assert ended.rollout.state == "aborted" and "no release before" in ended.rollout.reason
    assert place.channel_topic not in place.retained(link)


def test_a_device_that_comes_back_during_the_soak_ends_it(place):
    """The gate was met, and then it was not."""
    gate = replace(QUICK, soak_s=60.0)
    with boards(place.address, place.base, ["reef-1"]) as found:
        board = found["reef-1"]
        with in_background(lambda: place.roll_out(gate=gate)) as results:
            wait_for("the gate is met", lambda: met(place))
            board.tell("rolled_back", board.taken[0], error=None)
    assert results[0].rollout.state == "aborted" and "1 of 1" in results[0].rollout.reason


def met(place) -> bool:
    with Ledger(place.fleet) as ledger:
        book = RolloutBook(ledger)
        rollouts = book.all()
        page = book.stage(rollouts[0].id, rollouts[0].stage) if rollouts else None
    return page is not None and page.met_s is not None


def test_pause_stops_it_and_resume_goes_on(place):
    """From another terminal; its controller obeys, and its clock stands still."""
    gate = replace(QUICK, soak_s=1.0)
    with (
        boards(place.address, place.base, NAMES[:2], {"reef-2": SILENCE}) as found,
        in_background(lambda: place.roll_out(["reef-1"], (100.0,), gate)) as results,
    ):
        wait_for("the gate is met", lambda: met(place))
        identity = only_rollout(place).id
        assert pause(place.fleet, identity).rollout.state == "paused"
        with pytest.raises(WrongUsage, match="is paused"):
            pause(place.fleet, identity)
        assert stage_of(place) == ("paused", 1)
        wait_for("its own terminal says so", lambda: any(one.endswith(", paused") for one in place.said))
        resumed = resume(place.fleet, place.address, identity, place.said.append)
        assert resumed.rollout.state == "running" and "its controller goes on" in place.said
        wait_for("stage 2", lambda: len(found["reef-1"].taken) == 2)
        ended = abort(place.fleet, place.address, identity, place.said.append)
    assert ended.rollout.state == "aborted" == results[0].rollout.state
    assert "aborted by" in ended.rollout.reason


def test_pausing_stops_the_clock(fleet, bundle, place):
    """What was waited before the pause counts, the pause does not."""
    with boards(place.address, place.base, ["reef-1"], {"reef-1": SILENCE}):
        place.roll_out(wait=False)
    identity = only_rollout(place).id
    with Ledger(fleet) as ledger:
        book = RolloutBook(ledger)
        book.mark_published(identity, 1, 1000.0)
        book.mark_met(identity, 1, 1010.0)
        assert book.pause(identity, 1020.0) and not book.pause(identity, 1021.0)
        assert book.resume(identity, 5020.0) and not book.resume(identity, 5021.0)
        page = book.stage(identity, 1)
    assert (page.published_s, page.met_s) == (5000.0, 5010.0)


def test_without_a_controller_abort_does_it_itself(place, link):
    """The controller may be gone for good."""
    with boards(place.address, place.base, NAMES[:2]):
        begun = place.roll_out(["reef-1"], (100.0,), wait=False)
        assert begun.rollout.state == "running" and stage_of(place) == ("running", 1)
        ended = abort(place.fleet, place.address, begun.rollout.id, place.said.append)
    assert ended.rollout.state == "aborted"
    assert place.channel_topic not in place.retained(link)
    with pytest.raises(WrongUsage, match="is aborted"):
        abort(place.fleet, place.address, begun.rollout.id, place.said.append)


def test_two_controllers_at_once_are_refused(place):
    """The lock ends with its process, so nothing has to be cleaned up."""
    with (
        boards(place.address, place.base, ["reef-1"]),
        only_controller(place.fleet),
        pytest.raises(WrongUsage, match="another rollout is being controlled"),
    ):
        place.roll_out()
    with boards(place.address, place.base, ["reef-1"]):
        assert place.roll_out().rollout.state == "done"


def test_a_channel_has_one_rollout_at_a_time(place):
    """The first is resumed or aborted before another begins."""
    with boards(place.address, place.base, ["reef-1"]):
        first = place.roll_out(wait=False).rollout.id
        with pytest.raises(WrongUsage, match=f"rollout {first} of channel stable is not finished"):
            place.roll_out()
        assert resume(place.fleet, place.address, first, place.said.append).rollout.state == "done"


def test_a_newer_release_from_another_machine_ends_it(place, bundle, tmp_path):
    """Its ledger is not ours; ours steps back and publishes nothing more."""
    other = tmp_path / "other"
    shutil.copytree(place.fleet, other)
    with (
        boards(place.address, place.base, NAMES[:2], {"reef-1": SILENCE}) as found,
        in_background(lambda: place.roll_out(["reef-1"], (100.0,))) as results,
    ):
        wait_for("stage 1", lambda: found["reef-1"].taken)
        two = write_bundle(tmp_path / "two", version="2")
        order = PushOrder(two, other, place.address, base=place.base, wait=False)
        assert push(order, place.said.append).sequence == 2
    assert results[0].rollout.state == "superseded" and "another machine" in results[0].rollout.reason
    assert place.sequences() == [(1, "1", 100.0)]


def test_nobody_to_send_to_is_unreachable(place):
    """A rollout to a channel that nobody ever followed would wait for nothing."""
    with pytest.raises(Unreachable, match="no free device of channel stable"):
        place.roll_out()


@pytest.mark.parametrize("canary", ["reef-9", "lab-1"])
def test_a_canary_must_be_of_the_channel(place, canary):
    """A typing error would make a stage of nobody."""
    own = boards(place.address, place.base, ["reef-1"])
    other = boards(place.address, place.base, ["lab-1"], channel="lab")
    with own, other, pytest.raises(WrongUsage, match=canary):
        place.roll_out([canary])


def test_a_dry_run_counts_and_publishes_nothing(place, link):
    """Neither on the broker nor in the ledger."""
    with boards(place.address, place.base, NAMES):
        before = place.retained(link)
        found = place.roll_out(["reef-1"], (50.0, 100.0), dry_run=True)
        assert isinstance(found, Forecast) and found.stages[0] == ("1 canary", 1)
        assert found.stages[2] == ("100 %", 8)
        with link.__class__(place.address) as again:
            assert place.retained(again) == before
    assert place.sequences() == [] and list_all(place.fleet) == []


def test_a_list_shows_how_every_rollout_went(place):
    """For people and scripts."""
    with boards(place.address, place.base, NAMES[:2], {"reef-2": SILENCE}):
        place.roll_out(gate=replace(QUICK, min_success=50.0))
    (one,) = list_all(place.fleet)
    shown = as_json(one)
    assert (shown["state"], shown["good"], shown["devices"], shown["ok"]) == ("done", 1, 2, False)
    assert shown["unfinished"] == [{"device": "reef-2", "phase": None, "error": None}]
