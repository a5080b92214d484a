"""Attacks on trust, each refused: the classes that the tests of python-tuf know, and those that JSON adds."""

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any, Callable, Dict, Tuple

import pytest

from contract.codec import encode
from contract.envelope import (
    COMMAND_TYPE,
    MAX_ENVELOPE_BYTES,
    MAX_METADATA_BYTES,
    RELEASE_TYPE,
    ROOT_TYPE,
    TIMESTAMP_TYPE,
    SignedDocument,
)
from contract.manifest import Rollout
from contract.stamps import format_time
from contract.trust import Role, Root
from edge_agent.errors import TrustError
from edge_agent.updates.trust_rules import counts_still, verify_command, verify_next_root, verify_timestamp
from edge_agent.updates.verify import Scope, Seen, load_root, verify_release
from tests.fakes.authority import ROOT_KEYS, TWO, Authority
from tests.fakes.publisher import DAY_S, ISSUED_S, tiny_files

LAST = 2**53 - 1
DEVICE = "board-a"
SCOPE = Scope(DEVICE, "stable", "coral-dev-board")
NOW_S = ISSUED_S + DAY_S
NEW = Seen()
HIM = Authority()
ROOT = HIM.root()
NEEDS_TWO = HIM.root(release=("release", "release 2"), needs={"release": 2})


def code_of(call: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """Return the code with which a call is refused; nothing but TrustError may escape."""
    with pytest.raises(TrustError) as caught:
        call(*arguments, **named)
    caught.value.problem()
    return caught.value.code


def take(
    wire: bytes, root: Root = ROOT, seen: Seen = NEW, scope: Scope = SCOPE, clock_s: float = NOW_S
) -> Any:
    return verify_release(wire, root, scope, seen, clock_s)


def order(wire: bytes, root: Root = ROOT, counter_high: int = 0, now_s: float = NOW_S) -> Any:
    return verify_command(wire, root, DEVICE, counter_high, now_s)


def edit(wire: bytes, **changes: Any) -> bytes:
    """Return an envelope with other fields, its signatures as they were."""
    return json.dumps({**json.loads(wire), **changes}).encode()


def good_release(**changes: Any) -> bytes:
    return HIM.seal(HIM.manifest(**changes), "release")


# Arbitrary package: something else in the place of what was signed.


def test_an_arbitrary_package_under_a_true_signature_is_refused() -> None:
    """A signature is over these bytes, not over any."""
    first, second = json.loads(good_release()), json.loads(good_release())
    assert code_of(take, edit(json.dumps(first).encode(), payload=second["payload"])) == "signature"


def test_an_unsigned_package_is_refused() -> None:
    """No signature at all is not a weaker signature."""
    wire = good_release()
    assert code_of(take, edit(wire, signatures=[])) == "envelope_invalid"
    bare = json.loads(wire)
    del bare["signatures"]
    assert code_of(take, json.dumps(bare).encode()) == "envelope_invalid"
    assert code_of(take, base64.b64decode(bare["payload"])) == "envelope_invalid"


def test_a_package_signed_by_a_stranger_is_refused() -> None:
    """Also if the stranger sends his public key's id along."""
    assert code_of(take, HIM.seal(HIM.manifest(), "stranger")) == "signature"


def test_a_key_id_that_collides_is_not_enough() -> None:
    """A stranger who found a key with our id signs with his own key all the same."""
    wire = json.loads(HIM.seal(HIM.manifest(), "stranger"))
    wire["signatures"][0]["keyid"] = HIM.keyid("release")
    assert code_of(take, json.dumps(wire).encode()) == "signature"


# Endless data: more than there can be.


def test_an_endless_envelope_is_refused_before_it_is_parsed() -> None:
    """Whatever it holds."""
    assert code_of(take, b" " * (MAX_ENVELOPE_BYTES + 1)) == "envelope_invalid"
    assert code_of(take, good_release() + b" " * MAX_ENVELOPE_BYTES) == "envelope_invalid"


def test_an_oversized_payload_is_refused_also_if_it_is_signed() -> None:
    """16 KiB of metadata, not a byte more."""
    wire = HIM.seal_bytes(RELEASE_TYPE, b"x" * MAX_METADATA_BYTES, ["release"])
    assert code_of(take, wire) == "release_invalid"
    longer = base64.b64encode(b"x" * (MAX_METADATA_BYTES + 1)).decode()
    assert code_of(take, edit(wire, payload=longer)) == "envelope_invalid"


def test_too_many_signatures_are_not_looked_at() -> None:
    """Eight; the ninth costs nobody any time."""
    wire = good_release()
    one = json.loads(wire)["signatures"][0]
    assert take(edit(wire, signatures=[one] * 8)).manifest.sequence
    assert code_of(take, edit(wire, signatures=[one] * 9)) == "envelope_invalid"


# Extraneous dependencies, mix and match: true files in a wrong company.


def test_an_extraneous_file_is_refused() -> None:
    """A release names exactly the files that a model needs."""
    payload = json.loads(encode(HIM.manifest()))
    payload["blobs"]["helper"] = payload["blobs"]["labels"]
    wire = HIM.seal_bytes(RELEASE_TYPE, json.dumps(payload).encode(), ["release"])
    assert code_of(take, wire) == "release_invalid"


@pytest.mark.parametrize("role", ["labels", "golden", "preprocessing"])
def test_files_of_two_releases_do_not_mix(role: str) -> None:
    """One signature is over all files of a release."""
    other = {**tiny_files(), role: b"of another release"}
    first, second = json.loads(good_release()), json.loads(good_release(files=other))
    mixed = json.loads(base64.b64decode(first["payload"]))
    mixed["blobs"][role] = json.loads(base64.b64decode(second["payload"]))["blobs"][role]
    text = base64.b64encode(json.dumps(mixed).encode()).decode()
    assert code_of(take, edit(json.dumps(first).encode(), payload=text)) == "signature"


# Rollback, replay, equivocation.


def test_a_rollback_to_an_older_release_is_refused() -> None:
    """Its signature is good, its time is over."""
    assert code_of(take, good_release(sequence=4), seen=Seen(sequence_high=5)) == "rollback"


def test_the_last_sequence_can_be_reached_and_not_passed() -> None:
    """No overflow: 2**53 is no sequence, and neither is a bool, a float or text."""
    assert take(good_release(sequence=LAST)).manifest.sequence == LAST
    payload = encode(HIM.manifest())
    for value in (2**53, 10**30, 0, -1, True, 1.5, "1", None, [1]):
        wire = {**json.loads(payload), "sequence": value}
        sealed = HIM.seal_bytes(RELEASE_TYPE, json.dumps(wire).encode(), ["release"])
        assert code_of(take, sealed) == "release_invalid"


def test_two_stories_under_one_sequence_are_refused() -> None:
    """The same number with other bytes is equivocation, whoever signed both."""
    first = take(good_release(sequence=9))
    seen = Seen(sequence_high=9, release_high=first.digest)
    assert (
        code_of(take, good_release(sequence=9, expires=format_time(NOW_S + DAY_S)), seen=seen)
        == "equivocation"
    )


def test_a_release_that_the_timestamp_has_left_behind_is_withheld() -> None:
    """Also a board that has just been made knows that there is something newer."""
    assert code_of(take, good_release(sequence=4), seen=Seen(newest=5)) == "withheld"
    assert take(good_release(sequence=5), seen=Seen(newest=5)).manifest.sequence == 5
    named = good_release(sequence=4, devices=(DEVICE,))
    assert take(named, seen=Seen(newest=5)).is_ours, "a release of its own is not the channel's"


# Indefinite freeze: nothing new is heard.


def test_a_frozen_release_expires() -> None:
    """By the clock, or by the newest signed time, whichever is later."""
    wire = good_release(expires=format_time(NOW_S))
    assert take(wire).is_ours
    assert code_of(take, wire, clock_s=NOW_S + 1) == "expired"
    assert code_of(take, wire, seen=Seen(time_floor_s=NOW_S + 1), clock_s=0) == "expired"


def test_under_an_expired_root_nobody_speaks() -> None:
    """Neither a release nor an order: the root that followed may be held back."""
    old = HIM.root(expires_s=NOW_S)
    assert take(good_release(), old).is_ours
    assert code_of(take, good_release(), old, clock_s=NOW_S + 1) == "root_expired"
    assert code_of(order, HIM.seal(HIM.command(), "release"), old, now_s=NOW_S + 1) == "root_expired"


# Fast forward: a thief says the highest number, and his key is replaced.


def test_what_a_replaced_key_said_is_forgotten() -> None:
    """The number lasts as long as the keys that set it, at the threshold of the root in force."""
    thief = HIM.keyid("release")
    rotated = HIM.root(2, release=("release 2",))
    assert counts_still((thief,), ROOT) and not counts_still((thief,), rotated)
    assert counts_still((thief,), HIM.root(release=("release", "release 2")))
    assert not counts_still((thief,), NEEDS_TWO)
    assert counts_still((thief, HIM.keyid("release 2")), NEEDS_TWO)
    assert counts_still((), rotated), "what was remembered before keys were noted stays"


def test_a_timestamp_from_the_future_is_forgotten_with_its_key() -> None:
    """Under the root that replaced the key it does not even verify."""
    wire = HIM.seal(HIM.timestamp(ISSUED_S + 3000 * DAY_S, stable=LAST), "timestamp")
    ahead = verify_timestamp(wire, ROOT)
    honest = HIM.seal(HIM.timestamp(), "timestamp")
    assert code_of(verify_timestamp, honest, ROOT, ahead) == "timestamp_old"
    rotated = HIM.root(2, timestamp=("timestamp 2",))
    assert code_of(verify_timestamp, wire, rotated) == "signature"


# A stolen key, by role and threshold.


@pytest.mark.parametrize("thief", ["timestamp", *ROOT_KEYS])
def test_only_a_release_key_signs_releases_and_orders(thief: str) -> None:
    """Not even the root speaks for another role."""
    assert code_of(take, HIM.seal(HIM.manifest(), thief)) == "signature"
    assert code_of(order, HIM.seal(HIM.command(), thief)) == "signature"


@pytest.mark.parametrize("thief", ["release", *ROOT_KEYS])
def test_only_a_timestamp_key_signs_timestamps(thief: str) -> None:
    """A stolen release key cannot freeze the fleet."""
    assert code_of(verify_timestamp, HIM.seal(HIM.timestamp(), thief), ROOT) == "signature"


@pytest.mark.parametrize(
    "thieves",
    [("root a",), ("root b",), ("release", "timestamp"), ("root a", "release"), ("root a", "root a")],
)
def test_less_than_a_threshold_of_root_keys_makes_no_root(thieves: "Tuple[str, ...]") -> None:
    """One of three root keys, with any other keys, cannot replace a key."""
    wire = HIM.seal(HIM.root(2, root=("thief a", "thief b", "thief c")), *thieves, "thief a", "thief b")
    assert code_of(verify_next_root, wire, ROOT) == "signature"


def test_two_of_three_root_keys_make_a_root() -> None:
    """That is what a threshold of two is."""
    for pair in (TWO, ("root b", "root c"), ("root c", "root a")):
        assert verify_next_root(HIM.seal(HIM.root(2), *pair), ROOT).version == 2


# Gaming the threshold.


def test_the_same_key_twice_counts_once() -> None:
    """A threshold of two needs two keys."""
    manifest = HIM.manifest()
    assert code_of(take, HIM.seal(manifest, "release"), NEEDS_TWO) == "signature"
    assert code_of(take, HIM.seal(manifest, "release", "release"), NEEDS_TWO) == "signature"
    assert take(HIM.seal(manifest, "release", "release 2"), NEEDS_TWO).is_ours


def test_the_same_key_under_two_ids_counts_once() -> None:
    """If a root gives one key two names by mistake, it is still one key."""
    alias = "f" * 16
    roles = {**ROOT.roles, "release": Role((HIM.keyid("release"), alias), 2)}
    root = replace(ROOT, keys={**ROOT.keys, alias: HIM.public("release")}, roles=roles)
    wire = json.loads(HIM.seal(HIM.manifest(), "release", "release"))
    wire["signatures"][1]["keyid"] = alias
    assert code_of(take, json.dumps(wire).encode(), root) == "signature"


def test_unknown_keys_fill_no_threshold() -> None:
    """However many sign, and whether or not a good one is among them."""
    strangers = [f"stranger {number}" for number in range(7)]
    assert code_of(take, HIM.seal(HIM.manifest(), *strangers, "release"), NEEDS_TWO) == "signature"


def test_bad_signatures_beside_enough_good_ones_do_no_harm() -> None:
    """Otherwise anybody could make a good release bad by adding to it."""
    wire = json.loads(HIM.seal(HIM.manifest(), "stranger", "release"))
    wire["signatures"].append({"keyid": HIM.keyid("timestamp"), "sig": base64.b64encode(bytes(64)).decode()})
    found = take(json.dumps(wire).encode())
    assert found.signed_by == (HIM.keyid("release"),), "and who did not sign is not remembered"


# Roots: the chain of python-tuf's key rotations.

FIVE = tuple(f"key {number}" for number in range(1, 6))


@pytest.mark.parametrize(
    ("old", "new", "threshold", "signers", "is_good"),
    [
        (("a",), ("a",), 1, ("a",), True),
        (("a",), ("b",), 1, ("a", "b"), True),
        (("a",), ("b",), 1, ("b", "a"), True),
        (("a",), ("b",), 1, ("a", "c", "b"), True),
        (("a",), ("b",), 1, ("b",), False),
        (("a",), ("b",), 1, ("a",), False),
        (FIVE, (*FIVE[1:], "key 6"), 3, ("key 2", "key 4", "key 5"), True),
        (FIVE, (*FIVE[1:], "key 6"), 3, ("key 5", "key 2", "key 4"), True),
        (FIVE, (*FIVE[1:], "key 6"), 3, ("key 1", "key 2", "key 3", "key 6"), True),
        (FIVE, (*FIVE[1:], "key 6"), 3, ("key 2", "key 4", "key 6"), False),
        (FIVE, (*FIVE[1:], "key 6"), 3, ("key 1", "key 2", "key 4"), False),
        (FIVE, ("n1", "n2", "n3", "n4", "n5"), 3, (*FIVE[:3], "n1", "n2", "n3"), True),
        (FIVE, ("n1", "n2", "n3", "n4", "n5"), 3, (*FIVE[:2], "n1", "n2", "n3"), False),
        (FIVE, ("n1", "n2", "n3", "n4", "n5"), 3, (*FIVE[:3], "n1", "n2"), False),
    ],
)
def test_a_root_needs_both_thresholds(
    old: "Tuple[str, ...]", new: "Tuple[str, ...]", threshold: int, signers: "Tuple[str, ...]", is_good: bool
) -> None:
    """That of the root before it and its own, in any order, whoever else signed."""
    before = HIM.root(root=old, needs={"root": threshold})
    following = HIM.root(2, root=new, needs={"root": threshold})
    wire = HIM.seal(following, *signers)
    if is_good:
        assert verify_next_root(wire, before) == following
    else:
        assert code_of(verify_next_root, wire, before) == "signature"


@pytest.mark.parametrize("version", [1, 3, 4, LAST])
def test_a_root_is_never_skipped_nor_repeated(version: int) -> None:
    """Exactly the next version, so that no revocation on the way is missed."""
    wire = HIM.seal(HIM.root(version), *TWO)
    assert code_of(verify_next_root, wire, ROOT) == "root_version"


def test_an_older_root_is_refused() -> None:
    """A key that was revoked does not come back with the root that named it."""
    second = HIM.root(2, release=("release 2",))
    assert code_of(verify_next_root, HIM.seal(ROOT, *TWO), second) == "root_version"


def test_an_expired_root_leads_to_the_next_one() -> None:
    """A board that was away for years follows the chain; only the last one must be fresh."""
    first, second = HIM.root(expires_s=ISSUED_S), HIM.root(2, expires_s=ISSUED_S + 1)
    third = HIM.root(3)
    found = verify_next_root(HIM.seal(second, *TWO), first)
    found = verify_next_root(HIM.seal(third, *TWO), found)
    assert take(good_release(), found).is_ours


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw["roles"].update(admin=raw["roles"]["root"]),
        lambda raw: raw["roles"].pop("timestamp"),
        lambda raw: raw["roles"]["release"].update(keys=["0" * 16]),
        lambda raw: raw["roles"]["release"].update(keys=[]),
        lambda raw: raw["roles"]["release"].update(threshold=0),
        lambda raw: raw["roles"]["release"].update(threshold=-1),
        lambda raw: raw["roles"]["release"].update(threshold=2),
        lambda raw: raw["roles"]["release"].update(threshold=True),
        lambda raw: raw["roles"]["release"].update(threshold=0.5),
        lambda raw: raw["roles"]["root"].update(keys=raw["roles"]["root"]["keys"][:1] * 3),
        lambda raw: raw["keys"].update({"g" * 16: "AAAA"}),
        lambda raw: raw["keys"].update({key: base64.b64encode(bytes(33)).decode() for key in raw["keys"]}),
        lambda raw: raw["keys"].update(
            {f"{n:016x}": base64.b64encode(bytes(32)).decode() for n in range(40)}
        ),
        lambda raw: raw.update(expires="2027-02-30T00:00:00Z"),
        lambda raw: raw.update(version=True),
        lambda raw: raw.update(version=2.0),
        lambda raw: raw.update(version=2**53),
    ],
)
def test_a_root_that_contradicts_itself_is_refused(spoil: "Callable[[Dict[str, Any]], object]") -> None:
    """Also if all root keys signed it: unknown roles or keys, thresholds that nobody or anybody meets."""
    raw = json.loads(encode(HIM.root(2)))
    spoil(raw)
    wire = HIM.seal_bytes(ROOT_TYPE, json.dumps(raw).encode(), ROOT_KEYS)
    assert code_of(verify_next_root, wire, ROOT) == "root_invalid"


def test_a_role_whose_key_is_no_key_lets_nothing_in() -> None:
    """Zeros and other points of small order verify nothing."""
    for public in (bytes(32), b"\x01" + bytes(31), b"\xff" * 32):
        root = replace(ROOT, keys={**ROOT.keys, HIM.keyid("release"): public})
        assert code_of(take, good_release(), root) == "signature"
        blank = json.loads(good_release())
        blank["signatures"][0]["sig"] = base64.b64encode(public + bytes(32)).decode()
        assert code_of(take, json.dumps(blank).encode(), root) == "signature"


# Type confusion: a true document in the place of another.

DOCUMENTS: "Dict[str, Tuple[str, Callable[[], SignedDocument], Tuple[str, ...]]]" = {
    "root": (ROOT_TYPE, lambda: HIM.root(2), TWO),
    "release": (RELEASE_TYPE, HIM.manifest, ("release",)),
    "timestamp": (TIMESTAMP_TYPE, HIM.timestamp, ("timestamp",)),
    "command": (COMMAND_TYPE, HIM.command, ("release",)),
}
DOORS: "Dict[str, Callable[[bytes], object]]" = {
    "root": lambda wire: verify_next_root(wire, ROOT),
    "release": take,
    "timestamp": lambda wire: verify_timestamp(wire, ROOT),
    "command": order,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("content", DOCUMENTS)
def test_no_document_passes_as_another(door: str, content: str) -> None:
    """Each door takes its own kind only, also if the envelope lies about it or every key signed."""
    _, build, signers = DOCUMENTS[content]
    document = build()
    everybody = (*ROOT_KEYS, "release", "timestamp")
    if door == content:
        DOORS[door](HIM.seal(document, *signers))
        return
    wanted = f"{door}_invalid"
    assert code_of(DOORS[door], HIM.seal(document, *signers)) in ("signature", wanted)
    assert code_of(DOORS[door], HIM.seal(document, *everybody)) == wanted
    relabelled = edit(HIM.seal(document, *everybody), payloadType=DOCUMENTS[door][0])
    assert code_of(DOORS[door], relabelled) == "signature"
    assert code_of(DOORS[door], HIM.seal_bytes(DOCUMENTS[door][0], encode(document), everybody)) == wanted


def test_the_type_is_bound_by_the_signature() -> None:
    """An order that is called a timestamp has another signature."""
    wire = HIM.seal(HIM.command(), "release")
    for kind in (RELEASE_TYPE, ROOT_TYPE, TIMESTAMP_TYPE):
        assert code_of(order, edit(wire, payloadType=kind)) == "signature"
    assert code_of(order, edit(wire, payloadType="application/vnd.in-toto+json")) == "envelope_invalid"


# Orders.


def test_an_order_is_obeyed_once() -> None:
    """Counters rise; the same one, or a lower one, is a replay."""
    wire = HIM.seal(HIM.command(7), "release")
    assert order(wire, counter_high=6).command.counter == 7
    assert code_of(order, wire, counter_high=7) == "command_replayed"
    assert code_of(order, wire, counter_high=8) == "command_replayed"


def test_an_order_to_another_device_is_refused() -> None:
    """It was signed for that one."""
    assert code_of(order, HIM.seal(HIM.command(device="board-b"), "release")) == "scope"


def test_an_order_that_was_held_back_expires() -> None:
    """Nobody restarts a board tomorrow with today's order."""
    wire = HIM.seal(HIM.command(expires=format_time(NOW_S)), "release")
    assert order(wire).command.command == "restart"
    assert code_of(order, wire, now_s=NOW_S + 1) == "expired"


@pytest.mark.parametrize("command", ["format", "", "restart; reboot", "RESTART", None, 1, ["restart"]])
def test_there_is_no_other_order(command: object) -> None:
    """Two words, no arguments: a stolen release key can have nothing else done."""
    raw = {**json.loads(encode(HIM.command())), "command": command}
    wire = HIM.seal_bytes(COMMAND_TYPE, json.dumps(raw).encode(), ["release"])
    assert code_of(order, wire) == "command_invalid"


# Wrong software: true, but not for here.


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"channel": "beta"}, "scope"),
        ({"devices": ("board-b",)}, "scope"),
        ({"hardware": ("dev-board-mini",)}, "scope"),
        ({"minimum_agent": "999.0"}, "agent_too_old"),
        ({"minimum_agent": "newest"}, "agent_too_old"),
    ],
)
def test_wrong_software_is_refused(changes: "Dict[str, Any]", code: str) -> None:
    """Channel, device, hardware and agent are part of what is signed."""
    assert code_of(take, good_release(**changes)) == code


def test_a_release_for_other_devices_of_the_channel_is_no_attack() -> None:
    """A stage names its canaries or a percentage; who is left out only remembers the number."""
    theirs = replace(SCOPE, is_own=False)
    assert not take(good_release(devices=("board-b",), minimum_agent="999.0"), scope=theirs).is_ours
    assert not take(good_release(rollout=Rollout("r", percent=0.0)), scope=theirs).is_ours
    assert take(good_release(devices=(DEVICE, "board-b")), scope=theirs).is_ours


@pytest.mark.parametrize("version", ["0", "0.0.9", "0.1", "0.1.0-rc1"])
def test_an_older_minimum_is_no_obstacle(version: str) -> None:
    """Versions are compared as numbers."""
    assert take(good_release(minimum_agent=version)).is_ours


def test_a_revoked_file_does_not_come_back() -> None:
    """Neither under a new sequence, nor in a release that revokes itself."""
    model = hashlib.sha256(tiny_files()["model"]).hexdigest()
    assert code_of(take, good_release(), seen=Seen(revoked=(model,))) == "revoked"
    assert code_of(take, good_release(revoked=(model,))) == "revoked"
    assert take(good_release(revoked=("0" * 64,))).is_ours


# Malformed: strict base64, strict JSON.


def signature_as(text: Any) -> bytes:
    wire = json.loads(good_release())
    wire["signatures"][0]["sig"] = text
    return json.dumps(wire).encode()


def spelled(spell: "Callable[[str], Any]") -> Any:
    return spell(json.loads(good_release())["signatures"][0]["sig"])


@pytest.mark.parametrize(
    "spell",
    [
        lambda sig: sig.rstrip("="),
        lambda sig: sig + "=",
        lambda sig: sig + "\n",
        lambda sig: " " + sig,
        lambda sig: sig[:40] + "\n" + sig[40:],
        lambda sig: base64.urlsafe_b64encode(b"\xff" * 64).decode(),
        lambda sig: sig[:-3] + chr(ord(sig[-3]) + 1) + "==",
        lambda sig: base64.b64encode(bytes(63)).decode(),
        lambda sig: base64.b64encode(bytes(65)).decode(),
        lambda sig: "",
        lambda sig: None,
        lambda sig: 7,
        lambda sig: [sig],
        lambda sig: {"sig": sig},
        lambda sig: "\ud800" * 88,
        lambda sig: "\u00e9" * 88,
        lambda sig: base64.b64decode(sig).hex(),
    ],
)
def test_a_signature_in_another_spelling_is_refused(spell: "Callable[[str], Any]") -> None:
    """Equal bytes are equal text, 64 of them; nothing but our own error escapes."""
    text = spelled(spell)
    assert code_of(take, signature_as(text)) == "envelope_invalid"


BOMBS = {
    "depth": b'{"v":1,"payload":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "duplicate keys": b'{"v":1,"v":1}',
    "duplicate signatures": b'{"v":1,"signatures":[],"signatures":[]}',
    "1e400": b'{"v":1e400}',
    "NaN": b'{"v":NaN}',
    "Infinity": b'{"v":-Infinity}',
    "a long integer": b'{"v":' + b"9" * 30_000 + b"}",
    "a lone surrogate": b'{"v":1,"payloadType":"\\ud800"}',
    "a BOM": b"\xef\xbb\xbf{}",
    "no UTF-8": b'{"v":"\xff"}',
    "quotes without end": b'"' + b'\\"' * 16_000,
    "backslashes": b'{"' + b"\\" * 30_001,
    "an empty document": b"",
    "null": b"null",
    "text": b'"x"',
    "two documents": b"{}{}",
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("door", DOORS)
def test_a_bomb_does_not_go_off(bomb: str, door: str) -> None:
    """At every door, unsigned and signed."""
    assert code_of(DOORS[door], BOMBS[bomb]) == "envelope_invalid"
    everybody = (*ROOT_KEYS, "release", "timestamp")
    if len(BOMBS[bomb]) <= MAX_METADATA_BYTES:
        signed = HIM.seal_bytes(DOCUMENTS[door][0], BOMBS[bomb], everybody)
        assert code_of(DOORS[door], signed) == f"{door}_invalid"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw["rollout"].update(not_before="2027-02-30T00:00:00Z"),
        lambda raw: raw.update(expires="2027-13-01T00:00:00Z"),
        lambda raw: raw.update(issued=raw["expires"]),
        lambda raw: raw["blobs"].update({"\ud800": 1}),
        lambda raw: raw["blobs"]["model"].update(size=2**60),
        lambda raw: raw["blobs"]["model"].update(chunk_bytes=256, size=16 * 1024 * 1024),
        lambda raw: raw["rollout"].update(percent=1e300),
        lambda raw: raw.update(revoked=["0" * 64] * 65),
        lambda raw: raw.update(devices=["a"] * 65),
    ],
)
def test_a_signed_contradiction_is_refused_like_any_other(
    spoil: "Callable[[Dict[str, Any]], object]",
) -> None:
    """A release key in wrong hands can crash no agent: what it signs is checked all the same."""
    raw = json.loads(encode(HIM.manifest()))
    spoil(raw)
    wire = HIM.seal_bytes(RELEASE_TYPE, json.dumps(raw).encode(), ["release"])
    assert code_of(take, wire) == "release_invalid"


# Timestamps.


def test_an_older_timestamp_is_refused() -> None:
    """Who replays it hides nothing."""
    newest = HIM.timestamp(ISSUED_S + 60, stable=5)
    assert (
        code_of(verify_timestamp, HIM.seal(HIM.timestamp(ISSUED_S + 59), "timestamp"), ROOT, newest)
        == "timestamp_old"
    )
    other = HIM.timestamp(ISSUED_S + 60, stable=4)
    assert code_of(verify_timestamp, HIM.seal(other, "timestamp"), ROOT, newest) == "timestamp_old"
    assert verify_timestamp(HIM.seal(newest, "timestamp"), ROOT, newest) == newest
    later = HIM.timestamp(ISSUED_S + 61, stable=6)
    assert verify_timestamp(HIM.seal(later, "timestamp"), ROOT, newest) == later


def test_an_expired_timestamp_still_guards() -> None:
    """It says that nothing newer was heard, and an older one does not take its place."""
    expired = HIM.timestamp(ISSUED_S + 60, days=0.001, stable=5)
    assert verify_timestamp(HIM.seal(expired, "timestamp"), ROOT) == expired
    older = HIM.seal(HIM.timestamp(ISSUED_S, days=1000), "timestamp")
    assert code_of(verify_timestamp, older, ROOT, expired) == "timestamp_old"


def test_a_timestamp_that_names_less_lets_nothing_older_in() -> None:
    """Who has stolen its key can lower the number; what a board has accepted itself it does not forget."""
    lower = verify_timestamp(
        HIM.seal(HIM.timestamp(NOW_S, stable=1), "timestamp"), ROOT, HIM.timestamp(stable=5)
    )
    assert lower.channels == {"stable": 1}
    assert code_of(take, good_release(sequence=4), seen=Seen(sequence_high=5, newest=1)) == "rollback"


@pytest.mark.parametrize("door", DOORS)
def test_every_door_wants_a_signature(door: str) -> None:
    """None, one of zeros, one of the right length by nobody."""
    kind, build, signers = DOCUMENTS[door]
    wire = HIM.seal(build(), *signers)
    assert code_of(DOORS[door], edit(wire, signatures=[])) == "envelope_invalid"
    for sig in (bytes(64), b"\xff" * 64):
        forged = [{"keyid": HIM.keyid(name), "sig": base64.b64encode(sig).decode()} for name in signers]
        assert code_of(DOORS[door], edit(wire, signatures=forged)) == "signature"
    assert kind in wire.decode()


def test_the_enrolled_root_must_sign_itself() -> None:
    """Below its own threshold it is none, whoever else signed."""
    assert load_root(HIM.seal(ROOT, *TWO)) == ROOT
    for signers in (("root a",), ("root a", "root a"), ("root a", "stranger"), ("release", "timestamp")):
        assert code_of(load_root, HIM.seal(ROOT, *signers)) == "signature"
