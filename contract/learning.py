"""What the next round learns from: inputs that a device found hard, and what people say about predictions."""

from dataclasses import dataclass
from typing import Optional

from contract.messages import MAX_IMAGE_BYTES, ModelVersion
from contract.records import Binary, Flag, Integer, Maybe, Nested, Number, Record, Text, rule
from contract.stamps import TIME_PATTERN, ULID_PATTERN
from contract.topics import NAME_PATTERN

REASONS = ("confidence", "margin", "entropy", "disagreement", "feedback")
CONTENT_TYPES = ("image/jpeg", "image/png", "application/octet-stream")

_LABEL = Text(max_length=128)


@dataclass(frozen=True)
class Feedback(Record):
    """The true label of an earlier prediction, from a person or a tool; `prediction` is its id."""

    prediction: str = rule(Text(ULID_PATTERN))
    label: str = rule(_LABEL)


@dataclass(frozen=True)
class Sample(Record):
    """An input worth learning from: the bytes as they were asked about, and why they were picked.

    `data` is a JPEG or PNG, or the model's input tensor, row-major in its dtype, as `content_type` says.
    `label` and `score` are what the model thought; `true_label` is what a person said, if one has.
    """

    id: str = rule(Text(ULID_PATTERN))
    boot: str = rule(Text(ULID_PATTERN))
    ts: str = rule(Text(TIME_PATTERN))
    prediction: str = rule(Text(ULID_PATTERN))
    source: str = rule(Text(NAME_PATTERN))
    reason: str = rule(Text(choices=REASONS))
    label: str = rule(_LABEL)
    label_id: int = rule(Integer(0, 2**31 - 1))
    score: float = rule(Number(0, 1, digits=4))
    model: ModelVersion = rule(Nested(ModelVersion))
    content_type: str = rule(Text(choices=CONTENT_TYPES))
    data: bytes = rule(Binary(MAX_IMAGE_BYTES))
    true_label: Optional[str] = rule(Maybe(_LABEL), default=None)
    clock_synced: bool = rule(Flag(), default=True, omit=True)
