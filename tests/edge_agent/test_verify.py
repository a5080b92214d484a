"""Promises of updates.verify."""

import base64
import json
from dataclasses import replace

import pytest

from contract.codec import encode
from contract.envelope import RELEASE_TYPE, ROOT_TYPE
from contract.stamps import format_time
from contract.trust import Role
from edge_agent.errors import TrustError
from edge_agent.updates.verify import Scope, Seen, load_root, verify_release
from tests.fakes.publisher import DAY_S, ISSUED_S, Publisher

SCOPE = Scope("board-a", "stable", "coral-dev-board")
NOW_S = ISSUED_S + DAY_S
NEW = Seen()


def refusal(envelope: bytes, publisher: Publisher, seen: Seen = NEW, clock_s: float = NOW_S) -> str:
    """Return the code with which a release is refused."""
    with pytest.raises(TrustError) as caught:
        verify_release(envelope, publisher.root, SCOPE, seen, clock_s)
    return caught.value.code


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


def test_a_good_release_is_accepted(publisher: Publisher) -> None:
    """Signed, meant for us, newer than what we saw, not expired."""
    manifest = publisher.manifest()
    found = verify_release(publisher.release(manifest), publisher.root, SCOPE, Seen(), NOW_S)
    assert found.manifest == manifest


def test_a_root_that_signs_itself_is_loaded(publisher: Publisher) -> None:
    """The board is enrolled with this file."""
    assert load_root(publisher.root_envelope()) == publisher.root


def test_a_root_signed_by_others_is_refused(publisher: Publisher) -> None:
    """Never to "no verification"."""
    envelope = publisher.seal(ROOT_TYPE, encode(publisher.root), ["release"])
    with pytest.raises(TrustError, match="good signature"):
        load_root(envelope)
    for payload in (b"", b"[mqtt]", b"{}"):
        with pytest.raises(TrustError) as caught:
            load_root(payload)
        assert caught.value.code == "root_invalid" and "root-1.json" in caught.value.hint


@pytest.mark.parametrize("roles", [["root"], ["timestamp"], ["root", "timestamp"]])
def test_keys_of_other_roles_cannot_sign_a_release(publisher: Publisher, roles: "list[str]") -> None:
    """Each role speaks for itself only."""
    assert refusal(publisher.release(publisher.manifest(), roles), publisher) == "signature"


def test_a_stranger_with_our_key_id_is_refused(publisher: Publisher) -> None:
    """The id is a name, not a proof."""
    envelope = json.loads(publisher.release(publisher.manifest()))
    envelope["signatures"][0]["sig"] = base64.b64encode(b"\x01" * 64).decode()
    assert refusal(json.dumps(envelope).encode(), publisher) == "signature"


def test_one_flipped_bit_in_the_payload_breaks_the_signature(publisher: Publisher) -> None:
    """The bytes as sent are what is signed."""
    envelope = json.loads(publisher.release(publisher.manifest()))
    payload = bytearray(base64.b64decode(envelope["payload"]))
    payload[10] ^= 1
    envelope["payload"] = base64.b64encode(bytes(payload)).decode()
    assert refusal(json.dumps(envelope).encode(), publisher) == "signature"


def test_the_same_key_twice_counts_once(publisher: Publisher) -> None:
    """A threshold of two needs two keys."""
    keys = (publisher.key_id("release"), publisher.key_id("timestamp"))
    publisher.root = replace(publisher.root, roles={**publisher.root.roles, "release": Role(keys, 2)})
    manifest = publisher.manifest()
    assert refusal(publisher.release(manifest, ["release", "release"]), publisher) == "signature"
    both = publisher.release(manifest, ["release", "timestamp"])
    assert verify_release(both, publisher.root, SCOPE, Seen(), NOW_S).manifest == manifest


def test_a_root_is_not_a_release(publisher: Publisher) -> None:
    """An envelope of another type is refused although it is signed."""
    envelope = publisher.seal(ROOT_TYPE, encode(publisher.root), ["release"])
    assert refusal(envelope, publisher) == "release_invalid"
    assert refusal(publisher.seal(RELEASE_TYPE, b"{}", ["release"]), publisher) == "release_invalid"


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"[1]", b"\x00" * 100, b'{"v":1,"payloadType":"x"}', b"x" * 40_000]
)
def test_junk_is_refused(publisher: Publisher, junk: bytes) -> None:
    """Nothing but TrustError escapes."""
    assert refusal(junk, publisher) == "envelope_invalid"


@pytest.mark.parametrize(
    "changes", [{"channel": "beta"}, {"devices": ("board-b",)}, {"hardware": ("dev-board-mini",)}]
)
def test_a_release_for_others_is_refused(publisher: Publisher, changes: "dict[str, object]") -> None:
    """Channel, device and hardware are part of what is signed."""
    assert refusal(publisher.release(publisher.manifest(**changes)), publisher) == "scope"


def test_an_older_sequence_is_refused(publisher: Publisher) -> None:
    """A replayed release cannot bring an old model back."""
    old = publisher.release(publisher.manifest())
    assert refusal(old, publisher, Seen(sequence_high=2)) == "rollback"


def test_the_same_sequence_must_be_the_same_bytes(publisher: Publisher) -> None:
    """Delivered twice is fine, two stories are not."""
    manifest = publisher.manifest()
    found = verify_release(publisher.release(manifest), publisher.root, SCOPE, Seen(), NOW_S)
    seen = Seen(sequence_high=1, release_high=found.digest)
    assert verify_release(publisher.release(manifest), publisher.root, SCOPE, seen, NOW_S) == found
    other = publisher.release(replace(manifest, expires=format_time(ISSUED_S + DAY_S * 30)))
    assert refusal(other, publisher, seen) == "equivocation"


def test_a_model_below_the_security_floor_is_refused(publisher: Publisher) -> None:
    """A new sequence does not help a model that must not come back."""
    assert (
        refusal(publisher.release(publisher.manifest()), publisher, Seen(security_floor=1))
        == "security_floor"
    )


def test_an_expired_release_is_refused_by_the_latest_time_seen(publisher: Publisher) -> None:
    """A board in 1970 still knows the latest signed time."""
    manifest = publisher.manifest(expires=format_time(ISSUED_S + DAY_S))
    envelope = publisher.release(manifest)
    late = ISSUED_S + 2 * DAY_S
    assert refusal(envelope, publisher, clock_s=late) == "expired"
    assert refusal(envelope, publisher, Seen(time_floor_s=late), clock_s=0) == "expired"
    assert verify_release(envelope, publisher.root, SCOPE, Seen(), 0).manifest == manifest
