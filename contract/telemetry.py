"""How a device says that it is well, and what is wrong with it."""

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from contract.artifacts import VERSION_PATTERN
from contract.records import Flag, Integer, Items, Maybe, Nested, Number, Record, Table, Text, rule
from contract.stamps import TIME_PATTERN, ULID_PATTERN
from contract.topics import NAME_PATTERN

CODE_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"

_TIME = Text(TIME_PATTERN)
_MEGABYTES = Number(0, 1e9, digits=1)
_MILLISECONDS = Number(0, 1e9, digits=3)
_CELSIUS = Maybe(Number(-300, 300, digits=1))
_MESSAGE = Text(max_length=1000)


@dataclass(frozen=True)
class OutboxLoad(Record):
    """What waits for the broker."""

    messages: int = rule(Integer())
    bytes: int = rule(Integer())


@dataclass(frozen=True)
class Timing(Record):
    """How long the newest `n` inferences took, in milliseconds."""

    p50: float = rule(_MILLISECONDS)
    p95: float = rule(_MILLISECONDS)
    max: float = rule(_MILLISECONDS)
    n: int = rule(Integer())


@dataclass(frozen=True)
class TpuHealth(Record):
    """The Edge TPU; its temperature is None where the driver does not tell it."""

    present: bool = rule(Flag())
    temp_c: Optional[float] = rule(_CELSIUS)


@dataclass(frozen=True)
class CpuHealth(Record):
    """The processor: its temperature, and how busy all cores were since the last time, in percent."""

    temp_c: Optional[float] = rule(_CELSIUS)
    percent: float = rule(Number(0, 100, digits=1))


@dataclass(frozen=True)
class Memory(Record):
    """Memory that programs could still have, and what the agent and its workers hold; MB of 10**6 bytes."""

    free_mb: float = rule(_MEGABYTES)
    rss_mb: float = rule(_MEGABYTES)


@dataclass(frozen=True)
class Disk(Record):
    """Room on the disk of the agent's state, and what the agent has written since its start, in MB."""

    free_mb: float = rule(_MEGABYTES)
    written_mb: float = rule(_MEGABYTES)


@dataclass(frozen=True)
class MqttHealth(Record):
    """The connection to the broker."""

    reconnects: int = rule(Integer())


@dataclass(frozen=True)
class ActiveProblem(Record):
    """Something that is wrong now; it is listed while it is true."""

    code: str = rule(Text(CODE_PATTERN))
    message: str = rule(_MESSAGE)
    since: str = rule(_TIME)


@dataclass(frozen=True)
class ShadowResult(Record):
    """How a shadow model does beside the serving one: inputs both have seen, and how often they agreed."""

    version: str = rule(Text(VERSION_PATTERN))
    compared: int = rule(Integer())
    agreed: int = rule(Integer())
    skipped: int = rule(Integer())
    p50_ms: float = rule(_MILLISECONDS)


@dataclass(frozen=True)
class Telemetry(Record):
    """How a device is; published every 30 seconds. `labels` counts predictions since the start by label."""

    ts: str = rule(_TIME)
    boot: str = rule(Text(ULID_PATTERN))
    uptime_s: float = rule(Number(0, 1e12, digits=1))
    predictions_total: int = rule(Integer())
    errors_total: int = rule(Integer())
    dropped_total: int = rule(Integer())
    outbox: OutboxLoad = rule(Nested(OutboxLoad))
    inference_ms: Timing = rule(Nested(Timing))
    fps: float = rule(Number(0, 1e9, digits=2))
    tpu: TpuHealth = rule(Nested(TpuHealth))
    cpu: CpuHealth = rule(Nested(CpuHealth))
    ram: Memory = rule(Nested(Memory))
    disk: Disk = rule(Nested(Disk))
    mqtt: MqttHealth = rule(Nested(MqttHealth))
    labels: Dict[str, int] = rule(Table(Integer(), max_items=64))
    problems: Tuple[ActiveProblem, ...] = rule(Items(Nested(ActiveProblem), max_items=32))
    shadow: Optional[ShadowResult] = rule(Maybe(Nested(ShadowResult)), default=None, omit=True)
    clock_synced: bool = rule(Flag(), default=True, omit=True)


@dataclass(frozen=True)
class ErrorReport(Record):
    """One occurrence of an error, as it happens; `source` names whose input it was about, if any."""

    ts: str = rule(_TIME)
    boot: str = rule(Text(ULID_PATTERN))
    code: str = rule(Text(CODE_PATTERN))
    message: str = rule(_MESSAGE)
    hint: str = rule(_MESSAGE, default="")
    source: Optional[str] = rule(Maybe(Text(NAME_PATTERN)), default=None)
    clock_synced: bool = rule(Flag(), default=True, omit=True)
