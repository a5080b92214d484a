"""Promises of contract.chunks."""

import pytest

from contract import chunks
from contract.errors import ManifestError


@pytest.mark.parametrize("size", [1, 16, 17, 31, 32, 33])
def test_chunks_join_to_the_file(size: int) -> None:
    """Nothing is lost or doubled, whatever the size."""
    data = bytes(range(size))
    parts = list(chunks.cut(data, 16))
    assert b"".join(parts) == data
    assert len(parts) == chunks.count_chunks(size, 16)
    assert [len(part) for part in parts] == [chunks.chunk_length(size, 16, n) for n in range(len(parts))]


def test_the_index_holds_one_hash_a_chunk() -> None:
    """An index of another length is refused."""
    index = chunks.build_index(b"x" * 40, 16)
    assert len(chunks.split_index(index, 40, 16)) == 3
    with pytest.raises(ManifestError, match="index has 95 bytes, expected 96"):
        chunks.split_index(index[:-1], 40, 16)


@pytest.mark.parametrize("number", [-1, 3])
def test_a_chunk_out_of_range_is_refused(number: int) -> None:
    """Neither negative nor beyond the end."""
    with pytest.raises(ManifestError, match="no chunk"):
        chunks.chunk_length(40, 16, number)


def test_every_allowed_blob_fits_the_number_of_chunks() -> None:
    """16 KiB for a small blob, 64 KiB for a large one."""
    assert chunks.choose_chunk_bytes(chunks.LARGE_BLOB_BYTES - 1) == 16 * 1024
    assert chunks.choose_chunk_bytes(chunks.LARGE_BLOB_BYTES) == 64 * 1024
    for size in (1, 8 * 1024 * 1024, 8 * 1024 * 1024 + 1, chunks.MAX_BLOB_BYTES):
        assert chunks.count_chunks(size, chunks.choose_chunk_bytes(size)) <= chunks.MAX_CHUNKS


@pytest.mark.parametrize("room, expected", [(70_000, 65536), (65_535, 32768), (9000, 8192), (300, 256)])
def test_a_chunk_fits_into_what_the_broker_takes(room: int, expected: int) -> None:
    """The largest power of two that it takes."""
    assert chunks.choose_chunk_bytes(4 * 1024 * 1024, room) == expected
