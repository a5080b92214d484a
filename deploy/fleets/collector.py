"""Writes predictions, reports and infos of a fleet into a store, and acknowledges them when they are safe.

The session is kept by a broker that speaks MQTT 5, so that a short restart of the collector loses nothing.
Nothing relies on it: what did not arrive shows as a gap in `seq`. MQTT 3.1.1 sessions have no end, and one
that nobody comes back to would fill the broker, so there the session is clean.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from contract.codec import decode
from contract.errors import ContractError, MessageError
from contract.messages import DeviceInfo, ModelReport, Prediction
from contract.topics import Topics
from deploy.fleets.results import Arrived, ResultStore, count_lost
from host_mqtt.link import Link, Message, Session

COMMIT_EVERY_S = 1.0
IDLE_S = 0.05
MAX_BATCH = 500
SESSION_S = 3600
PREDICTION = "prediction/#"
INFO = "info"
REPORTED = "model/reported"
_CLIENT_ID_DIGITS = 12
_log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What a collector did."""

    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    gaps: int = 0

    def as_json(self) -> dict[str, int]:
        """Return the shape that scripts rely on."""
        return asdict(self)


def session_for(store_address: str) -> Session:
    """Return how a collector connects: one session for each store."""
    digest = hashlib.sha256(store_address.encode()).hexdigest()[:_CLIENT_ID_DIGITS]
    return Session(client_id=f"deploy-collect-{digest}", keep_s=SESSION_S, late_acknowledge=True)


def filters(topics: Topics) -> list[str]:
    """Return what a collector listens to."""
    return [topics.every_device(leaf) for leaf in (PREDICTION, INFO, REPORTED)]


def collect(link: Link, topics: Topics, store: ResultStore, is_over: Callable[[], bool]) -> Counts:
    """Collect until `is_over`; what has arrived by then is stored.

    Raises:
        Unreachable: the store or the broker went away; what was not stored was not acknowledged.
    """
    counts = Counts()
    batch = _Batch(link, topics, store, counts)
    while not is_over():
        message = link.receive(IDLE_S)
        if message is not None:
            batch.add(message)
        if batch.is_due(idle=message is None):
            batch.commit()
    batch.commit()
    counts.gaps = count_lost(store.gaps())
    return counts


class _Batch:
    """Messages that wait for one commit: for COMMIT_EVERY_S at most, less when nothing more comes."""

    def __init__(self, link: Link, topics: Topics, store: ResultStore, counts: Counts) -> None:
        self._link, self._topics, self._store, self._counts = link, topics, store, counts
        self._messages: list[Message] = []
        self._arrived: list[Arrived] = []
        self._since_s = 0.0

    def add(self, message: Message) -> None:
        """Take a message in; one that is not understood is counted and acknowledged with the others."""
        if not self._messages:
            self._since_s = time.monotonic()
        self._messages.append(message)
        try:
            self._arrived.append(read(self._topics, message))
        except ContractError as error:
            self._counts.refused += 1
            _log.warning("refused a message on %s: %s", message.topic, error)

    def is_due(self, *, idle: bool) -> bool:
        """Whether it is time to commit."""
        waited_s = time.monotonic() - self._since_s
        return bool(self._messages) and (
            idle or len(self._messages) >= MAX_BATCH or waited_s >= COMMIT_EVERY_S
        )

    def commit(self) -> None:
        """Store, then acknowledge."""
        new = self._store.save(self._arrived)
        predictions = sum(isinstance(one.document, Prediction) for one in self._arrived)
        self._counts.stored += new
        self._counts.duplicates += predictions - new
        for message in self._messages:
            self._link.acknowledge(message)
        self._messages, self._arrived = [], []


def read(topics: Topics, message: Message) -> Arrived:
    """Decode a message and check that it speaks for the device whose topic it came on.

    Raises:
        ContractError: it is not what its topic promises.
    """
    device = topics.parse_device(message.topic)
    document: Prediction | DeviceInfo | ModelReport
    if message.topic == topics.info(device):
        document = decode(DeviceInfo, message.payload)
        expected = topics.info(document.device)
    elif message.topic == topics.model_reported(device):
        document, expected = decode(ModelReport, message.payload), message.topic
    else:
        document = decode(Prediction, message.payload)
        expected = topics.prediction(document.device, document.source)
    if message.topic != expected:
        raise MessageError(f"the document belongs on {expected}")
    return Arrived(device, document)
