"""What was released, by whom, and what must stay retained: written before it is published."""

import sqlite3

import pytest

from deploy.releases.blob_store import BlobStore
from deploy.releases.bundle import load_bundle
from deploy.releases.desk import Desk
from deploy.releases.ledger import Desired, Ledger
from deploy.releases.push import Order, push
from deploy.releases.release import cut_blobs
from host_cli.errors import Failed, Unreachable
from tests.deploy.fake_device import FakeDevice


def test_a_push_is_written_down_before_it_is_published(place, monkeypatch):
    """The broker goes away at the worst moment: the ledger knows the release, its files and its topic."""

    def break_down(*_: object) -> None:
        raise Unreachable("cable cut", "here", "mend it")

    monkeypatch.setattr("deploy.releases.sending.publish_release", break_down)
    with FakeDevice(place.address, place.base, "reef-1"), pytest.raises(Unreachable):
        push(Order(place.bundle, place.fleet, place.address, ("reef-1",), base=place.base), print)
    with Desk(place.fleet, place.topics) as desk:
        (issued,) = desk.ledger.releases()
        (wanted,) = desk.ledger.wanted()
        for ref in issued.manifest.blobs.values():
            assert len(desk.store.get(ref.sha256)) == ref.size
        entry = desk.ledger.entries()[-1]
        assert entry.key_id == issued.key_id and entry.key_id in desk.root.roles["release"].keys
    assert (issued.devices, issued.version, issued.who) == (("reef-1",), "1", entry.who)
    assert wanted == Desired(place.topics.model_desired("reef-1"), 1, issued.envelope)
    assert entry.what == "release" and "toy 1, sequence 1, reef-1, 100 %" in entry.about


def test_a_step_is_written_whole_or_not_at_all(fleet):
    """Also with steps within it."""
    with Ledger(fleet) as ledger:
        with pytest.raises(KeyError), ledger.step():
            ledger.note("one", "", 1.0)
            ledger.want(Desired("topic", 1, b"x"))
            raise KeyError
        assert ledger.entries() == [] and ledger.wanted() == []
        with ledger.step():
            ledger.note("two", "", 1.0)
    with Ledger(fleet) as again:
        assert [one.what for one in again.entries()] == ["two"]


def test_two_programs_may_write(fleet):
    """A push beside a keeper."""
    with Ledger(fleet) as one, Ledger(fleet) as two:
        one.want(Desired("a", 1, b"1"))
        two.want(Desired("a", 2, b"2"))
        assert one.wanted() == two.wanted() == [Desired("a", 2, b"2")]
        one.forget("a")
        assert two.wanted_on("a") is None


@pytest.mark.parametrize("content", [b"not a database at all", b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_ledger_is_told_in_three_lines(fleet, content):
    """Never a traceback."""
    (fleet / "ledger.db").write_bytes(content)
    with pytest.raises(Failed, match="the ledger cannot be used"), Ledger(fleet):
        pass


def test_a_ledger_of_a_newer_program_is_left_alone(fleet):
    """It may say things that we would overlook."""
    with Ledger(fleet) as ledger:
        path = ledger.path
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version=99")
    with pytest.raises(Failed, match="newer"), Ledger(fleet):
        pass


def test_a_file_is_kept_once_and_checked_when_read(fleet, bundle):
    """A damaged one is not given out, and the next push mends it."""
    store = BlobStore(fleet)
    blob = cut_blobs(load_bundle(bundle))["model"]
    store.put(blob.ref.sha256, blob.data)
    assert store.blob(blob.ref) == blob
    path = fleet / "blobs" / blob.ref.sha256
    path.write_bytes(blob.data[:-1])
    with pytest.raises(Failed, match="gone or damaged"):
        store.get(blob.ref.sha256)
    store.put(blob.ref.sha256, blob.data)
    assert store.get(blob.ref.sha256) == blob.data
    with pytest.raises(Failed, match="gone or damaged"):
        store.get("0" * 64)
