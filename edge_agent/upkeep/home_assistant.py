"""Tells Home Assistant of this device: one discovery document, taken back when it is switched off.

Source: home-assistant.io, "MQTT: Device discovery payload"; home-assistant/core, components/mqtt/schemas.py
(unknown keys at the top make it drop the whole device) and update.py (its state document is closed).
"""

import json
import logging
import re
from pathlib import Path
from typing import Any, Dict, Iterable

from contract import __version__
from contract.topics import OFFLINE, ONLINE, Topics
from edge_agent.config import AgentConfig
from edge_agent.errors import StorageError
from edge_agent.files import write_whole
from edge_agent.link import Link

_log = logging.getLogger(__name__)
ANNOUNCED = "home-assistant-topic"
_TOPIC = re.compile(r"[A-Za-z0-9_/-]{1,300}")
_UPDATE = """
{%- set current = value_json.current.version if value_json.current else 'none' -%}
{{ {
  'installed_version': current,
  'latest_version': value_json.release or current,
  'in_progress': value_json.phase in ['downloading', 'verifying', 'testing', 'trial'],
  'update_percentage': value_json.progress_pct if value_json.phase == 'downloading' else none
} | tojson }}"""
_EVENT = """{{ {
  'event_type': 'prediction', 'label': value_json.label, 'score': value_json.score,
  'id': value_json.id, 'latency_ms': value_json.latency_ms.total
} | tojson }}"""
_THRESHOLD = "{{ ((value_json.config.sources['NAME'] | default({})).min_score) | default(0) }}"
_SET_THRESHOLD = '{"sources": {"NAME": {"min_score": {{ value }}}}}'

Entity = Dict[str, Any]


class HomeAssistant:
    """Announces the device while `home_assistant.enabled`. It belongs to the agent's loop.

    The topic that was announced on is kept on disk, so that also after a restart it is taken back.
    """

    def __init__(self, config: AgentConfig, sources: Iterable[str], link: Link) -> None:
        """Prepare; `sources` are the names in this device's prediction topics."""
        self._config = config
        self._sources = list(sources)
        self._link = link
        self._announced = Path(config.state_dir) / ANNOUNCED

    def configure(self, config: AgentConfig) -> None:
        """Go on with other settings."""
        self._config = config
        self.connected()

    def connected(self) -> None:
        """Announce the device, or take back what was announced; a new connection may mean a new broker."""
        config = self._config
        wanted = Topics(config.mqtt.base).home_assistant(config.device, config.home_assistant.prefix)
        before = self._read_announced()
        if before and (before != wanted or not config.home_assistant.enabled):
            if self._link.publish(before, b"", retain=True) is None:
                return
            self._note("")
        if config.home_assistant.enabled:
            self._note(wanted)
            document = build_discovery(config, self._sources)
            self._link.publish(wanted, json.dumps(document).encode("utf-8"), retain=True)

    def _note(self, topic: str) -> None:
        if self._read_announced() == topic:
            return
        try:
            write_whole(self._announced, topic.encode("ascii"))
        except StorageError as error:
            _log.error("cannot note where Home Assistant is told of this device: %s", error.message)

    def _read_announced(self) -> str:
        try:
            topic = self._announced.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""
        # Garbage is no topic to publish to.
        return topic if _TOPIC.fullmatch(topic) else ""


def build_discovery(config: AgentConfig, sources: Iterable[str]) -> Dict[str, Any]:
    """Return the discovery document: the device, and its entities by their key in it."""
    topics, device = Topics(config.mqtt.base), config.device
    entities = _build_device_entities(topics, device)
    for source in sources:
        settings = config.sources.get(source)
        has_image = settings is not None and settings.image
        entities.update(_build_source_entities(topics, device, source, has_image))
    return {
        "device": {
            "identifiers": [f"reefline_{device}"],
            "name": device,
            "manufacturer": "Reefline",
            "model": config.hardware,
            "sw_version": __version__,
        },
        "origin": {"name": "reefline", "sw_version": __version__},
        "availability": [
            {
                "topic": topics.status(device),
                "payload_available": ONLINE.decode("ascii"),
                "payload_not_available": OFFLINE.decode("ascii"),
            }
        ],
        "components": {key: _name(device, key, entity) for key, entity in entities.items()},
    }


def _build_device_entities(topics: Topics, device: str) -> Dict[str, Entity]:
    telemetry = topics.telemetry(device)
    measured = {"platform": "sensor", "state_topic": telemetry, "entity_category": "diagnostic"}
    return {
        "model": {
            "platform": "update",
            "name": "Model",
            "state_topic": topics.model_reported(device),
            "value_template": _UPDATE,
        },
        "problem": {
            "platform": "binary_sensor",
            "name": "Problem",
            "state_topic": telemetry,
            "value_template": "{{ 'ON' if value_json.problems else 'OFF' }}",
            "json_attributes_topic": telemetry,
            "json_attributes_template": "{{ {'problems': value_json.problems} | tojson }}",
            "device_class": "problem",
            "entity_category": "diagnostic",
        },
        "tpu_temperature": {
            **measured,
            "name": "Edge TPU temperature",
            "value_template": "{{ value_json.tpu.temp_c }}",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "state_class": "measurement",
        },
        "inference_time": {
            **measured,
            "name": "Inference time",
            "value_template": "{{ value_json.inference_ms.p50 }}",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "state_class": "measurement",
        },
        "predictions": {
            **measured,
            "name": "Predictions",
            "value_template": "{{ value_json.predictions_total }}",
            "state_class": "total_increasing",
        },
        "collect": {
            "platform": "switch",
            "name": "Collect hard examples",
            "state_topic": topics.config_reported(device),
            "value_template": "{{ 'ON' if value_json.config.sampling.enabled else 'OFF' }}",
            "state_on": "ON",
            "state_off": "OFF",
            "command_topic": topics.config_set(device),
            "payload_on": '{"sampling": {"enabled": true}}',
            "payload_off": '{"sampling": {"enabled": false}}',
            "entity_category": "config",
        },
        "started": {
            **measured,
            "name": "Started",
            "state_topic": topics.info(device),
            "value_template": "{{ value_json.ts }}",
            "device_class": "timestamp",
        },
    }


def _build_source_entities(topics: Topics, device: str, source: str, has_image: bool) -> Dict[str, Entity]:
    state = topics.state(device, source)
    image: Entity = {
        "name": f"{source} image",
        "image_topic": topics.image(device, source),
        "content_type": "image/jpeg",
    }
    return {
        f"{source}_label": {
            "platform": "sensor",
            "name": f"{source} label",
            "state_topic": state,
            "value_template": "{{ value_json.label }}",
        },
        f"{source}_score": {
            "platform": "sensor",
            "name": f"{source} score",
            "state_topic": state,
            "value_template": "{{ (value_json.score * 100) | round(1) }}",
            "unit_of_measurement": "%",
            "state_class": "measurement",
        },
        f"{source}_prediction": {
            "platform": "event",
            "name": f"{source} prediction",
            "state_topic": topics.prediction(device, source),
            "event_types": ["prediction"],
            "value_template": _EVENT,
        },
        f"{source}_threshold": {
            "platform": "number",
            "name": f"{source} threshold",
            "state_topic": topics.config_reported(device),
            "value_template": _THRESHOLD.replace("NAME", source),
            "command_topic": topics.config_set(device),
            "command_template": _SET_THRESHOLD.replace("NAME", source),
            "min": 0,
            "max": 1,
            "step": 0.01,
            "mode": "box",
            "entity_category": "config",
        },
        # An entity with nothing but its platform is taken away.
        f"{source}_image": {"platform": "image", **(image if has_image else {})},
    }


def _name(device: str, key: str, entity: Entity) -> Entity:
    """Return an entity with its ids, unless it is one that is taken away."""
    if len(entity) == 1:
        return entity
    entity_id = f"{entity['platform']}.{device}_{key}".replace("-", "_")
    return {**entity, "unique_id": f"reefline_{device}_{key}", "default_entity_id": entity_id}
