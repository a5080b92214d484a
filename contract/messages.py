"""The documents that travel over MQTT between a device and everyone else, one frozen type each."""

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from contract.artifacts import MODEL_NAME_PATTERN, SHA256_PATTERN, VERSION_PATTERN
from contract.chunks import MAX_CHUNKS
from contract.errors import MessageError
from contract.records import (
    Binary,
    Flag,
    Integer,
    Items,
    Maybe,
    Nested,
    Number,
    Open,
    Record,
    Table,
    Text,
    rule,
)
from contract.stamps import TIME_PATTERN, ULID_PATTERN
from contract.topics import BLOB_ID_PATTERN, DEVICE_PATTERN, NAME_PATTERN

# Phases in which a release has begun and not ended.
UNDER_WAY = ("downloading", "verifying", "testing", "trial")
PHASES = ("idle", *UNDER_WAY, "active", "failed", "rolled_back")
BACKENDS = ("edgetpu", "cpu")
MAX_IMAGE_BYTES = 128 * 1024
NOT_PUBLISHED = 0

_TIME = Text(TIME_PATTERN)
_ULID = Text(ULID_PATTERN)
_DEVICE = Text(DEVICE_PATTERN)
_SCORE = Number(0, 1, digits=4)
_MILLISECONDS = Number(0, 1e9, digits=3)
_LABEL = Text(max_length=128)
_TRANSACTION = Text(max_length=64)


@dataclass(frozen=True)
class ModelVersion(Record):
    """Which model: its name and version, and the SHA-256 of the file that runs."""

    name: str = rule(Text(MODEL_NAME_PATTERN))
    version: str = rule(Text(VERSION_PATTERN))
    sha256: str = rule(Text(SHA256_PATTERN))


@dataclass(frozen=True)
class Problem(Record):
    """An error as a stranger needs it: a stable code, what happened, what to try."""

    code: str = rule(Text(r"^[a-z][a-z0-9_]{0,39}$"))
    message: str = rule(Text(max_length=1000))
    hint: str = rule(Text(max_length=1000), default="")


@dataclass(frozen=True)
class Candidate(Record):
    """One of the best labels of a prediction."""

    label: str = rule(_LABEL)
    id: int = rule(Integer(0, 2**31 - 1))
    score: float = rule(_SCORE)


@dataclass(frozen=True)
class Latency(Record):
    """Where a prediction's time went, in milliseconds; `total` runs from arrival to answer."""

    queue: float = rule(_MILLISECONDS)
    preprocess: float = rule(_MILLISECONDS)
    inference: float = rule(_MILLISECONDS)
    postprocess: float = rule(_MILLISECONDS)
    total: float = rule(_MILLISECONDS)


@dataclass(frozen=True)
class DetectedObject(Record):
    """One thing that a detector found; `box` is [x0, y0, x1, y1] in parts of the picture, 0 to 1."""

    label: str = rule(_LABEL)
    id: int = rule(Integer(0, 2**31 - 1))
    score: float = rule(_SCORE)
    box: Tuple[float, ...] = rule(Items(Number(0, 1, digits=4), max_items=4, min_items=4))


@dataclass(frozen=True)
class Window(Record):
    """What a source saw while it published nothing: how many predictions, in how long, of which labels."""

    predictions: int = rule(Integer(1))
    seconds: float = rule(Number(0, 1e9, digits=3))
    labels: Dict[str, int] = rule(Table(Integer(1), max_items=64))


@dataclass(frozen=True)
class Prediction(Record):
    """What a device saw. (device, boot, source, seq) is unique and has no gaps: a gap is a loss.

    What a source holds back takes no number: whoever asked for it gets it with NOT_PUBLISHED in place of one.
    A detector also gives `objects`; when it found none, `top` is empty, `label` is "" and `score` 0. A source
    that publishes aggregates gives its best prediction and the `window` that it stands for. A picture of a
    watched folder gives the name of its `file`.
    """

    id: str = rule(_ULID)
    device: str = rule(_DEVICE)
    boot: str = rule(_ULID)
    source: str = rule(Text(NAME_PATTERN))
    seq: int = rule(Integer(NOT_PUBLISHED))
    ts: str = rule(_TIME)
    label: str = rule(_LABEL)
    label_id: int = rule(Integer(0, 2**31 - 1))
    score: float = rule(_SCORE)
    top: Tuple[Candidate, ...] = rule(Items(Nested(Candidate), max_items=100))
    model: ModelVersion = rule(Nested(ModelVersion))
    backend: str = rule(Text(choices=BACKENDS))
    degraded: Optional[str] = rule(Maybe(Text(max_length=200)))
    latency_ms: Latency = rule(Nested(Latency))
    objects: Tuple[DetectedObject, ...] = rule(
        Items(Nested(DetectedObject), max_items=100), default=(), omit=True
    )
    window: Optional[Window] = rule(Maybe(Nested(Window)), default=None, omit=True)
    file: Optional[str] = rule(Maybe(Text()), default=None, omit=True)
    clock_synced: bool = rule(Flag(), default=True, omit=True)


@dataclass(frozen=True)
class DeviceInfo(Record):
    """Birth document: who is there, since when, with what.

    `ts` is when the agent started, and `stopped` when it was told to stop, said just before it goes offline:
    a device that is offline without it is lost. `models` are those beside the main one: name on the device,
    and channel. `tags` are the names of groups that the configuration puts it in.
    """

    device: str = rule(_DEVICE)
    boot: str = rule(_ULID)
    ts: str = rule(_TIME)
    agent: str = rule(Text(VERSION_PATTERN))
    python: str = rule(Text(max_length=32))
    runtime: str = rule(Text(max_length=64))
    machine: str = rule(Text(max_length=64))
    channel: str = rule(Text(NAME_PATTERN))
    sources: Tuple[str, ...] = rule(Items(Text(NAME_PATTERN), max_items=32))
    http: Optional[str] = rule(Maybe(Text(max_length=200)), default=None)
    models: Dict[str, str] = rule(Table(Text(NAME_PATTERN), max_items=16), default={}, omit=True)
    tags: Tuple[str, ...] = rule(Items(Text(NAME_PATTERN), max_items=16), default=(), omit=True)
    stopped: Optional[str] = rule(Maybe(_TIME), default=None, omit=True)
    clock_synced: bool = rule(Flag(), default=True, omit=True)


@dataclass(frozen=True)
class InstalledModel(Record):
    """A model in a slot, and since when it has been there."""

    name: str = rule(Text(MODEL_NAME_PATTERN))
    version: str = rule(Text(VERSION_PATTERN))
    sha256: str = rule(Text(SHA256_PATTERN))
    since: str = rule(_TIME)


@dataclass(frozen=True)
class GoldenResult(Record):
    """How the golden samples went: agreement with the recorded answers, largest difference in LSB, speed."""

    samples: int = rule(Integer(1))
    top1_agreement: float = rule(_SCORE)
    max_lsb: int = rule(Integer(0, 255))
    p95_ms: float = rule(_MILLISECONDS)


@dataclass(frozen=True)
class TrustState(Record):
    """What a device believes: its root version, highest sequence seen, lowest version it still accepts."""

    root: int = rule(Integer(1))
    sequence_high: int = rule(Integer())
    security_floor: int = rule(Integer())


@dataclass(frozen=True)
class ModelReport(Record):
    """What a device says about releases: where it is, what runs, what it could go back to.

    `rollout` is the rollout that `sequence` belongs to. (device, boot, n) counts a report once, however often
    it is delivered; `n` rises with each.
    """

    ts: str = rule(_TIME)
    phase: str = rule(Text(choices=PHASES))
    progress_pct: int = rule(Integer(0, 100))
    release: Optional[str] = rule(Maybe(Text(VERSION_PATTERN)))
    sequence: Optional[int] = rule(Maybe(Integer(1)))
    current: Optional[InstalledModel] = rule(Maybe(Nested(InstalledModel)))
    last_known_good: Optional[InstalledModel] = rule(Maybe(Nested(InstalledModel)))
    error: Optional[Problem] = rule(Maybe(Nested(Problem)))
    golden: Optional[GoldenResult] = rule(Maybe(Nested(GoldenResult)))
    trust: TrustState = rule(Nested(TrustState))
    stale: bool = rule(Flag(), default=False)
    rollout: Optional[str] = rule(Maybe(Text(NAME_PATTERN)), default=None, omit=True)
    boot: Optional[str] = rule(Maybe(_ULID), default=None, omit=True)
    n: int = rule(Integer(), default=0, omit=True)
    clock_synced: bool = rule(Flag(), default=True, omit=True)


@dataclass(frozen=True)
class ConfigReport(Record):
    """The configuration in effect, secrets masked; `config` is the agent's own affair.

    `overrides` are the keys that orders have changed, and `error` says why the last order was refused, if it
    was.
    """

    ts: str = rule(_TIME)
    config: Dict[str, Any] = rule(Open())
    overrides: Dict[str, Any] = rule(Open())
    error: Optional[Problem] = rule(Maybe(Nested(Problem)))
    clock_synced: bool = rule(Flag(), default=True, omit=True)


@dataclass(frozen=True)
class ChunkNeed(Record):
    """What a device waited for in vain. Bit n % 8 of byte n // 8 of `missing` stands for chunk n."""

    blob: str = rule(Text(BLOB_ID_PATTERN))
    index: bool = rule(Flag())
    missing: bytes = rule(Binary(MAX_CHUNKS // 8))

    def numbers(self) -> Tuple[int, ...]:
        """Return the missing chunk numbers in order."""
        return tuple(n for n in range(8 * len(self.missing)) if self.missing[n // 8] >> (n % 8) & 1)

    @staticmethod
    def pack(numbers: Tuple[int, ...]) -> bytes:
        """Return the bitmap of chunk numbers."""
        bitmap = bytearray(max(numbers, default=-1) // 8 + 1)
        for number in numbers:
            bitmap[number // 8] |= 1 << (number % 8)
        return bytes(bitmap)


@dataclass(frozen=True)
class CommandAnswer(Record):
    """What came of the Command with this counter: done, or refused with the reason."""

    counter: int = rule(Integer())
    status: str = rule(Text(choices=("ok", "error")))
    error: Optional[Problem] = rule(Maybe(Nested(Problem)), default=None)


@dataclass(frozen=True)
class InferRequest(Record):
    """A picture to be classified, as JSON; with MQTT 5 the raw JPEG or PNG may travel instead.

    Exactly one of `image_b64` (JPEG or PNG) and `array` is given; `array` is the model's input tensor in its
    own dtype, flat, in row-major order. `model` names one of
    several; without it the device's main model answers.
    """

    transaction: str = rule(_TRANSACTION)
    image_b64: Optional[bytes] = rule(Maybe(Binary(MAX_IMAGE_BYTES)), default=None)
    array: Optional[Tuple[int, ...]] = rule(Maybe(Items(Integer(-128, 255), MAX_IMAGE_BYTES)), default=None)
    model: Optional[str] = rule(Maybe(Text(NAME_PATTERN)), default=None, omit=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.image_b64 is None) == (self.array is None):
            raise MessageError("a request has either image_b64 or array")


@dataclass(frozen=True)
class InferAnswer(Prediction):
    """The answer to a request that went well: the prediction, and which request it answers."""

    status: str = rule(Text(choices=("ok",)), default="ok")
    transaction: str = rule(_TRANSACTION, default="")


@dataclass(frozen=True)
class InferError(Record):
    """The answer to a request that did not: why, and what to try."""

    transaction: str = rule(_TRANSACTION)
    error: Problem = rule(Nested(Problem))
    status: str = rule(Text(choices=("error",)), default="error")
