"""The configuration as it is in effect, and its JSON Schema."""

import json
from typing import Any, Dict, Iterator

from contract.records import Record, build_schema, dump_record
from edge_agent.config import AgentConfig
from edge_agent.source_config import MASK, hide_secrets

_SECRETS = ("password", "token", "secret")
_FILE = "_file"


def mask(config: Record) -> Dict[str, Any]:
    """Return the configuration as JSON types; passwords, tokens and secrets are masked."""
    masked: Dict[str, Any] = _mask(dump_record(config))
    return masked


def format_toml(shown: Dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the lines of a TOML file; a key without a value stands in a comment."""
    for key, value in shown.items():
        if value is None:
            yield f"# {key} is not set"
        elif not isinstance(value, dict):
            yield f"{key} = {json.dumps(value)}"
    for key, value in shown.items():
        if isinstance(value, dict):
            yield from ("", f"[{prefix}{key}]")
            yield from format_toml(value, f"{prefix}{key}.")


def build_config_schema() -> Dict[str, Any]:
    """Return the JSON Schema (draft-07) of the file; unlike a message it has no unknown keys."""
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_close(build_schema(AgentConfig))}


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return hide_secrets(value)
    if not isinstance(value, dict):
        return value
    return {key: MASK if item and _is_secret(key) else _mask(item) for key, item in value.items()}


def _is_secret(key: str) -> bool:
    """The path of a file with a secret is none."""
    return any(word in key for word in _SECRETS) and not key.endswith(_FILE)


def _close(schema: Dict[str, Any]) -> Dict[str, Any]:
    if "properties" not in schema:
        # A table of records: any name, but only known keys.
        return {
            key: _close(value) if key == "additionalProperties" else value for key, value in schema.items()
        }
    properties = {key: _close(value) for key, value in schema["properties"].items()}
    return {**schema, "properties": properties, "additionalProperties": False}
