"""The agent's one TOML file, read into frozen dataclasses that have checked themselves."""

import dataclasses
import difflib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Type

from contract.errors import MessageError
from contract.records import Flag, Integer, Maybe, Nested, Number, Record, Text, load_record, rule
from contract.topics import DEFAULT_BASE, DEVICE_PATTERN, NAME_PATTERN
from edge_agent.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PATH = Text(max_length=4096)
# The kernel takes 107 bytes.
_SOCKET_PATH = Text(r"^/[\x21-\x7e]*$", max_length=107)
_MIB = 1024 * 1024


@dataclass(frozen=True)
class MqttConfig(Record):
    """Where the broker is and how patient we are with it."""

    host: str = rule(Text(), default="127.0.0.1")
    port: int = rule(Integer(1, 65535), default=1883)
    base: str = rule(Text(), default=DEFAULT_BASE)
    keepalive_s: int = rule(Integer(5, 3600), default=30)
    reconnect_min_s: float = rule(Number(0.1, 60), default=1)
    reconnect_max_s: float = rule(Number(1, 3600), default=60)


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
    queue: int = rule(Integer(1, 10000), default=64)
    timeout_s: float = rule(Number(0.1, 600), default=2)
    load_timeout_s: float = rule(Number(1, 600), default=60)
    worker_memory_bytes: int = rule(Integer(64 * _MIB), default=768 * _MIB)
    max_pixels: int = rule(Integer(1024, 100_000_000), default=16_000_000)


@dataclass(frozen=True)
class UpdateConfig(Record):
    """Limits of a transfer."""

    window_bytes: int = rule(Integer(1024, 4 * _MIB), default=_MIB)
    max_release_bytes: int = rule(Integer(1024), default=64 * _MIB)
    stall_s: float = rule(Number(0.1, 3600), default=5)
    reserve_bytes: int = rule(Integer(), default=64 * _MIB)


@dataclass(frozen=True)
class OutboxConfig(Record):
    """How much may wait for the broker."""

    max_bytes: int = rule(Integer(64 * 1024), default=32 * _MIB)
    in_flight: int = rule(Integer(1, 1000), default=20)


@dataclass(frozen=True)
class AgentConfig(Record):
    """Everything the agent is told. Only `device`, `state_dir` and `root` have no default.

    `root` is the signed root of trust that the board was enrolled with.
    """

    device: str = rule(Text(DEVICE_PATTERN))
    state_dir: str = rule(_PATH)
    root: str = rule(_PATH)
    channel: str = rule(Text(NAME_PATTERN), default="stable")
    hardware: str = rule(Text(max_length=64), default="coral-dev-board")
    edgetpu: Optional[str] = rule(Maybe(Text(max_length=32)), default=None)
    mqtt: MqttConfig = rule(Nested(MqttConfig), default=MqttConfig())
    http: HttpConfig = rule(Nested(HttpConfig), default=HttpConfig())
    inference: InferenceConfig = rule(Nested(InferenceConfig), default=InferenceConfig())
    update: UpdateConfig = rule(Nested(UpdateConfig), default=UpdateConfig())
    outbox: OutboxConfig = rule(Nested(OutboxConfig), default=OutboxConfig())


def load(path: Path) -> AgentConfig:
    """Read and check the configuration.

    Raises:
        ConfigError: the file is absent or not TOML, a key is unknown (the nearest known one is named), or a
            value is not allowed.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "config_unreadable", f"cannot read {path}: {error.strerror}", "name another file with -c FILE"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config_syntax", f"{path} is not TOML: {error}", "correct that line") from error
    _refuse_unknown(AgentConfig, raw, "")
    try:
        return load_record(AgentConfig, raw)
    except MessageError as error:
        raise ConfigError("config_value", f"{path}: {error}", "correct that value") from error


def _refuse_unknown(kind: Type[Record], raw: Dict[str, Any], prefix: str) -> None:
    known = {entry.name: entry.type for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise ConfigError(
                "config_unknown_key", f"unknown key {prefix}{key}", f"did you mean {prefix}{near[0]}?"
            )
        section = known[key]
        if isinstance(value, dict) and isinstance(section, type) and issubclass(section, Record):
            _refuse_unknown(section, value, f"{prefix}{key}.")
