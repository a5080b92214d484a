"""What may stand in the agent's queue. Threads put events there; only the loop acts on them."""

from dataclasses import dataclass, field
from typing import Callable, NamedTuple, Optional, Tuple, Union

from contract.artifacts import TensorSpec
from contract.learning import Feedback
from contract.messages import Candidate, DetectedObject, GoldenResult, Prediction, Problem

IMAGE = "image"
ARRAY = "array"

CLASSES, OBJECTS, RAW = "classes", "objects", "raw"

Answer = Callable[[Union[Prediction, Problem]], None]


def _ignore(_output: bytes) -> None:
    """Most clients want labels, not the model's raw output."""


class InferenceAsked(NamedTuple):
    """Somebody wants a prediction.

    Attributes:
        kind: IMAGE (JPEG or PNG bytes) or ARRAY (the input tensor's bytes, row-major, in the model's dtype).
        payload: those bytes.
        source: who asks, as in the prediction topic: http, mqtt, ...
        arrived_s: `time.monotonic()` when the request had been read.
        answer: called exactly once, from the loop; must not block.
        top_k: how many labels to name, 1 to 100; None for `inference.top_k`.
        on_output: called just before `answer` gets a Prediction, with the model's outputs: their bytes, one
            after the other, each row-major in its own dtype.
        takes_raw: the model's outputs are enough, whether or not they name labels; without labels the
            Prediction has none, and is not published.
        model: which of the device's models is meant, "" for the main one.
        file: the name of the file that the picture lay in, at most 256 characters.
    """

    kind: str
    payload: bytes
    source: str
    arrived_s: float
    answer: Answer
    top_k: Optional[int] = None
    on_output: Callable[[bytes], None] = _ignore
    model: str = ""
    takes_raw: bool = False
    file: Optional[str] = None


@dataclass(frozen=True)
class Classified:
    """What a worker found: the best labels first, where the time went, and the raw output tensors' bytes.

    A detector also gives what it saw; a model whose outputs are raw has neither labels nor objects.
    """

    top: Tuple[Candidate, ...]
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float
    output: bytes = field(default=b"", repr=False)
    objects: Tuple[DetectedObject, ...] = ()


@dataclass(frozen=True)
class Sampled:
    """An input made ready to be sent away.

    Attributes:
        likeness: 64 bits that are nearly the same for pictures that look nearly the same.
        content_type: what `data` is, as in `contract.learning.Sample`.
        data: the input as it came, or a smaller JPEG of it.
    """

    likeness: int
    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class WorkerReady:
    """A worker has loaded its model and run it once; `meaning` says what its outputs are."""

    worker: int
    runtime: str
    backend: str
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]
    meaning: str = CLASSES


@dataclass(frozen=True)
class WorkerTested:
    """A worker has run the golden samples."""

    worker: int
    result: GoldenResult


@dataclass(frozen=True)
class WorkerAnswered:
    """A worker has answered job `key`."""

    worker: int
    key: int
    result: Union[Classified, Problem]


@dataclass(frozen=True)
class WorkerSampled:
    """A worker has made input `key` ready to be sent away; None if it cannot be."""

    worker: int
    key: int
    found: Optional[Sampled]


@dataclass(frozen=True)
class WorkerFailed:
    """A worker is gone: it could not load its model, was stopped at a limit, or died."""

    worker: int
    problem: Problem


@dataclass(frozen=True)
class FeedbackGiven:
    """Somebody says over HTTP what an input truly was."""

    feedback: Feedback


@dataclass(frozen=True)
class Connected:
    """The broker took us; subscriptions must be made anew."""


@dataclass(frozen=True)
class Disconnected:
    """The broker is gone; paho retries by itself."""

    reason: str


@dataclass(frozen=True)
class MessageArrived:
    """A publish from the broker. `acknowledge` must be called when the message is safe; QoS 0 ignores it.

    `reply_to` and `correlation` come from MQTT 5's response topic and correlation data.
    """

    topic: str
    payload: bytes = field(repr=False)
    retained: bool
    acknowledge: Callable[[], None] = field(repr=False)
    reply_to: Optional[str] = None
    correlation: bytes = b""


@dataclass(frozen=True)
class SubscriptionAnswered:
    """The broker has answered SUBSCRIBE number `mid`; `refused` are the places of the filters it refused."""

    mid: int
    refused: Tuple[int, ...]


@dataclass(frozen=True)
class Delivered:
    """The broker has acknowledged PUBLISH number `mid`, or says why it refused it (MQTT 5 only)."""

    mid: int
    refusal: str = ""


@dataclass(frozen=True)
class HeatMeasured:
    """The Edge TPU's temperature in degrees Celsius, None where the driver does not tell it."""

    edgetpu_celsius: Optional[float]


@dataclass(frozen=True)
class DeviceReset:
    """The Edge TPU has been reset, or `problem` says why not."""

    problem: Optional[Problem]


@dataclass(frozen=True)
class RestartAsked:
    """The agent cannot help itself any more: it ends with a failure, so that it is started anew."""

    problem: Problem


@dataclass(frozen=True)
class StopAsked:
    """SIGTERM or Ctrl-C."""


Event = Union[
    InferenceAsked,
    WorkerReady,
    WorkerTested,
    WorkerAnswered,
    WorkerSampled,
    WorkerFailed,
    FeedbackGiven,
    Connected,
    Disconnected,
    MessageArrived,
    SubscriptionAnswered,
    Delivered,
    HeatMeasured,
    DeviceReset,
    RestartAsked,
    StopAsked,
]
