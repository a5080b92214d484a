"""What may stand in the agent's queue. Threads put events there; only the loop acts on them."""

from dataclasses import dataclass, field
from typing import Callable, Optional, Tuple, Union

from contract.artifacts import TensorSpec
from contract.messages import Candidate, GoldenResult, Prediction, Problem

IMAGE = "image"
ARRAY = "array"

Answer = Callable[[Union[Prediction, Problem]], None]


def _ignore(_output: bytes) -> None:
    """Most clients want labels, not the model's raw output."""


@dataclass(frozen=True)
class InferenceAsked:
    """Somebody wants a prediction.

    Attributes:
        kind: IMAGE (JPEG or PNG bytes) or ARRAY (the input tensor's bytes, row-major, in the model's dtype).
        payload: those bytes.
        source: who asks, as in the prediction topic: http, mqtt, ...
        arrived_s: `time.monotonic()` when the request had been read.
        answer: called exactly once, from the loop; must not block.
        top_k: how many labels to name, 1 to 100; None for `inference.top_k`.
        on_output: called just before `answer` gets a Prediction, with the model's output: the tensor's bytes,
            row-major, in its own dtype.
    """

    kind: str
    payload: bytes = field(repr=False)
    source: str
    arrived_s: float
    answer: Answer = field(repr=False)
    top_k: Optional[int] = None
    on_output: Callable[[bytes], None] = field(default=_ignore, repr=False)


@dataclass(frozen=True)
class Classified:
    """What a worker found: the best labels first, where the time went, and the raw output tensor's bytes."""

    top: Tuple[Candidate, ...]
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float
    output: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class WorkerReady:
    """A worker has loaded its model and run it once."""

    worker: int
    runtime: str
    backend: str
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]


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
class WorkerFailed:
    """A worker is gone: it could not load its model, was stopped at a limit, or died."""

    worker: int
    problem: Problem


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
class StopAsked:
    """SIGTERM or Ctrl-C."""


Event = Union[
    InferenceAsked,
    WorkerReady,
    WorkerTested,
    WorkerAnswered,
    WorkerFailed,
    Connected,
    Disconnected,
    MessageArrived,
    SubscriptionAnswered,
    Delivered,
    StopAsked,
]
