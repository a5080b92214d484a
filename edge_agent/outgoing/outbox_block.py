"""Messages that wait, and how many of them are packed into one compressed block."""

import struct
import zlib
from typing import Iterable, Iterator, List, NamedTuple

# What a message costs beside its topic and payload, about.
_MESSAGE_BYTES = 48
# Key, retain, and the lengths of topic and payload.
_HEAD = struct.Struct("!Q?HI")
# zlib looks back 32 KiB; a larger block hardly shrinks further, and must be unpacked as a whole.
_MAX_BLOCK_BYTES = 64 * 1024


class Row(NamedTuple):
    """A message that waits; a younger one has a higher `key`."""

    key: int
    topic: str
    payload: bytes
    retain: bool

    @property
    def size_bytes(self) -> int:
        """What it counts for."""
        return len(self.topic.encode("utf-8")) + len(self.payload) + _MESSAGE_BYTES


def cut(rows: Iterable[Row]) -> Iterator[List[Row]]:
    """Yield rows in groups that each make one block."""
    group: List[Row] = []
    group_bytes = 0
    for row in rows:
        if group and group_bytes + row.size_bytes > _MAX_BLOCK_BYTES:
            yield group
            group, group_bytes = [], 0
        group.append(row)
        group_bytes += row.size_bytes
    if group:
        yield group


def pack(rows: Iterable[Row]) -> bytes:
    """Return a block. Predictions resemble each other: a hundred take a tenth of their bytes."""
    parts: List[bytes] = []
    for row in rows:
        topic = row.topic.encode("utf-8")
        parts += (_HEAD.pack(row.key, row.retain, len(topic), len(row.payload)), topic, row.payload)
    return zlib.compress(b"".join(parts), zlib.Z_BEST_COMPRESSION)


def unpack(block: bytes) -> List[Row]:
    """Return the rows of a block.

    Raises:
        ValueError: it is damaged.
    """
    try:
        data, rows, place = zlib.decompress(block), [], 0
        while place < len(data):
            key, retain, topic_bytes, payload_bytes = _HEAD.unpack_from(data, place)
            start = place + _HEAD.size + topic_bytes
            place = start + payload_bytes
            rows.append(
                Row(key, data[start - topic_bytes : start].decode("utf-8"), data[start:place], retain)
            )
    except (zlib.error, struct.error) as error:
        raise ValueError(str(error)) from error
    return rows
