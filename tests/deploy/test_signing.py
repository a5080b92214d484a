"""Signatures: what is signed is verified, and nothing else is."""

from dataclasses import replace

import pytest

from contract.trust import Role, Root
from deploy.trust.keys import KeyFile, build_root
from deploy.trust.signing import PrivateKey, key_id, sign, verify
from host_cli.errors import GateNotMet


def make_root() -> tuple[Root, list[PrivateKey]]:
    keys = [PrivateKey.generate() for _ in range(5)]
    roles = ["root", "root", "root", "release", "timestamp"]
    root = build_root([KeyFile(role, None, key) for role, key in zip(roles, keys, strict=True)], 0.0)
    return root, keys


def test_a_threshold_of_keys_is_enough():
    """Two of three root keys make a valid root."""
    root, keys = make_root()
    verify(sign(root, keys[:2]), root.roles["root"], root.keys)


@pytest.mark.parametrize("chosen", [(0,), (0, 0), (3, 4), (0, 3)])
def test_too_few_or_wrong_keys_are_refused(chosen):
    """One key twice, or keys of another role, do not make a threshold."""
    root, keys = make_root()
    with pytest.raises(GateNotMet, match="good signatures, 2 needed"):
        verify(sign(root, [keys[number] for number in chosen]), root.roles["root"], root.keys)


def test_changed_bytes_are_refused():
    """One changed byte breaks every signature."""
    root, keys = make_root()
    envelope = sign(root, keys[:3])
    changed = replace(envelope, payload=envelope.payload.replace(b'"v":1', b'"v":2'))
    with pytest.raises(GateNotMet):
        verify(changed, root.roles["root"], root.keys)


def test_a_broken_public_key_is_a_refusal():
    """Whatever the library raises, the answer is no."""
    root, keys = make_root()
    envelope = sign(root, keys[:2])
    broken = dict.fromkeys(root.keys, b"")
    with pytest.raises(GateNotMet):
        verify(envelope, Role((keys[0].id,), 1), broken)


def test_a_private_key_never_shows_itself():
    """The seed is in no repr; the id comes from the public half alone."""
    key = PrivateKey.generate()
    assert repr(key.seed) not in repr(key) and key.seed.hex() not in repr(key)
    assert key.id == key_id(key.public)


def test_a_document_too_large_for_a_device_is_not_signed(monkeypatch):
    """A document over the limit is refused before it is sent."""
    monkeypatch.setattr("deploy.trust.signing.MAX_METADATA_BYTES", 100)
    root, keys = make_root()
    with pytest.raises(GateNotMet, match="a device takes 100"):
        sign(root, keys[:1])


def test_the_same_key_under_two_ids_counts_once():
    """If a root gives one key two names by mistake, it is still one key."""
    root, keys = make_root()
    first, alias = keys[0].id, "f" * 16
    envelope = sign(root, [keys[0]])
    twice = (*envelope.signatures, replace(envelope.signatures[0], keyid=alias))
    public = {first: keys[0].public, alias: keys[0].public}
    with pytest.raises(GateNotMet, match="1 good signatures, 2 needed"):
        verify(replace(envelope, signatures=twice), Role((first, alias), 2), public)
