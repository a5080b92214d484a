"""Builds and parses every MQTT topic; nobody else spells one. The table of topics is docs/mqtt.md."""

import re
from dataclasses import dataclass
from typing import List, NamedTuple, Optional

from contract.errors import TopicError

DEFAULT_BASE = "coral"
HOME_ASSISTANT = "homeassistant"
ONLINE = b"online"
OFFLINE = b"offline"

DEVICE_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
BLOB_ID_PATTERN = r"^[0-9a-f]{32}$"
BASE_PATTERN = r"^[A-Za-z0-9_-]{1,32}(/[A-Za-z0-9_-]{1,32}){0,3}$"
_CHUNK_PATTERN = r"^(0|[1-9][0-9]{0,4})$"

BLOB_ID_DIGITS = 32


class ChunkTopic(NamedTuple):
    """Which chunk of which blob a topic carries; `number` is None for the index."""

    blob_id: str
    number: Optional[int]


@dataclass(frozen=True)
class Topics:
    """The topics below one base. Every method returns one topic, or one filter where it says so.

    Raises:
        TopicError: a base, device, source, channel or blob id that cannot stand in a topic.
    """

    base: str = DEFAULT_BASE

    def __post_init__(self) -> None:
        _checked(self.base, BASE_PATTERN, "base topic")

    def status(self, device: str) -> str:
        """Retained `online` or `offline`; also the last will."""
        return self._of(device, "status")

    def info(self, device: str) -> str:
        """Retained birth document, DeviceInfo."""
        return self._of(device, "info")

    def prediction(self, device: str, source: str) -> str:
        """One Prediction per message, never retained."""
        return self._of(device, "prediction/" + _checked(source, NAME_PATTERN, "source"))

    def state(self, device: str, source: str) -> str:
        """Retained: a source's last Prediction, on a change of label and at most once a second."""
        return self._of(device, "state/" + _checked(source, NAME_PATTERN, "source"))

    def image(self, device: str, source: str) -> str:
        """Retained: the JPEG or PNG that a source's last prediction was about; off by default."""
        return self._of(device, "image/" + _checked(source, NAME_PATTERN, "source"))

    def telemetry(self, device: str) -> str:
        """Retained Telemetry."""
        return self._of(device, "telemetry")

    def error(self, device: str) -> str:
        """One ErrorReport per occurrence."""
        return self._of(device, "error")

    def sample(self, device: str) -> str:
        """A Sample: an input that is worth learning from."""
        return self._of(device, "sample")

    def feedback(self, device: str) -> str:
        """Feedback on an earlier prediction."""
        return self._of(device, "feedback")

    def config_set(self, device: str) -> str:
        """A part of the configuration that may change while the agent runs, as a JSON object."""
        return self._of(device, "config/set")

    def config_reported(self, device: str) -> str:
        """Retained: the configuration in effect, without secrets."""
        return self._of(device, "config/reported")

    def home_assistant(self, device: str, prefix: str = HOME_ASSISTANT) -> str:
        """Retained: Home Assistant's device discovery, below a prefix of its own."""
        _checked(prefix, BASE_PATTERN, "discovery prefix")
        return "{}/device/coral_{}/config".format(prefix, _checked(device, DEVICE_PATTERN, "device id"))

    def model_desired(self, device: str) -> str:
        """Retained signed release for this one device; overrides its channel."""
        return self._of(device, "model/desired")

    def model_reported(self, device: str, name: str = "") -> str:
        """Retained ModelReport of the main model, or of another by its name on the device."""
        place = _checked(name, NAME_PATTERN, "model name") + "/" if name else ""
        return self._of(device, f"model/{place}reported")

    def model_need(self, device: str) -> str:
        """ChunkNeed: what a device could not get."""
        return self._of(device, "model/need")

    def command(self, device: str) -> str:
        """Signed Command, never retained."""
        return self._of(device, "command")

    def command_response(self, device: str) -> str:
        """What came of a Command: CommandAnswer."""
        return self._of(device, "command/response")

    def infer(self, device: str) -> str:
        """Inference requests to a device."""
        return self._of(device, "infer")

    def infer_response(self, device: str) -> str:
        """The device's own answer topic, for clients without MQTT 5."""
        return self._of(device, "infer/response")

    def client(self, name: str) -> str:
        """An answer topic that a client owns."""
        return "{}/_client/{}".format(self.base, _checked(name, NAME_PATTERN, "client"))

    def channel_desired(self, channel: str) -> str:
        """Retained signed release for a channel."""
        return "{}/_channel/{}/desired".format(self.base, _checked(channel, NAME_PATTERN, "channel"))

    def blob_index(self, blob_id: str) -> str:
        """Retained chunk hashes of a blob."""
        return "{}/_blob/{}/index".format(self.base, _checked(blob_id, BLOB_ID_PATTERN, "blob id"))

    def blob_chunk(self, blob_id: str, number: int) -> str:
        """Retained chunk `number` of a blob."""
        return "{}/_blob/{}/{}".format(self.base, _checked(blob_id, BLOB_ID_PATTERN, "blob id"), number)

    def trust_root(self, version: int) -> str:
        """Retained root of trust `version`, signed by the one before and by itself."""
        return f"{self.base}/_trust/root/{version}"

    def trust_timestamp(self) -> str:
        """Retained Timestamp."""
        return f"{self.base}/_trust/timestamp"

    def rollout(self, rollout: str) -> str:
        """Retained plan and progress of a rollout, for dashboards."""
        return "{}/_rollout/{}".format(self.base, _checked(rollout, NAME_PATTERN, "rollout"))

    def data_info(self, dataset: str) -> str:
        """Retained DataInfo of a stream of samples; empty when it is over."""
        return self._data(dataset, "info")

    def data_part(self, dataset: str, number: int) -> str:
        """DataPart `number` of a stream, never retained."""
        return self._data(dataset, str(number))

    def data_position(self, dataset: str) -> str:
        """DataPosition: how far a follower of the stream is, and what it wants."""
        return self._data(dataset, "position")

    def training(self, run: str, model: str) -> str:
        """TrainingReport of one model of a run, never retained."""
        return "{}/_train/{}/{}".format(
            self.base, _checked(run, NAME_PATTERN, "run"), _checked(model, NAME_PATTERN, "model name")
        )

    def every_device(self, leaf: str) -> str:
        """Filter: `leaf` (as in the table, `status`, `prediction/#`, ...) of every device."""
        return f"{self.base}/+/{leaf}"

    def every_channel(self) -> str:
        """Filter: the signed release of every channel."""
        return f"{self.base}/_channel/+/desired"

    def every_index(self) -> str:
        """Filter: the chunk hashes of every blob."""
        return f"{self.base}/_blob/+/index"

    def parse_chunk(self, topic: str) -> ChunkTopic:
        """Read a blob topic.

        Raises:
            TopicError: not the index or a chunk of a blob; a number with leading zeros is not one.
        """
        parts = self._parts(topic)
        if len(parts) == 3 and parts[0] == "_blob" and re.fullmatch(BLOB_ID_PATTERN, parts[1]):
            if parts[2] == "index":
                return ChunkTopic(parts[1], None)
            if re.fullmatch(_CHUNK_PATTERN, parts[2]):
                return ChunkTopic(parts[1], int(parts[2]))
        raise TopicError(f"not a blob topic: {topic[:120]!r}")

    def parse_device(self, topic: str) -> str:
        """Return the device that a device topic belongs to.

        Raises:
            TopicError: not a device's topic.
        """
        parts = self._parts(topic)
        if len(parts) >= 2 and re.fullmatch(DEVICE_PATTERN, parts[0]):
            return parts[0]
        raise TopicError(f"not a device topic: {topic[:120]!r}")

    def is_reply_allowed(self, topic: str, device: str) -> bool:
        """Say whether a device may answer there; anywhere else a requester could misuse its rights."""
        if topic == self.infer_response(device):
            return True
        parts = topic[len(self.base) + 1 :].split("/")
        own = topic.startswith(self.base + "/") and len(parts) >= 2 and parts[0] == "_client"
        return own and len(topic) <= 256 and all(part and not re.search(r"[+#\x00]", part) for part in parts)

    def _of(self, device: str, leaf: str) -> str:
        return "{}/{}/{}".format(self.base, _checked(device, DEVICE_PATTERN, "device id"), leaf)

    def _data(self, dataset: str, leaf: str) -> str:
        return "{}/_data/{}/{}".format(self.base, _checked(dataset, NAME_PATTERN, "data set"), leaf)

    def _parts(self, topic: str) -> List[str]:
        if not topic.startswith(self.base + "/"):
            raise TopicError(f"not below {self.base}: {topic[:120]!r}")
        return topic[len(self.base) + 1 :].split("/")


def _checked(value: str, pattern: str, what: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise TopicError(f"{what} must look like {pattern}, got {value!r}")
    return value
