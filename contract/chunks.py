"""How a file is cut into chunks, indexed and addressed. Pure functions over bytes."""

import hashlib
from typing import Iterator, List

from contract.errors import ManifestError
from contract.topics import BLOB_ID_DIGITS

HASH_BYTES = 32
SMALL_CHUNK_BYTES = 16 * 1024
LARGE_CHUNK_BYTES = 64 * 1024
# From here on a quarter of the messages is worth more than the smaller loss when one is damaged.
LARGE_BLOB_BYTES = 1024 * 1024
MAX_CHUNKS = 512
MAX_BLOB_BYTES = 16 * 1024 * 1024


def choose_chunk_bytes(size_bytes: int, room_bytes: int = LARGE_CHUNK_BYTES) -> int:
    """Return the chunk size for a blob: 16 KiB, 64 KiB for a large blob, less where the broker takes less.

    Args:
        size_bytes: the blob.
        room_bytes: the largest payload that the broker takes, at least 1.
    """
    wanted = SMALL_CHUNK_BYTES if size_bytes < LARGE_BLOB_BYTES else LARGE_CHUNK_BYTES
    return min(wanted, 1 << (room_bytes.bit_length() - 1))


def count_chunks(size_bytes: int, chunk_bytes: int) -> int:
    """Return how many chunks a blob has; an empty blob has none."""
    return -(-size_bytes // chunk_bytes)


def chunk_length(size_bytes: int, chunk_bytes: int, number: int) -> int:
    """Return the exact length of chunk `number`; only the last may be shorter.

    Raises:
        ManifestError: the blob has no such chunk.
    """
    if not 0 <= number < count_chunks(size_bytes, chunk_bytes):
        raise ManifestError(f"a blob of {size_bytes} bytes has no chunk {number}")
    return min(chunk_bytes, size_bytes - number * chunk_bytes)


def cut(data: bytes, chunk_bytes: int) -> Iterator[bytes]:
    """Yield the chunks of `data` in order."""
    for start in range(0, len(data), chunk_bytes):
        yield data[start : start + chunk_bytes]


def build_index(data: bytes, chunk_bytes: int) -> bytes:
    """Return the index of a blob: the SHA-256 of every chunk, 32 bytes each, in order."""
    return b"".join(hashlib.sha256(chunk).digest() for chunk in cut(data, chunk_bytes))


def split_index(index: bytes, size_bytes: int, chunk_bytes: int) -> List[bytes]:
    """Return the chunk hashes that an index holds.

    Raises:
        ManifestError: the index has another length than the blob's size demands.
    """
    expected = count_chunks(size_bytes, chunk_bytes) * HASH_BYTES
    if len(index) != expected:
        raise ManifestError(f"index has {len(index)} bytes, expected {expected}")
    return [index[start : start + HASH_BYTES] for start in range(0, expected, HASH_BYTES)]


def blob_id(sha256_hex: str) -> str:
    """Return the blob's id in topics: the first 32 hex digits of its SHA-256."""
    return sha256_hex[:BLOB_ID_DIGITS]
