"""Which simulated devices misbehave, and how: rules of a file (docs/rehearsal.md), dealt out by a seed."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from contract.errors import MessageError
from contract.records import Integer, Items, Nested, Number, Record, Text, load_record, rule
from contract.topics import DEVICE_PATTERN
from edge_agent.config import read_table, refuse_unknown
from edge_agent.errors import ConfigError

FAILS_SELFTEST = "fails_selftest"
CRASHES_IN_SOAK = "crashes_in_soak"
SLOW_LINK = "slow_link"
OFFLINE = "offline"
REBOOTS = "reboots"
DISK_FULL = "disk_full"
NEVER_REPORTS = "never_reports"
REPORTS_TWICE = "reports_twice"
KINDS = (
    FAILS_SELFTEST,
    CRASHES_IN_SOAK,
    SLOW_LINK,
    OFFLINE,
    REBOOTS,
    DISK_FULL,
    NEVER_REPORTS,
    REPORTS_TWICE,
)
_MAX_RULES = 64
_MAX_NAMED = 1000


@dataclass(frozen=True)
class Fault(Record):
    """What is wrong with some devices: a share of them, or those that are named.

    Attributes:
        kind: one of KINDS.
        share: of all devices, 0 to 1; no device gets two faults.
        devices: their names.
        after_chunks: with this chunk of a download a device goes offline or reboots.
        for_s: how long it is away, or its disk full; 0 is for ever. Who reboots is away a second at least.
        crash_after_s: how long a model that crashes has answered by then.
        bytes_per_s: how fast a slow link is.
    """

    kind: str = rule(Text(choices=KINDS))
    share: float = rule(Number(0, 1), default=0.0)
    devices: Tuple[str, ...] = rule(Items(Text(DEVICE_PATTERN), max_items=_MAX_NAMED), default=())
    after_chunks: int = rule(Integer(1), default=2)
    for_s: float = rule(Number(0, 86400), default=0.0)
    crash_after_s: float = rule(Number(0, 86400), default=0.5)
    bytes_per_s: float = rule(Number(1, 1e9), default=64 * 1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.share > 0) == bool(self.devices):
            raise MessageError(f"{self.kind} needs either a share above 0 or devices")

    @property
    def spoils(self) -> bool:
        """Whether a device with it never runs the release."""
        is_model = self.kind in (FAILS_SELFTEST, CRASHES_IN_SOAK)
        return is_model or (self.kind in (OFFLINE, DISK_FULL) and not self.for_s)

    @property
    def stops(self) -> bool:
        """Whether a device with it never comes to an end at all."""
        return self.kind in (OFFLINE, DISK_FULL) and not self.for_s


@dataclass(frozen=True)
class FaultFile(Record):
    """All rules of one rehearsal."""

    faults: Tuple[Fault, ...] = rule(Items(Nested(Fault), max_items=_MAX_RULES))


def load_faults(path: Path) -> Tuple[Fault, ...]:
    """Read and check a file of rules.

    Raises:
        ConfigError: it is absent or not TOML, a key is unknown, or a value is not allowed.
    """
    raw = read_table(path)
    refuse_unknown(FaultFile, raw)
    entries = raw.get("faults")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            refuse_unknown(Fault, entry, "faults.")
    try:
        return load_record(FaultFile, raw).faults
    except MessageError as error:
        raise ConfigError("config_value", f"{path}: {error}", "see docs/rehearsal.md") from error


def deal(faults: Sequence[Fault], devices: Sequence[str], seed: int) -> Dict[str, Fault]:
    """Return which device has which fault; the same for the same seed.

    Args:
        faults: the rules.
        devices: every device's name.
        seed: chooses the devices of a share.

    Raises:
        ConfigError: a name is no simulated device, is named twice, or there are more shares than devices.
    """
    found: Dict[str, Fault] = {}
    for fault in faults:
        for name in fault.devices:
            if name not in devices or name in found:
                raise _refusal(f"{name} is no simulated device, or has two faults")
            found[name] = fault
    rest: List[str] = [name for name in devices if name not in found]
    random.Random(seed).shuffle(rest)
    for fault in faults:
        count = round(fault.share * len(devices))
        if count > len(rest):
            raise _refusal("the shares are more than all devices")
        found.update(dict.fromkeys(rest[:count], fault))
        rest = rest[count:]
    return found


def _refusal(message: str) -> ConfigError:
    return ConfigError("config_value", f"faults: {message}", "see docs/rehearsal.md")


def has_kind(fault: Optional[Fault], *kinds: str) -> bool:
    """Say whether a device's fault, if it has any, is one of these."""
    return fault is not None and fault.kind in kinds
