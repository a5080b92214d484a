"""Promises of contract.manifest."""

from dataclasses import replace

import pytest

from contract.artifacts import TensorSpec
from contract.codec import decode, encode
from contract.envelope import (
    MAX_METADATA_BYTES,
    RELEASE_TYPE,
    Envelope,
    Signature,
    pre_authentication_encoding,
)
from contract.errors import ManifestError, MessageError
from contract.manifest import BlobRef, ReleaseManifest, ReleaseModel, Rollout, SelfTest
from contract.trust import Role, Root

BLOB = BlobRef(40_000, "ab" * 32, "cd" * 32, 16384)
TENSOR = TensorSpec("x", (1, 28, 28, 1), "uint8", 1 / 255, 0)
RELEASE = ReleaseManifest(
    channel="stable",
    devices=(),
    sequence=1,
    issued="2026-01-01T00:00:00.000Z",
    expires="2026-04-01T00:00:00.000Z",
    hardware=(),
    minimum_agent="0.1.0",
    minimum_runtime="tflite 2.5",
    model=ReleaseModel("m", "1", 0, False, False, (TENSOR,), (TENSOR,)),
    blobs=dict.fromkeys(("model", "labels", "preprocessing", "golden"), BLOB),
    selftest=SelfTest(),
    rollout=Rollout("first"),
)
KEYS = {"0" * 15 + str(n): bytes([n]) * 32 for n in range(3)}
ROOT = Root(
    1, "2027-01-01T00:00:00Z", KEYS, {role: Role(tuple(KEYS), 2) for role in ("root", "release", "timestamp")}
)


def test_a_release_and_a_root_survive_the_wire_within_the_size_cap() -> None:
    """What is signed is what is read."""
    for document in (RELEASE, ROOT):
        payload = encode(document)
        assert decode(type(document), payload) == document
        assert len(payload) < MAX_METADATA_BYTES


def test_a_release_names_exactly_the_files_it_needs() -> None:
    """A CPU release has no fallback, a compiled one must have it, none may lack labels."""
    with pytest.raises(ManifestError, match="files"):
        replace(RELEASE, blobs={"model": BLOB})
    compiled = replace(RELEASE.model, compiled=True)
    with pytest.raises(ManifestError, match="fallback"):
        replace(RELEASE, model=compiled)
    assert replace(RELEASE, model=compiled, blobs={**RELEASE.blobs, "fallback": BLOB})


def test_equal_files_are_counted_once() -> None:
    """Content-addressed means sent once."""
    assert RELEASE.total_bytes == BLOB.size


def test_a_release_cannot_expire_before_it_was_issued() -> None:
    """A date that does not exist is refused too."""
    with pytest.raises(ManifestError, match="expire"):
        replace(RELEASE, expires=RELEASE.issued)
    with pytest.raises(ManifestError):
        replace(RELEASE, expires="2026-02-31T00:00:00.000Z")


def test_a_blob_with_too_many_chunks_is_refused() -> None:
    """Memory on the board is bounded by the manifest."""
    with pytest.raises(ManifestError, match="chunks"):
        BlobRef(512 * 256 + 1, "ab" * 32, "cd" * 32, 256)


def test_a_root_must_be_able_to_speak() -> None:
    """Unknown keys, doubled keys, thresholds above the number of keys, absent roles: refused."""
    with pytest.raises(ManifestError, match="does not hold"):
        replace(ROOT, keys={})
    with pytest.raises(ManifestError, match="distinct"):
        Role(("0" * 16, "0" * 16), 2)
    with pytest.raises(ManifestError, match="distinct"):
        Role(("0" * 16,), 2)
    with pytest.raises(ManifestError, match="roles"):
        replace(ROOT, roles={"root": ROOT.roles["root"]})


def test_an_envelope_opens_only_as_what_it_says_it_is() -> None:
    """The type is bound to the bytes."""
    envelope = Envelope(RELEASE_TYPE, encode(RELEASE), (Signature("0" * 16, b"\x00" * 64),))
    assert envelope.open(ReleaseManifest) == RELEASE
    with pytest.raises(ManifestError, match="expected"):
        envelope.open(Root)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    """64 bytes, nothing else."""
    with pytest.raises(MessageError, match="sig"):
        Signature("0" * 16, b"\x00" * length)


def test_the_signed_bytes_follow_dsse() -> None:
    """The example of DSSE's own protocol description."""
    assert pre_authentication_encoding("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
