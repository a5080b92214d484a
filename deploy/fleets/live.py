"""Live predictions: what the fleet sees while somebody watches."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from contract.codec import decode
from contract.errors import ContractError
from contract.messages import DeviceInfo, Prediction
from contract.topics import Topics
from deploy.fleets.fleet import INFO
from host_mqtt.link import Link, Message
from host_mqtt.roll_call import remembered

PREDICTION = "prediction/#"
POLL_S = 0.1


@dataclass(frozen=True)
class Interest:
    """Which predictions somebody wants to see; what is None does not matter."""

    name: str | None = None
    tag: str | None = None
    label: str | None = None
    min_score: float = 0.0

    def covers(self, prediction: Prediction) -> bool:
        """Whether a prediction is wanted, tags aside."""
        is_named = self.name in (None, prediction.device) and self.label in (None, prediction.label)
        return is_named and prediction.score >= self.min_score


def watch(
    link: Link, topics: Topics, interest: Interest, is_over: Callable[[], bool]
) -> Iterator[Prediction]:
    """Yield predictions as they come, until `is_over`.

    What is no prediction, or speaks for another device than its topic, is left out.
    """
    tagged = _Tags(topics, interest.tag)
    # Who carries the tag is known before the first prediction comes.
    for message in remembered(link, topics, [topics.every_device(INFO)]):
        tagged.observe(message)
    link.subscribe([topics.every_device(PREDICTION)])
    while not is_over():
        arrived = link.receive(POLL_S)
        if arrived is None or tagged.observe(arrived):
            continue
        try:
            prediction = _read(topics, arrived)
        except ContractError:
            continue
        if prediction.device in tagged and interest.covers(prediction):
            yield prediction


class _Tags:
    """The devices that carry a tag; without a tag, all of them."""

    def __init__(self, topics: Topics, tag: str | None) -> None:
        self._topics, self._tag = topics, tag
        self._carriers: set[str] = set()

    def observe(self, message: Message) -> bool:
        """Take in a birth document; say whether it was one."""
        if not message.topic.endswith("/" + INFO):
            return False
        with suppress(ContractError):
            info = decode(DeviceInfo, message.payload)
            if message.topic == self._topics.info(info.device):
                (self._carriers.add if self._tag in info.tags else self._carriers.discard)(info.device)
        return True

    def __contains__(self, device: str) -> bool:
        return self._tag is None or device in self._carriers


def as_line(prediction: Prediction) -> str:
    """Return one line for a person."""
    return (
        f"{prediction.ts[11:19]} {prediction.device} {prediction.source}: {prediction.label or 'nothing'} "
        f"{prediction.score:.2f} ({prediction.latency_ms.total:.1f} ms, {prediction.backend})"
    )


def _read(topics: Topics, message: Message) -> Prediction:
    prediction = decode(Prediction, message.payload)
    if message.topic != topics.prediction(prediction.device, prediction.source):
        raise ContractError("it speaks for somebody else")
    return prediction
