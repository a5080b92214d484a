"""A data set as numbered parts: first what is held out, then every pass, each in an order of its own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from cloud_train.data.samples import Array, Pictures, blocks
from cloud_train.training.batches import shuffled_places
from contract.artifacts import Preprocessing
from contract.codec import MAX_PAYLOAD_BYTES, encode
from contract.training import FIRST_PART, MAX_PART_BYTES, DataInfo, DataPart
from host_cli.errors import WrongUsage

# The labels of a part, its number, the stream and the topic.
OVERHEAD_BYTES = 8 * 1024
_NOT_YET = "0" * 64
_NOBODY = "0" * 26


def room_for_pictures(packet_bytes: int) -> int:
    """Return how many bytes of pictures, base64 and with what stands around them, fit into a packet."""
    return (packet_bytes - OVERHEAD_BYTES) // 4 * 3


@dataclass(frozen=True)
class StreamPlan:
    """What is to be streamed, and how.

    Attributes:
        dataset: name of the stream, as it stands in its topics.
        labels: their names; the number of a label is its place.
        preprocessing: how the pictures were made.
        part_samples: samples of a part, 1 to MAX_PART_SAMPLES; fewer when the pictures are large.
        passes: how often all of it is streamed.
        seed: of the order.
    """

    dataset: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    part_samples: int
    passes: int
    seed: int


class SampleStream:
    """Makes any part of the stream, at any time; nothing is kept but where each picture lies.

    Args:
        plan: what to stream.
        train: what is to be learned from; it may lie in files.
        test: what is set aside to test on.
        publisher: ULID of this start of the program.
        room_bytes: the largest part that the broker takes.

    Raises:
        WrongUsage: a picture, or the names of all labels, are too large for a message.
    """

    def __init__(
        self, plan: StreamPlan, train: Pictures, test: Pictures, publisher: str, room_bytes: int
    ) -> None:
        self._train, self._test = train, test
        self.info = self._describe(plan, publisher, room_bytes)
        self._order = lru_cache(maxsize=4)(self._shuffle)

    def part(self, number: int) -> DataPart:
        """Return part `number`, 1 to info.parts."""
        info = self.info
        count = info.samples_of(number)
        if number <= info.test_parts:
            start = (number - FIRST_PART) * info.part_samples
            found = self._test.take(np.arange(start, start + count))
        else:
            per_pass = (info.parts - info.test_parts) // info.passes
            which, place = divmod(number - FIRST_PART - info.test_parts, per_pass)
            start = place * info.part_samples
            found = self._train.take(self._order(which)[start : start + count])
        labels = tuple(int(label) for label in found.y)
        return DataPart(info.stream, number, labels, found.x.tobytes())

    def _describe(self, plan: StreamPlan, publisher: str, room_bytes: int) -> DataInfo:
        samples, test_samples = len(self._train.y), len(self._test.y)
        per_part = _part_samples(plan, self._test, room_bytes)
        test_parts, per_pass = -(-test_samples // per_part), -(-samples // per_part)
        info = DataInfo(
            dataset=plan.dataset,
            publisher=publisher,
            stream=_NOT_YET,
            labels=plan.labels,
            preprocessing=plan.preprocessing,
            samples=samples,
            test_samples=test_samples,
            part_samples=per_part,
            parts=test_parts + plan.passes * per_pass,
            test_parts=test_parts,
            passes=plan.passes,
            seed=plan.seed,
        )
        if len(encode(info)) > MAX_PAYLOAD_BYTES:
            what = f"{len(plan.labels)} labels do not fit into a message"
            raise WrongUsage(what, plan.dataset, "shorter names of labels")
        return replace(info, stream=_hash(info, (self._train, self._test)))

    def _shuffle(self, which: int) -> Array:
        return shuffled_places(self.info.samples, self.info.seed, which)


def _part_samples(plan: StreamPlan, test: Pictures, room_bytes: int) -> int:
    picture_bytes = int(np.prod(test.image_shape))
    fitting = min(room_bytes, MAX_PART_BYTES) // picture_bytes
    if not fitting:
        what = f"a picture has {picture_bytes} bytes, a message takes {min(room_bytes, MAX_PART_BYTES)}"
        raise WrongUsage(what, plan.dataset, "stream smaller pictures: cloud-train split --size")
    return min(plan.part_samples, fitting)


def _hash(info: DataInfo, parts: Sequence[Pictures]) -> str:
    # The publisher is another one with every start, the stream is not.
    found = hashlib.sha256(encode(replace(info, publisher=_NOBODY)))
    for part in parts:
        for block in blocks(np.arange(len(part.y)), (len(part.y), *part.image_shape)):
            samples = part.take(block)
            found.update(np.ascontiguousarray(samples.x).data)
            found.update(np.ascontiguousarray(samples.y).data)
    return found.hexdigest()
