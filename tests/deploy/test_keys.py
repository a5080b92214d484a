"""The fleet's folder: keys are made once, kept private, and sequence numbers only rise."""

import stat

import pytest

from contract.codec import decode
from contract.envelope import Envelope
from contract.trust import Root, Timestamp
from deploy.trust.keys import (
    init_fleet,
    load_key,
    load_root,
    load_roots,
    reserve_counter,
    reserve_sequence,
    sign_timestamp,
)
from deploy.trust.rotation import rotate
from deploy.trust.signing import verify
from host_cli.errors import GateNotMet, WrongUsage

NOW_S = 1_800_000_000.0


def test_init_makes_every_role_and_a_signed_root(tmp_path):
    """Three root keys of which two must agree, one release key, one timestamp key."""
    made = init_fleet(tmp_path, NOW_S)
    root = load_root(tmp_path)
    assert [one.role for one in made] == ["root"] * 3 + ["release", "timestamp"]
    assert {role: (len(one.keys), one.threshold) for role, one in root.roles.items()} == {
        "root": (3, 2),
        "release": (1, 1),
        "timestamp": (1, 1),
    }
    envelope = decode(Envelope, (tmp_path / "root-1.json").read_bytes())
    verify(envelope, root.roles["root"], envelope.open(Root).keys)


def test_private_keys_are_for_their_owner_only(fleet):
    """Mode 0600, and no seed in the public root."""
    for path in (fleet / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().strip() not in (fleet / "root-1.json").read_text()


@pytest.mark.parametrize("kept", ["keys", "root-1.json"])
def test_init_never_overwrites(fleet, kept):
    """With keys or a root in place nothing is touched, also when the other one was moved away."""
    other = {"keys": "root-1.json", "root-1.json": "keys"}[kept]
    (fleet / other).rename(fleet / "moved")
    with pytest.raises(WrongUsage, match="never overwritten"):
        init_fleet(fleet, NOW_S)
    assert not (fleet / other).exists()


def test_a_missing_key_says_how_to_make_one(fleet):
    """The error names the file and the command."""
    root = load_root(fleet)
    (fleet / "keys" / "release-1.key").unlink()
    with pytest.raises(WrongUsage) as caught:
        load_key(fleet, "release", root)
    assert "release-1.key" in caught.value.where and "keys init" in caught.value.hint


@pytest.mark.parametrize("text", ["", "zz", "ab" * 31, "ab" * 33, "\u00e9"])
def test_a_damaged_key_is_refused_without_being_shown(fleet, text):
    """Whatever stands in the file, the error does not repeat it."""
    root = load_root(fleet)
    (fleet / "keys" / "release-1.key").write_text(text)
    with pytest.raises(WrongUsage, match="not a private key") as caught:
        load_key(fleet, "release", root)
    assert caught.value.__cause__ is None


def test_a_key_that_others_can_read_is_refused(fleet):
    """A private key that is not private is not used."""
    root = load_root(fleet)
    (fleet / "keys" / "release-1.key").chmod(0o644)
    with pytest.raises(WrongUsage, match="other users"):
        load_key(fleet, "release", root)


def test_a_key_of_another_fleet_is_refused(fleet, tmp_path):
    """The root decides which key may sign."""
    init_fleet(tmp_path / "other", NOW_S)
    with pytest.raises(GateNotMet, match="does not name"):
        load_key(fleet, "release", load_root(tmp_path / "other"))


def test_a_changed_root_is_refused(fleet):
    """A root that its own keys did not sign is no root."""
    path = fleet / "root-1.json"
    other = decode(Envelope, path.read_bytes())
    text = path.read_text().replace(other.signatures[0].keyid, "0" * 16)
    text = text.replace(other.signatures[1].keyid, "1" * 16)
    path.write_text(text)
    with pytest.raises(GateNotMet):
        load_root(fleet)


def test_sequences_rise_above_everything_seen(fleet):
    """Above the file, above the broker, above the devices; and it is written down."""
    assert reserve_sequence(fleet, []) == 1
    assert reserve_sequence(fleet, [7, 3]) == 8
    assert reserve_sequence(fleet, [2]) == 9
    assert (fleet / "sequence").read_text() == "9\n"


def test_a_damaged_sequence_file_is_not_guessed_over(fleet):
    """Starting again at 1 would be refused by every board."""
    (fleet / "sequence").write_text("many")
    with pytest.raises(WrongUsage, match="not a sequence number"):
        reserve_sequence(fleet, [])


def test_the_last_sequence_has_no_successor(fleet):
    """A device that claims the highest number does not make us write a wrong one."""
    with pytest.raises(WrongUsage, match="no sequence above"):
        reserve_sequence(fleet, [2**53 - 1])
    assert not (fleet / "sequence").exists()


def test_counters_are_milliseconds_and_rise(fleet):
    """Two orders in the same millisecond, or after the clock was set back, differ."""
    assert reserve_counter(fleet, NOW_S) == NOW_S * 1000
    assert reserve_counter(fleet, NOW_S) == NOW_S * 1000 + 1
    assert reserve_counter(fleet, NOW_S - 3600) == NOW_S * 1000 + 2


def test_the_newest_root_of_the_chain_counts(fleet):
    """Root 1 as the boards know it, and every one that followed."""
    for role in ("release", "timestamp", "root"):
        rotate(fleet, role, fleet / "keys", NOW_S)
    assert [root.version for _, root in load_roots(fleet)] == [1, 2, 3, 4]
    assert load_root(fleet).version == 4


def test_a_gap_in_the_chain_is_told(fleet):
    """A board could not follow it either."""
    for role in ("release", "timestamp"):
        rotate(fleet, role, fleet / "keys", NOW_S)
    (fleet / "root-2.json").unlink()
    with pytest.raises(WrongUsage) as caught:
        load_root(fleet)
    assert "root-2.json" in caught.value.where and "from a copy" in caught.value.hint


def test_a_root_of_another_fleet_does_not_follow(fleet, tmp_path):
    """The chain is checked on the host as on a board."""
    other = tmp_path / "other"
    init_fleet(other, NOW_S)
    rotate(other, "release", other / "keys", NOW_S)
    (fleet / "root-2.json").write_bytes((other / "root-2.json").read_bytes())
    with pytest.raises(GateNotMet):
        load_root(fleet)
    (fleet / "root-2.json").write_bytes((fleet / "root-1.json").read_bytes())
    with pytest.raises(WrongUsage, match="version 1, not 2"):
        load_root(fleet)


def test_a_timestamp_names_the_root_and_the_channels(fleet):
    """Signed by the timestamp key, fresh for a week."""
    rotate(fleet, "timestamp", fleet / "keys", NOW_S)
    root = load_root(fleet)
    envelope = decode(Envelope, sign_timestamp(fleet, {"stable": 7}, NOW_S))
    verify(envelope, root.roles["timestamp"], root.keys)
    found = envelope.open(Timestamp)
    assert (found.root, found.channels) == (2, {"stable": 7})
    assert (found.issued, found.expires) == ("2027-01-15T08:00:00.000Z", "2027-01-22T08:00:00.000Z")
    with pytest.raises(GateNotMet, match="no timestamp"):
        sign_timestamp(fleet, {f"c{n}": 1 for n in range(65)}, NOW_S)
