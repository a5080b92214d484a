"""The agent's configuration: a TOML file over what enrolment wrote, read into frozen dataclasses."""

import dataclasses
import difflib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple, Type, Union

from contract.errors import MessageError
from contract.records import (
    Flag,
    Integer,
    Items,
    Maybe,
    Nested,
    Number,
    Record,
    Table,
    Text,
    load_record,
    rule,
)
from contract.topics import BASE_PATTERN, DEFAULT_BASE, DEVICE_PATTERN, HOME_ASSISTANT, NAME_PATTERN
from edge_agent.errors import ConfigError
from edge_agent.source_config import BUILT_IN, MAX_SOURCES, SourceConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PATH = Text(max_length=4096)
# The kernel takes 107 bytes.
_SOCKET_PATH = Text(r"^/[\x21-\x7e]*$", max_length=107)
_MIB = 1024 * 1024
_HOUR = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_QUIET_HOURS = f"^({_HOUR}-{_HOUR})?$"
# What enrolment writes beside the person's own file.
ENROLLED = "enrolled.toml"
_Tree = Dict[str, Any]
# What the shadow model is called beside the names of `models`.
SHADOW = "shadow"


@dataclass(frozen=True)
class MqttConfig(Record):
    """Where the broker is, how it knows us and we know it, and how patient we are with it.

    With `ca_file` the connection is TLS; `cert_file` and `key_file` are our own certificate. The user name is
    the device's unless told otherwise.
    """

    host: str = rule(Text(), default="127.0.0.1")
    port: int = rule(Integer(1, 65535), default=1883)
    base: str = rule(Text(BASE_PATTERN), default=DEFAULT_BASE)
    keepalive_s: int = rule(Integer(5, 3600), default=30)
    reconnect_min_s: float = rule(Number(0.1, 60), default=1)
    reconnect_max_s: float = rule(Number(1, 3600), default=60)
    username: Optional[str] = rule(Maybe(Text()), default=None)
    password_file: Optional[str] = rule(Maybe(_PATH), default=None)
    ca_file: Optional[str] = rule(Maybe(_PATH), default=None)
    cert_file: Optional[str] = rule(Maybe(_PATH), default=None)
    key_file: Optional[str] = rule(Maybe(_PATH), default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.cert_file is None) != (self.key_file is None):
            raise MessageError("cert_file and key_file go together")
        if self.cert_file is not None and self.ca_file is None:
            raise MessageError("ca_file is missing: with a certificate of our own, it says whose we believe")


@dataclass(frozen=True)
class HttpConfig(Record):
    """Local serving; port 0 picks a free one."""

    enabled: bool = rule(Flag(), default=True)
    host: str = rule(Text(), default="127.0.0.1")
    port: int = rule(Integer(0, 65535), default=8080)
    max_body_bytes: int = rule(Integer(1024, 64 * _MIB), default=4 * _MIB)
    timeout_s: float = rule(Number(0.1, 600), default=10)
    token_file: Optional[str] = rule(Maybe(_PATH), default=None)
    socket: Optional[str] = rule(Maybe(_SOCKET_PATH), default=None)


@dataclass(frozen=True)
class InferenceConfig(Record):
    """How predictions are made, and the limits of the process that makes them."""

    top_k: int = rule(Integer(1, 100), default=3)
    min_score: float = rule(Number(0, 1), default=0.1)
    queue: int = rule(Integer(1, 10000), default=64)
    timeout_s: float = rule(Number(0.1, 600), default=1.8)
    load_timeout_s: float = rule(Number(1, 600), default=60)
    worker_memory_bytes: int = rule(Integer(64 * _MIB), default=768 * _MIB)
    max_pixels: int = rule(Integer(1024, 100_000_000), default=16_000_000)


@dataclass(frozen=True)
class UpdateConfig(Record):
    """Limits of a transfer, and when there is none. A cap of 0 is none; so are quiet hours of ""."""

    window_bytes: int = rule(Integer(1024, _MIB), default=_MIB // 4)
    max_bytes_per_s: int = rule(Integer(), default=0)
    quiet_hours: str = rule(Text(_QUIET_HOURS), default="")
    max_release_bytes: int = rule(Integer(1024), default=64 * _MIB)
    stall_s: float = rule(Number(0.1, 3600), default=5)
    reserve_bytes: int = rule(Integer(), default=64 * _MIB)

    def __post_init__(self) -> None:
        super().__post_init__()
        begin, end = self.quiet_minutes() or (0, 1)
        if begin == end:
            raise MessageError(
                f"quiet_hours must end at another time than they begin, got {self.quiet_hours!r}"
            )

    def quiet_minutes(self) -> Optional[Tuple[int, int]]:
        """Return in which minute of the day the quiet hours begin, and in which they are over."""
        if not self.quiet_hours:
            return None
        digits = self.quiet_hours
        return 60 * int(digits[0:2]) + int(digits[3:5]), 60 * int(digits[6:8]) + int(digits[9:11])


@dataclass(frozen=True)
class OutboxConfig(Record):
    """How much may wait for the broker."""

    max_bytes: int = rule(Integer(64 * 1024), default=32 * _MIB)
    in_flight: int = rule(Integer(1, 1000), default=20)


@dataclass(frozen=True)
class SamplingConfig(Record):
    """Which inputs are sent away to learn from, and what is remembered for feedback.

    An input is hard when the best score is below `confidence`, when the best is ahead of the second by less
    than `margin`, or when the entropy of the best labels, 0 to 1, is above `entropy`.
    """

    enabled: bool = rule(Flag(), default=False)
    confidence: float = rule(Number(0, 1), default=0.5)
    margin: float = rule(Number(0, 1), default=0.1)
    entropy: float = rule(Number(0, 1), default=0.9)
    bytes_per_day: int = rule(Integer(), default=4 * _MIB)
    min_interval_s: float = rule(Number(0, 86400), default=10)
    remember_inputs: int = rule(Integer(0, 10_000), default=64)
    remember_bytes: int = rule(Integer(), default=4 * _MIB)


@dataclass(frozen=True)
class TelemetryConfig(Record):
    """How often the device tells how it is; 0 is never."""

    every_s: float = rule(Number(0, 86400), default=30)


@dataclass(frozen=True)
class HomeAssistantConfig(Record):
    """Whether Home Assistant is told of this device, and where it listens."""

    enabled: bool = rule(Flag(), default=False)
    prefix: str = rule(Text(BASE_PATTERN), default=HOME_ASSISTANT)


@dataclass(frozen=True)
class ModelConfig(Record):
    """A model beside the main one, which takes the releases of a channel of its own."""

    channel: str = rule(Text(NAME_PATTERN))


@dataclass(frozen=True)
class ShadowConfig(Record):
    """A model that is only compared with the main one: its channel, its share of the inputs, its budget.

    Without a channel it is the CPU model of the release that the Edge TPU runs.
    """

    channel: Optional[str] = rule(Maybe(Text(NAME_PATTERN)), default=None)
    share: float = rule(Number(0, 1), default=0.1)
    max_latency_ms: float = rule(Number(1, 60_000), default=500)
    max_temp_c: float = rule(Number(0, 120), default=80)


@dataclass(frozen=True)
class AgentConfig(Record):
    """Everything the agent is told. Only `device`, `state_dir` and `root` have no default.

    `root` is the signed root of trust that the board was enrolled with. `tags` are the names of groups of
    devices that this one is in. `models` are further models by name, `sources` what asks by itself, or
    publishes less than every prediction, by name.
    """

    device: str = rule(Text(DEVICE_PATTERN))
    state_dir: str = rule(_PATH)
    root: str = rule(_PATH)
    channel: str = rule(Text(NAME_PATTERN), default="stable")
    hardware: str = rule(Text(max_length=64), default="coral-dev-board")
    edgetpu: Optional[str] = rule(Maybe(Text(max_length=32)), default=None)
    tags: Tuple[str, ...] = rule(Items(Text(NAME_PATTERN), max_items=16), default=())
    mqtt: MqttConfig = rule(Nested(MqttConfig), default=MqttConfig())
    http: HttpConfig = rule(Nested(HttpConfig), default=HttpConfig())
    inference: InferenceConfig = rule(Nested(InferenceConfig), default=InferenceConfig())
    update: UpdateConfig = rule(Nested(UpdateConfig), default=UpdateConfig())
    outbox: OutboxConfig = rule(Nested(OutboxConfig), default=OutboxConfig())
    sampling: SamplingConfig = rule(Nested(SamplingConfig), default=SamplingConfig())
    telemetry: TelemetryConfig = rule(Nested(TelemetryConfig), default=TelemetryConfig())
    home_assistant: HomeAssistantConfig = rule(Nested(HomeAssistantConfig), default=HomeAssistantConfig())
    models: Dict[str, ModelConfig] = rule(Table(Nested(ModelConfig), max_items=8), default={})
    shadow: Optional[ShadowConfig] = rule(Maybe(Nested(ShadowConfig)), default=None)
    sources: Dict[str, SourceConfig] = rule(Table(Nested(SourceConfig), max_items=MAX_SOURCES), default={})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (*self.models, *self.sources):
            if not re.fullmatch(NAME_PATTERN, name):
                raise MessageError(f"models and sources: a name must look like {NAME_PATTERN}, got {name!r}")
        if SHADOW in self.models:
            raise MessageError(f"models.{SHADOW}: the shadow model is called so, take another name")
        channels = [self.channel, *(model.channel for model in self.models.values())]
        if self.shadow is not None and self.shadow.channel is not None:
            channels.append(self.shadow.channel)
        elif self.shadow is not None and self.edgetpu is None:
            raise MessageError(
                "shadow.channel is missing: only with an Edge TPU can its CPU model be compared"
            )
        if len(set(channels)) < len(channels):
            raise MessageError(f"every model needs a channel of its own, got {', '.join(channels)}")
        for name, source in self.sources.items():
            if (source.kind is None) != (name in BUILT_IN):
                raise MessageError(f"sources.{name}: a source has a kind, except {' and '.join(BUILT_IN)}")
            if source.model and source.model not in self.models:
                raise MessageError(f"sources.{name}.model must be one of [models], got {source.model!r}")


def load(path: Path) -> AgentConfig:
    """Read and check the configuration: what enrolment wrote beside `path`, and over it the person's file.

    Tables are merged key by key; where both have a value, the person's counts.

    Args:
        path: the person's file; what enrolment wrote is ENROLLED in the same folder, if it is there.

    Raises:
        ConfigError: the board is not enrolled, a file cannot be read or is not TOML, a key is unknown (the
            nearest known one is named), or a value is not allowed. It names the file.
    """
    enrolled = path.with_name(ENROLLED)
    is_enrolled = os.path.lexists(str(enrolled))
    given = _read_known(enrolled) if is_enrolled else {}
    own = _read_known(path)
    raw = _lay_over(given, own)
    if "device" not in raw and not is_enrolled:
        said = f"this board is in no fleet yet: {path} names no device, and there is no {enrolled}"
        raise ConfigError(
            "not_enrolled", said, "on your own computer: deploy enroll HOST --broker mqtts://BROKER"
        )
    try:
        return load_record(AgentConfig, raw)
    except MessageError as error:
        file = _find_file(str(error), ((path, own), (enrolled, given)))
        raise ConfigError("config_value", f"{file}: {error}", "correct that value") from error


def read_table(path: Path) -> Dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is absent or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "config_unreadable", f"cannot read {path}: {error.strerror}", "name another file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError("config_syntax", f"{path} is not TOML: {error}", "correct that line") from error


def refuse_unknown(kind: Type[Record], raw: Dict[str, Any], prefix: str = "") -> None:
    """Refuse a key that a record, or one below it, does not have.

    Raises:
        ConfigError: it names the nearest known key.
    """
    known = {entry.name: entry.type for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise ConfigError(
                "config_unknown_key", f"unknown key {prefix}{key}", f"did you mean {prefix}{near[0]}?"
            )
        for path, section, table in _tables(known[key], value, prefix + key):
            refuse_unknown(section, table, path + ".")


def _read_known(path: Path) -> _Tree:
    raw = read_table(path)
    try:
        refuse_unknown(AgentConfig, raw)
    except ConfigError as error:
        raise ConfigError(error.code, f"{path}: {error.message}", error.hint) from error
    return raw


def _lay_over(below: _Tree, above: _Tree) -> _Tree:
    """Return both trees in one; where both have a value, that of `above`."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            value = _lay_over(under, value)
        merged[key] = value
    return merged


def _find_file(message: str, files: Sequence[Tuple[Path, _Tree]]) -> Path:
    """Return the first file that has the key with which a message begins; the first of all if none has."""
    keys = re.split(r"[.\[]", message.split(" ", 1)[0])
    return next((path for path, raw in files if _has(raw, keys)), files[0][0])


def _has(raw: Any, keys: Sequence[str]) -> bool:
    if not isinstance(raw, dict) or keys[0] not in raw:
        return False
    return len(keys) == 1 or not isinstance(raw[keys[0]], dict) or _has(raw[keys[0]], keys[1:])


def _tables(kind: Any, value: Any, path: str) -> Iterator[Tuple[str, Type[Record], Dict[str, Any]]]:
    """Yield each table whose keys are known, and its path: a record's, or each of a dict of records."""
    if not isinstance(value, dict):
        return
    if isinstance(kind, type) and issubclass(kind, Record):
        yield path, kind, value
    elif getattr(kind, "__origin__", None) is Union:
        for member in kind.__args__:
            yield from _tables(member, value, path)
    elif getattr(kind, "__origin__", None) is dict:
        for name, table in value.items():
            yield from _tables(kind.__args__[1], table, f"{path}.{name}")
