"""Who must be told what, on a broker that retains nothing: a device that appears says how far it is. Pure."""

from collections.abc import Mapping

from contract.codec import decode
from contract.errors import ContractError
from contract.messages import DeviceInfo, ModelReport
from contract.topics import Topics
from deploy.releases.ledger import Desired
from host_mqtt.link import Message


class Greeter:
    """Remembers which channels devices follow."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._channels: dict[str, tuple[str, ...]] = {}

    def behind(self, message: Message, wanted: Mapping[str, Desired]) -> list[Desired]:
        """Return what the sender of a message has not heard of, of what is wanted by topic."""
        try:
            device = self._topics.parse_device(message.topic)
            known = self._read(device, message)
        except ContractError:
            return []
        topics = [self._topics.model_desired(device), *self._channels.get(device, ())]
        found = [wanted[topic] for topic in topics if topic in wanted]
        return [one for one in found if one.payload and one.sequence > known]

    def _read(self, device: str, message: Message) -> int:
        """Return the highest sequence that a device knows, as far as its message says."""
        if message.topic == self._topics.info(device):
            info = decode(DeviceInfo, message.payload)
            channels = (info.channel, *info.models.values())
            self._channels[device] = tuple(self._topics.channel_desired(one) for one in channels)
            return 0
        return decode(ModelReport, message.payload).trust.sequence_high
