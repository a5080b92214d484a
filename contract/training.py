"""The data bus: samples that stream to models which learn from them, and what these say of their progress."""

from dataclasses import dataclass
from typing import Tuple

from contract.artifacts import LABELS, MAX_CLASSES, SHA256_PATTERN, Preprocessing
from contract.errors import MessageError
from contract.records import Binary, Flag, Integer, Items, Nested, Number, Record, Text, rule
from contract.stamps import TIME_PATTERN, ULID_PATTERN
from contract.topics import NAME_PATTERN

# With base64 and so many labels a part stays below codec.MAX_PAYLOAD_BYTES.
MAX_PART_BYTES = 180 * 1024
MAX_PART_SAMPLES = 1024
FIRST_PART = 1

_NAME = Text(NAME_PATTERN)
_SHA256 = Text(SHA256_PATTERN)
_POSITIVE = Integer(1)


@dataclass(frozen=True)
class DataInfo(Record):
    """A stream of samples: what it carries, and in how many parts.

    Parts are numbered from 1. The first `test_parts` are set aside to test on, the others are to be learned
    from: `passes` times `samples` pictures, in an order that follows from `seed`. A part has `part_samples`
    samples; the last test part, and the last part of each pass, may have fewer.

    Attributes:
        dataset: what the stream is called, as in its topics.
        publisher: who sends it; another ULID with every start.
        stream: SHA-256 of all that is sent and its order. Equal streams have equal parts.
        labels: what the numbers in the parts are called.
        preprocessing: shape of the pictures; `scale` and `offset` are for each model to choose.
    """

    dataset: str = rule(_NAME)
    publisher: str = rule(Text(ULID_PATTERN))
    stream: str = rule(_SHA256)
    labels: Tuple[str, ...] = rule(LABELS)
    preprocessing: Preprocessing = rule(Nested(Preprocessing))
    samples: int = rule(_POSITIVE)
    test_samples: int = rule(_POSITIVE)
    part_samples: int = rule(Integer(1, MAX_PART_SAMPLES))
    parts: int = rule(_POSITIVE)
    test_parts: int = rule(_POSITIVE)
    passes: int = rule(Integer(1, 10000))
    seed: int = rule(Integer())

    def __post_init__(self) -> None:
        super().__post_init__()
        per_pass = -(-self.samples // self.part_samples)
        test_parts = -(-self.test_samples // self.part_samples)
        if self.test_parts != test_parts or self.parts != test_parts + self.passes * per_pass:
            raise MessageError("parts do not follow from samples, test_samples, part_samples and passes")
        if self.part_samples * self.picture_bytes > MAX_PART_BYTES:
            raise MessageError(
                f"a part of {self.part_samples} pictures is larger than {MAX_PART_BYTES} bytes"
            )

    @property
    def picture_bytes(self) -> int:
        """Bytes of one picture: uint8, row-major, height x width x channels."""
        return self.preprocessing.height * self.preprocessing.width * self.preprocessing.channels

    def samples_of(self, number: int) -> int:
        """Return how many samples part `number` (1 to `parts`) has."""
        total, place = self.test_samples, number - FIRST_PART
        if number > self.test_parts:
            total, place = self.samples, (place - self.test_parts) % -(-self.samples // self.part_samples)
        return min(self.part_samples, total - place * self.part_samples)


@dataclass(frozen=True)
class DataPart(Record):
    """Some samples of a stream: `pictures` are len(labels) pictures one after the other, as DataInfo says."""

    stream: str = rule(_SHA256)
    number: int = rule(_POSITIVE)
    labels: Tuple[int, ...] = rule(
        Items(Integer(0, MAX_CLASSES - 1), max_items=MAX_PART_SAMPLES, min_items=1)
    )
    pictures: bytes = rule(Binary(MAX_PART_BYTES))


@dataclass(frozen=True)
class DataPosition(Record):
    """How far a follower is, and what the publisher may send it.

    Everything before `next` is learned; the parts from `next` to `until` may come. After the last part `next`
    is `parts` + 1. `again` says that what was sent to it before is lost: the same parts are wanted once more.
    """

    run: str = rule(_NAME)
    model: str = rule(_NAME)
    stream: str = rule(_SHA256)
    next: int = rule(_POSITIVE)
    until: int = rule(Integer())
    again: bool = rule(Flag(), default=False)


@dataclass(frozen=True)
class TrainingReport(Record):
    """How good a model is after `step` steps; a step is one part, in all `samples` pictures were learned.

    `accuracy` (0 to 1) and `loss` (mean cross-entropy, nats) are measured on the samples set aside. `is_last`
    says that the stream is over.
    """

    run: str = rule(_NAME)
    model: str = rule(_NAME)
    dataset: str = rule(_NAME)
    ts: str = rule(Text(TIME_PATTERN))
    step: int = rule(Integer())
    samples: int = rule(Integer())
    accuracy: float = rule(Number(0, 1, digits=6))
    loss: float = rule(Number(0, 1e9, digits=6))
    is_last: bool = rule(Flag(), default=False)
