"""Which settings may change while the agent runs: orders on `config/set`, kept over the TOML file."""

import json
import logging
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from contract.codec import encode, parse_json
from contract.errors import MessageError
from contract.messages import ConfigReport, Problem
from contract.records import dump_record, load_record
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig, refuse_unknown
from edge_agent.errors import AgentError, ConfigError
from edge_agent.events import MessageArrived
from edge_agent.files import write_whole
from edge_agent.link import Link
from edge_agent.upkeep.config_page import mask

_log = logging.getLogger(__name__)
OVERRIDES = "overrides.json"
# Everything else asks for a restart; `*` is any name.
LIVE_KEYS = (
    "inference.top_k",
    "telemetry.every_s",
    "home_assistant.enabled",
    "sampling.enabled",
    "sampling.confidence",
    "sampling.margin",
    "sampling.entropy",
    "sources.*.publish",
    "sources.*.min_interval_s",
    "sources.*.window_s",
    "sources.*.min_score",
    "sources.*.image",
)
_ANY = "*"
_UNREADABLE = "config_order"

Tree = Dict[str, Any]


class LiveConfig:
    """The configuration in effect: the file, and over it what orders have changed.

    Attributes:
        current: the configuration in effect.
        overrides: the part of it that orders have changed.
        error: why the last order was refused, or what is kept from earlier ones is not used.
    """

    def __init__(self, config: AgentConfig, clock: Clock) -> None:
        """Take the file's configuration, and what earlier orders have left in its `state_dir`.

        What is left there and does not fit the file any more is not used; `report` says so.
        """
        self._file = config
        self._path = Path(config.state_dir) / OVERRIDES
        self._clock = clock
        self._topic = Topics(config.mqtt.base).config_reported(config.device)
        self.overrides: Tree = {}
        self.error: Optional[Problem] = None
        self.current = config
        self._attempt(self._restore)

    def order(self, message: MessageArrived, configure: Callable[[AgentConfig], None]) -> None:
        """Do what a message on `config/set` says, or nothing of it; `configure` takes the new configuration.

        A retained order would be done again after each restart, so it is ignored.
        """
        if message.retained:
            _log.warning("ignored a retained message on %s: an order is published once", message.topic)
        elif self._attempt(lambda: self._change(message.payload)):
            configure(self.current)
        message.acknowledge()

    def report(self, link: Link) -> None:
        """Say what is in effect."""
        report = ConfigReport(
            ts=self._clock.stamp(),
            config=mask(self.current),
            overrides=self.overrides,
            error=self.error,
            clock_synced=self._clock.is_synced(),
        )
        link.publish(self._topic, encode(report), retain=True)

    def _restore(self) -> None:
        if not self._path.exists():
            return
        overrides = _parse(self._path.read_bytes())
        refuse_frozen(overrides)
        self.current = override(self._file, overrides)
        self.overrides = overrides

    def _change(self, payload: bytes) -> None:
        changes = _parse(payload)
        refuse_frozen(changes)
        overrides = merge(self.overrides, changes)
        current = override(self._file, overrides)
        write_whole(self._path, json.dumps(overrides).encode("ascii"))
        self.overrides, self.current = overrides, current

    def _attempt(self, step: Callable[[], None]) -> bool:
        """Take a step; whether it went well. Why it did not is told in the report."""
        self.error = None
        try:
            step()
        except AgentError as error:
            self.error = error.problem()
        except (MessageError, OSError) as error:
            hint = f"see the keys that may change in docs/agent.md; the file is {self._path}"
            self.error = Problem(_UNREADABLE, str(error)[:1000], hint[:1000])
        if self.error is not None:
            _log.warning("settings refused: %s: %s", self.error.code, self.error.message)
        return self.error is None


def merge(target: Tree, patch: Tree) -> Tree:
    """Return `target` with the keys of `patch`; null removes a key.

    Source: RFC 7396, section 2. Unlike there, an object that becomes empty goes too.
    """
    merged = dict(target)
    for key, value in patch.items():
        below = merged.get(key)
        if isinstance(value, dict):
            value = merge(below if isinstance(below, dict) else {}, value)
        merged[key] = value
    return {key: value for key, value in merged.items() if value is not None and value != {}}


def override(config: AgentConfig, overrides: Tree) -> AgentConfig:
    """Return the configuration with other values.

    Raises:
        ConfigError: a value is not allowed.
    """
    try:
        return load_record(AgentConfig, merge(dump_record(config), overrides))
    except MessageError as error:
        raise ConfigError("config_value", str(error), "correct that value; nothing was changed") from error


def refuse_frozen(changes: Tree, place: str = "") -> None:
    """Refuse a change of what needs a restart.

    Raises:
        ConfigError: a key is not one of LIVE_KEYS, or unknown.
    """
    if not place:
        refuse_unknown(AgentConfig, changes)
    for key, value in changes.items():
        path = f"{place}{key}"
        if isinstance(value, dict) and _is_section(path):
            refuse_frozen(value, f"{path}.")
        elif not _is_live(path) and not (value is None and _is_section(path)):
            raise ConfigError(
                "config_not_live",
                f"{path} cannot be changed while the agent runs",
                "write it into the agent's file and restart the agent",
            )


def _is_live(path: str) -> bool:
    return any(_fits(path, key.split(".")) for key in LIVE_KEYS)


def _is_section(path: str) -> bool:
    """Say whether live keys lie below a path."""
    depth = path.count(".") + 1
    return any(_fits(path, key.split(".")[:depth]) for key in LIVE_KEYS if key.count(".") >= depth)


def _fits(path: str, pattern: List[str]) -> bool:
    parts = path.split(".")
    return len(parts) == len(pattern) and all(want in (_ANY, part) for part, want in zip(parts, pattern))


def _parse(payload: bytes) -> Tree:
    raw = parse_json(payload)
    if not isinstance(raw, dict):
        raise MessageError("an order must be a JSON object with the keys to change")
    if raw.pop("v", 1) != 1:
        raise MessageError("v must be 1")
    return raw
