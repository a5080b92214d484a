"""What devices say about themselves, folded from retained messages. Pure state: no clock, no connection."""

import logging
from dataclasses import dataclass, replace

from contract.codec import decode
from contract.errors import ContractError, TopicError
from contract.messages import DeviceInfo, ModelReport, Problem
from contract.telemetry import Telemetry
from contract.topics import OFFLINE, ONLINE, Topics

STATUS = "status"
INFO = "info"
REPORTED = "model/reported"
REPORTED_BY_NAME = "model/+/reported"
DESIRED = "model/desired"
TELEMETRY = "telemetry"
_ERROR_CHARACTERS = 500
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """The newest that one device said; None is what it never said.

    `is_live` says whether the report came while we listened, not from the broker's memory.
    """

    name: str
    online: bool | None = None
    info: DeviceInfo | None = None
    report: ModelReport | None = None
    is_live: bool = False
    desired: bytes | None = None
    telemetry: Telemetry | None = None

    @property
    def is_known(self) -> bool:
        """Whether the device itself ever said something; an order for it does not count."""
        return self.online is not None or self.info is not None or self.report is not None

    @property
    def status(self) -> str | None:
        """`online`, `stopped` on purpose, or `offline`: lost without a word."""
        if self.online is None:
            return None
        if self.online:
            return "online"
        return "stopped" if self.info is not None and self.info.stopped is not None else "offline"

    @property
    def channels(self) -> tuple[str, ...]:
        """Whose releases the device takes."""
        return (self.info.channel, *self.info.models.values()) if self.info else ()

    def is_pinned(self, channel: str) -> bool:
        """Whether a release of its own keeps it from a channel's; only the main model can have one."""
        return self.desired is not None and self.info is not None and self.info.channel == channel


class Fleet:
    """Devices by name. With a channel, a device's report is that of its model that follows it, and
    `channel_release` is what is retained for the channel.
    """

    def __init__(self, topics: Topics, channel: str | None = None) -> None:
        self._topics = topics
        self._channel = channel
        self.channel_release: bytes | None = None
        self.devices: dict[str, Device] = {}

    def filters(self) -> list[str]:
        """Return the filters whose messages `observe` understands."""
        found = [
            self._topics.every_device(leaf) for leaf in (STATUS, INFO, REPORTED, REPORTED_BY_NAME, DESIRED)
        ]
        return found if self._channel is None else [*found, self._topics.channel_desired(self._channel)]

    def observe(self, topic: str, payload: bytes, retained: bool) -> str | None:
        """Take in one message.

        Returns:
            The device that it changed, or None if it is not about a device or not understood.
        """
        if self._channel is not None and topic == self._topics.channel_desired(self._channel):
            self.channel_release = payload or None
            return None
        try:
            name = self._topics.parse_device(topic)
        except TopicError:
            return None
        try:
            changed = self._fold(self.devices.get(name, Device(name)), topic, payload, retained)
        except ContractError as error:
            _log.warning("ignored a message on %s: %s", topic, error)
            return None
        if changed is None:
            return None
        self.devices[name] = changed
        return name

    def get(self, name: str) -> Device:
        """Return a device, also one that was never heard of."""
        return self.devices.get(name, Device(name))

    def known(self) -> list[Device]:
        """Return the devices that ever said something, by name."""
        return sorted((one for one in self.devices.values() if one.is_known), key=lambda one: one.name)

    def on_channel(self, channel: str) -> list[Device]:
        """Return the devices that follow a channel, also those that are offline, by name."""
        return [one for one in self.known() if channel in one.channels]

    def _fold(self, device: Device, topic: str, payload: bytes, retained: bool) -> Device | None:
        if topic == self._topics.status(device.name) and payload in (ONLINE, OFFLINE):
            return replace(device, online=payload == ONLINE)
        if topic == self._topics.info(device.name) and payload:
            return replace(device, info=decode(DeviceInfo, payload))
        if topic == self._topics.model_reported(device.name, self._model(device)) and payload:
            report = decode(ModelReport, payload)
            if _is_older(report, device.report):
                return None
            return replace(device, report=report, is_live=not retained)
        if topic == self._topics.telemetry(device.name) and payload:
            return replace(device, telemetry=decode(Telemetry, payload))
        if topic == self._topics.model_desired(device.name):
            return replace(device, desired=payload or None)
        return None

    def _model(self, device: Device) -> str:
        """Return the name of the device's model that follows the channel; "" is the main one."""
        others = device.info.models if device.info else {}
        return next((name for name, channel in others.items() if channel == self._channel), "")


@dataclass(frozen=True)
class Outcome:
    """How a release went on one device; `seconds` since it was published."""

    device: str
    phase: str
    error: Problem | None
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether the release runs."""
        return self.phase == "active" and self.error is None


@dataclass(frozen=True)
class Wanted:
    """The release that devices shall run: its sequence, and the SHA-256 of its model."""

    sequence: int
    model_sha256: str


def judge(
    device: Device, wanted: Wanted, seconds: float, before: ModelReport | None = None
) -> Outcome | None:
    """Say how a release ended on a device, or None while it has not.

    Args:
        device: the newest that it said.
        wanted: the release.
        seconds: since the release was published.
        before: what it had reported until then.
    """
    report = device.report
    if report is None or _is_of_an_old_boot(device, report):
        return None
    if report.sequence is not None and report.sequence > wanted.sequence:
        error = Problem("superseded", f"release {report.sequence} came in between")
        return Outcome(device.name, report.phase, error, seconds)
    if _runs(report, wanted):
        return Outcome(device.name, report.phase, None, seconds)
    ended = report.sequence == wanted.sequence and report.phase in ("failed", "rolled_back")
    if ended or _is_refusal(device, report, wanted, before):
        error = report.error or Problem("no_reason", "the device gave no reason")
        return Outcome(device.name, report.phase, error, seconds)
    return None


def give_up(device: Device, wanted: Wanted, seconds: float) -> Outcome:
    """Say what is known of a device that did not finish in time."""
    report = device.report
    started = report is not None and report.sequence == wanted.sequence
    phase = report.phase if report is not None and started else "unknown"
    if device.online is False:
        what, hint = "the device is offline", "the release waits for it on the broker"
    elif started:
        what, hint = f"still {phase} after {seconds:.0f} s", "try a longer --timeout"
    else:
        what, hint = f"it said nothing about this release for {seconds:.0f} s", "look at its log"
    if report is not None and report.error is not None:
        what += f"; its last error: {report.error.message}"[:_ERROR_CHARACTERS]
    return Outcome(device.name, phase, Problem("timeout", what, hint), seconds)


def _is_older(report: ModelReport, known: ModelReport | None) -> bool:
    """Whether the same boot has said something since; one that does not count its reports says n = 0."""
    return known is not None and report.boot == known.boot and 0 < report.n < known.n


def _is_of_an_old_boot(device: Device, report: ModelReport) -> bool:
    """Whether the device has started again since: it says who it is before it says anything else."""
    return device.info is not None and report.boot is not None and report.boot != device.info.boot


def _runs(report: ModelReport, wanted: Wanted) -> bool:
    if report.phase != "active":
        return False
    if report.sequence == wanted.sequence:
        return True
    # A device that restarted has forgotten which sequence brought it what it runs.
    current = report.current
    same_model = current is not None and current.sha256 == wanted.model_sha256
    return report.sequence is None and same_model and report.trust.sequence_high == wanted.sequence


def _is_refusal(device: Device, report: ModelReport, wanted: Wanted, before: ModelReport | None) -> bool:
    """Whether a device refused the release: it does not believe the number of one that it does not trust,
    so the report still names the release before, or none. A failure it had reported already is not meant.
    """
    is_new = device.is_live and report.error is not None and (before is None or before.error != report.error)
    return is_new and report.phase == "failed" and (report.sequence or 0) < wanted.sequence
