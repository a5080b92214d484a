"""From a bundle to a manifest: nothing is invented, nothing is lost."""

import hashlib
from dataclasses import replace

import pytest

from contract.chunks import split_index
from contract.stamps import parse_time
from deploy.releases.bundle import load_bundle
from deploy.releases.release import ReleasePlan, build_release, cut_blobs
from host_cli.errors import GateNotMet
from tests.deploy.helpers import write_bundle

PLAN = ReleasePlan("stable", ("reef-1",), 7, "01jd8z6m5t3q0e9w2k7r4c1xab", 1_800_000_000.0)


def test_the_chunks_of_a_blob_are_the_file(bundle):
    """Joined they are the file; each one has the hash that the index names."""
    loaded = load_bundle(bundle)
    blob = cut_blobs(loaded)["model"]
    assert b"".join(blob.chunk(n) for n in range(blob.ref.chunks)) == loaded.files["model"]
    hashes = split_index(blob.index, blob.ref.size, blob.ref.chunk_bytes)
    assert hashes == [hashlib.sha256(blob.chunk(n)).digest() for n in range(blob.ref.chunks)]
    assert hashlib.sha256(blob.index).hexdigest() == blob.ref.index_sha256


def test_the_manifest_says_what_the_bundle_says(bundle):
    """Model, tensors, files, and who may take it until when."""
    loaded = load_bundle(bundle)
    release = build_release(loaded, cut_blobs(loaded), PLAN)
    assert (release.model.name, release.model.version) == ("toy", "1")
    assert release.model.inputs == loaded.manifest.inputs
    assert release.blobs["model"].sha256 == loaded.manifest.model.sha256
    assert (release.channel, release.devices, release.sequence) == ("stable", ("reef-1",), 7)
    assert parse_time(release.expires) - parse_time(release.issued) == 90 * 86400
    assert (release.selftest.min_top1, release.selftest.max_lsb) == (1.0, 2)


def test_a_large_file_gets_large_chunks(tmp_path):
    """512 chunks are the most; a file over 8 MiB is cut into 64 KiB ones."""
    loaded = load_bundle(write_bundle(tmp_path, model_bytes=8 * 1024**2 + 1))
    assert cut_blobs(loaded)["model"].ref.chunk_bytes == 64 * 1024


def test_too_small_chunks_are_refused(bundle):
    """More than 512 chunks is nothing that a board would take."""
    with pytest.raises(GateNotMet, match="model cannot be sent"):
        cut_blobs(load_bundle(bundle), 64)


def test_an_empty_file_is_refused(bundle, tmp_path):
    """A blob has at least one byte."""
    loaded = load_bundle(write_bundle(tmp_path / "empty", model_bytes=0))
    with pytest.raises(GateNotMet, match="model cannot be sent"):
        cut_blobs(loaded)


def test_a_release_can_revoke_a_model(bundle):
    """Its hash is named; what cannot be one is refused before anything is signed."""
    loaded = load_bundle(bundle)
    blobs = cut_blobs(loaded)
    assert build_release(loaded, blobs, replace(PLAN, revoked=("a" * 64,))).revoked == ("a" * 64,)
    with pytest.raises(GateNotMet, match="revoked"):
        build_release(loaded, blobs, replace(PLAN, revoked=("model.tflite",)))
