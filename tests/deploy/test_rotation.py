"""A key is replaced by a root that the old and the new root keys signed; boards find it on the broker."""

import json

import pytest

from contract.codec import decode, encode
from contract.envelope import Envelope
from deploy.trust.keys import load_key, load_keys, load_root, load_roots, release_keys_since
from deploy.trust.rotation import publish_roots, revoke, rotate
from deploy.trust.signing import sign, verify
from host_cli.errors import GateNotMet, WrongUsage
from tests.deploy.helpers import run_deploy

NOW_S = 1_800_000_000.0
YEAR_S = 365 * 86400.0


def ids(fleet, role):
    return load_root(fleet).roles[role].keys


@pytest.mark.parametrize("role", ["root", "release", "timestamp"])
def test_a_rotated_role_has_a_new_key_in_place_of_its_oldest(fleet, role):
    """The next root names it, lives from now on, and leaves every other key as it was."""
    before = load_root(fleet)
    done = rotate(fleet, role, fleet / "keys", NOW_S + YEAR_S)
    after = load_root(fleet)
    assert (after.version, done.root) == (2, after)
    assert after.roles[role].keys == (*before.roles[role].keys[1:], done.new.key.id)
    assert after.roles[role].threshold == before.roles[role].threshold
    assert set(after.keys) == set(before.keys) - {done.old_id} | {done.new.key.id}
    assert after.expires > before.expires
    assert load_keys(fleet / "keys", role, after)[0] == done.new.key


def test_all_root_keys_can_be_replaced_one_after_the_other(fleet):
    """Each step is signed by keys that boards know, so that any board can follow."""
    first = set(ids(fleet, "root"))
    for _ in range(3):
        rotate(fleet, "root", fleet / "keys", NOW_S)
    assert first.isdisjoint(ids(fleet, "root")) and len(ids(fleet, "root")) == 3
    assert len(load_roots(fleet)) == 4


def test_any_key_can_be_revoked(fleet):
    """Also one that is lost: the others sign."""
    lost = ids(fleet, "root")[1]
    (fleet / "keys" / "root-2.key").unlink()
    done = revoke(fleet, lost, fleet / "keys", NOW_S)
    assert done.role == "root" and done.old_path is None
    assert lost not in ids(fleet, "root") and len(ids(fleet, "root")) == 3


def test_the_old_private_key_is_left_where_it_is_and_named(fleet):
    """Nothing is deleted silently; it just signs nothing any more."""
    old = load_key(fleet, "release", load_root(fleet))
    done = rotate(fleet, "release", fleet / "keys", NOW_S)
    assert done.old_path == fleet / "keys" / "release-1.key" and done.old_path.exists()
    assert load_key(fleet, "release", done.root) == done.new.key != old
    with pytest.raises(GateNotMet):
        verify(sign(done.root, [old]), done.root.roles["release"], done.root.keys)


def test_what_boards_said_under_an_older_release_key_is_known(fleet):
    """A number that a thief has set on a board that is offline does not stop the fleet."""
    assert release_keys_since(fleet) == 1
    for role in ("timestamp", "release", "timestamp", "root"):
        rotate(fleet, role, fleet / "keys", NOW_S)
    assert release_keys_since(fleet) == 3


def test_root_keys_may_lie_elsewhere(fleet, tmp_path):
    """They are kept offline; a new one is put beside them."""
    offline = tmp_path / "stick"
    offline.mkdir(mode=0o700)
    for number in (1, 3):
        (fleet / "keys" / f"root-{number}.key").rename(offline / f"root-{number}.key")
    (fleet / "keys" / "root-2.key").unlink()
    with pytest.raises(GateNotMet, match="0 root keys are here") as caught:
        rotate(fleet, "release", fleet / "keys", NOW_S)
    assert "--root-keys" in caught.value.hint
    assert rotate(fleet, "release", offline, NOW_S).new.path.parent == fleet / "keys"
    assert rotate(fleet, "root", offline, NOW_S).new.path == offline / "root-4.key"


def test_one_root_key_is_not_enough(fleet):
    """Nothing is changed, no key is made."""
    for number in (1, 2):
        (fleet / "keys" / f"root-{number}.key").unlink()
    files = sorted(fleet.rglob("*"))
    with pytest.raises(GateNotMet, match="1 root keys are here, 2 must sign"):
        rotate(fleet, "release", fleet / "keys", NOW_S)
    assert sorted(path for path in fleet.rglob("*") if path.name != "sequence.lock") == files


def test_an_unknown_key_is_told(fleet):
    """And where the known ones are shown."""
    with pytest.raises(WrongUsage) as caught:
        revoke(fleet, "0" * 16, fleet / "keys", NOW_S)
    assert "keys list" in caught.value.hint


def test_every_root_is_published_retained(fleet, link, topics):
    """A board that was away for three rotations needs each of them."""
    for _ in range(3):
        rotate(fleet, "release", fleet / "keys", NOW_S)
    assert publish_roots(fleet, topics, link) == 4
    link.subscribe([topics.trust_root(version) for version in range(1, 5)])
    found = [link.receive(5) for _ in range(4)]
    assert all(message is not None and message.retained for message in found)
    wires = {message.topic: message.payload for message in found}
    for wire, root in load_roots(fleet):
        assert wires[topics.trust_root(root.version)] == wire == encode(decode(Envelope, wire))


def finished(*arguments):
    process = run_deploy(*arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_the_commands_say_what_they_did(fleet, address, base):
    """For people and for scripts."""
    where = ("--fleet", str(fleet))
    there = ("--broker", str(address), "--base", base)
    code, out, _ = finished("keys", "rotate", "release", *where, *there, "--publish", "--json")
    found = json.loads(out)
    assert code == 0 and found["version"] == 2 and found["published"]
    assert found["old"]["file"].endswith("release-1.key")
    code, out, _ = finished("keys", "revoke", found["new"]["keyid"], *where)
    assert code == 0 and "push again" in out and "still lies in" in out and "keys publish" in out
    assert finished("keys", "publish", *where, *there)[1] == f"roots 1 to 3 are at {address}\n"
    code, out, _ = finished("keys", "list", *where, "--json")
    assert code == 0 and json.loads(out)["version"] == 3
    code, out, err = finished("keys", "rotate", "nobody", *where)
    assert code == 2 and out == "" and len(err.splitlines()) == 3
