"""A data set as numbered parts: complete, in a seeded order, the same at every start."""

import numpy as np
import pytest

from cloud_train.bus.reader import read_part
from cloud_train.bus.stream import SampleStream, StreamPlan, room_for_pictures
from cloud_train.data.samples import Samples
from cloud_train.data.views import Chain
from contract.artifacts import Preprocessing
from contract.codec import MAX_PAYLOAD_BYTES, encode
from contract.errors import MessageError
from contract.training import MAX_PART_BYTES, DataPart
from host_cli.errors import WrongUsage
from tests.cloud_train.conftest import CLASSES, SIDE, make_samples

PUBLISHER = "01JD8Z6M5T3Q0E9W2K7R4C1XAC"
LABELS = tuple(f"quarter {number}" for number in range(CLASSES))


def make_stream(
    train: Samples | None = None,
    *,
    passes: int = 2,
    part_samples: int = 8,
    seed: int = 0,
    test: int = 20,
    **room: int,
) -> SampleStream:
    """Two shards of unequal size, and what is held out."""
    whole = train or make_samples(101)
    shards = Chain([whole.take(np.arange(60)), whole.take(np.arange(60, len(whole.y)))])
    height, width, channels = whole.image_shape
    plan = StreamPlan("quarters", LABELS, Preprocessing(height, width, channels), part_samples, passes, seed)
    room_bytes = room.get("room_bytes", MAX_PART_BYTES)
    return SampleStream(plan, shards, make_samples(test, seed=9), PUBLISHER, room_bytes)


def read_parts(stream: SampleStream, numbers: range) -> list[Samples]:
    return [read_part(stream.part(number), stream.info) for number in numbers]


def test_every_pass_holds_every_picture_once_in_an_order_of_its_own():
    """Over shard borders, with a short last part; the passes differ."""
    stream, whole = make_stream(), make_samples(101)
    info = stream.info
    assert (info.samples, info.test_parts, info.parts) == (101, 3, 3 + 2 * 13)
    passes = [read_parts(stream, range(start, start + 13)) for start in (4, 17)]
    expected = sorted(zip((one.tobytes() for one in whole.x), whole.y, strict=True))
    orders = []
    for parts in passes:
        assert [len(part.y) for part in parts] == [8] * 12 + [5]
        pairs = [(one.tobytes(), label) for part in parts for one, label in zip(part.x, part.y, strict=True)]
        assert sorted(pairs) == expected
        orders.append(pairs)
    assert orders[0] != orders[1]


def test_what_is_held_out_comes_first():
    """In parts of their own, in its order."""
    parts = read_parts(make_stream(), range(1, 4))
    held = make_samples(20, seed=9)
    assert np.array_equal(np.concatenate([part.x for part in parts]), held.x)
    assert np.array_equal(np.concatenate([part.y for part in parts]), held.y)


def test_the_same_data_and_options_are_the_same_stream():
    """At another start too; whatever changes a part changes its SHA-256."""
    stream = make_stream()
    again = make_stream()
    assert again.info == stream.info
    assert [again.part(number) for number in (1, 9, 29)] == [stream.part(number) for number in (1, 9, 29)]
    changed = make_samples(101)
    changed.x[100, 0, 0, 0] ^= 1
    others = [make_stream(changed), make_stream(seed=1), make_stream(passes=1), make_stream(part_samples=9)]
    assert len({one.info.stream for one in [stream, *others]}) == 5


def test_large_pictures_make_small_parts():
    """A part fits into what the broker takes; a picture that does not is refused."""
    assert make_stream(room_bytes=SIDE * SIDE * 3).info.part_samples == 3
    stream = make_stream(room_bytes=room_for_pictures(10_000))
    assert max(len(encode(stream.part(number))) for number in range(1, stream.info.parts + 1)) < 10_000
    with pytest.raises(WrongUsage, match="a picture has 64 bytes, a message takes 63"):
        make_stream(room_bytes=63)
    assert room_for_pictures(MAX_PAYLOAD_BYTES) > MAX_PART_BYTES


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"number": 99}, "cannot be part 99"),
        ({"labels": (0,) * 7}, "7 samples cannot be part 4"),
        ({"pictures": bytes(8 * 64 - 1)}, "511 bytes are not 8 pictures"),
        ({"labels": (0,) * 7 + (4,)}, "label 4 is none of the 4 labels"),
    ],
)
def test_a_part_that_contradicts_the_stream_is_refused(changes, says):
    """Before anything learns from it."""
    info = make_stream().info
    good = {"stream": info.stream, "number": 4, "labels": (0,) * 8, "pictures": bytes(8 * 64)}
    assert len(read_part(DataPart(**good), info).y) == 8
    with pytest.raises(MessageError, match=says):
        read_part(DataPart(**{**good, **changes}), info)
