import zlib

import pytest

from edge_agent.outgoing.outbox_block import Row, cut, pack, unpack

ROWS = [Row(1, "coral/board/prediction/http", b'{"v":1}' * 90, False), Row(2**40, "größe", b"", True)]


def test_rows_come_back_as_they_were_packed():
    """Keys, topics of any letters, payloads, empty ones too, and retain."""
    assert unpack(pack(ROWS)) == ROWS


def test_similar_messages_take_a_tenth():
    """That is what a block is for."""
    rows = [ROWS[0]._replace(key=key) for key in range(100)]
    assert len(pack(rows)) < sum(row.size_bytes for row in rows) / 10


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "empty"])
def test_damaged_block_is_refused(damage):
    """Nothing is made up."""
    block = bytearray(pack(ROWS))
    if damage == "cut":
        del block[-1:]
    elif damage == "flipped":
        block[len(block) // 2] ^= 4
    elif damage == "garbage":
        block[:] = zlib.compress(b"abc")
    else:
        block.clear()
    with pytest.raises(ValueError):
        unpack(bytes(block))


def test_blocks_are_bounded():
    """Each fits into memory many times; a message that is larger than a block gets its own."""
    sizes = [30_000, 30_000, 30_000, 200_000, 10]
    rows = [Row(key, "t", bytes(size), False) for key, size in enumerate(sizes)]
    groups = list(cut(rows))
    assert [[row.key for row in group] for group in groups] == [[0, 1], [2], [3], [4]]


def test_nothing_makes_no_block():
    """An empty save writes no row."""
    assert list(cut([])) == []
