"""Promises of upkeep.home_assistant: a document that Home Assistant takes whole, and its removal."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest

from contract.topics import Topics
from edge_agent.config import AgentConfig, HomeAssistantConfig
from edge_agent.source_config import SourceConfig
from edge_agent.upkeep.home_assistant import HomeAssistant, build_discovery
from edge_agent.upkeep.live_config import refuse_frozen
from tests.fakes.broker import FakeBroker, FakeLink

DEVICE = "wishful-orange"
GOLDEN = Path(__file__).parents[1] / "golden"
SOURCES = ("http", "mqtt", "line-2")
TOPIC = f"homeassistant/device/coral_{DEVICE}/config"
# What Home Assistant's schemas know: at the top, in its parts, in each kind of entity. The rest is refused.
TOP = {"device", "origin", "components", "availability", "availability_mode", "state_topic", "command_topic"}
TOP |= {"qos", "encoding"}
DEVICE_KEYS = {"identifiers", "connections", "manufacturer", "model", "model_id", "name", "hw_version"}
DEVICE_KEYS |= {"sw_version", "serial_number", "via_device", "suggested_area", "configuration_url"}
ORIGIN_KEYS = {"name", "sw_version", "support_url"}
AVAILABILITY_KEYS = {"topic", "payload_available", "payload_not_available", "value_template"}
COMMON = {"platform", "unique_id", "default_entity_id", "name", "entity_category", "icon", "qos", "encoding"}
COMMON |= {"enabled_by_default", "json_attributes_topic", "json_attributes_template"}
READ = COMMON | {"state_topic", "value_template", "device_class"}
MEASURED = {"unit_of_measurement", "state_class", "suggested_display_precision", "options", "expire_after"}
COMMANDED = {"command_topic", "command_template", "retain"}
ENTITY_KEYS = {
    "sensor": READ | MEASURED | {"force_update", "last_reset_value_template"},
    "binary_sensor": READ | {"payload_on", "payload_off", "off_delay", "expire_after", "force_update"},
    "event": READ | {"event_types"},
    "update": READ | {"title", "entity_picture", "release_url", "release_summary", "display_precision"},
    "number": READ | COMMANDED | {"min", "max", "step", "mode", "unit_of_measurement", "optimistic"},
    "switch": READ | COMMANDED | {"payload_on", "payload_off", "state_on", "state_off", "optimistic"},
    "image": COMMON | {"image_topic", "url_topic", "url_template", "content_type", "image_encoding"},
}
REQUIRED = {"event": {"state_topic", "event_types"}, "update": {"state_topic"}, "number": {"command_topic"}}
REQUIRED["switch"] = {"command_topic"}
REQUIRED.update({"sensor": {"state_topic"}, "binary_sensor": {"state_topic"}, "image": {"image_topic"}})
UPDATE_STATE = {"installed_version", "latest_version", "title", "release_summary", "release_url"}
UPDATE_STATE |= {"entity_picture", "in_progress", "update_percentage"}


@pytest.fixture
def config(tmp_path):
    camera = SourceConfig("camera", device="/dev/video0", image=True)
    return AgentConfig(DEVICE, str(tmp_path), "unused", sources={"line-2": camera})


@pytest.fixture
def document(config):
    return json.loads(json.dumps(build_discovery(config, SOURCES)))


def render(template, payload):
    """Render as Home Assistant does, where an unknown name or key is empty."""
    value = payload.decode("utf-8")
    environment = jinja2.Environment(undefined=jinja2.ChainableUndefined)
    return environment.from_string(template).render(value=value, value_json=json.loads(value))


def read_golden(name, **changes):
    payload = json.loads((GOLDEN / f"{name}.v1.json").read_bytes())
    return json.dumps({**payload, **changes}).encode("utf-8")


def test_there_is_no_key_that_home_assistant_does_not_know(document):
    """One unknown key at the top and the whole device is dropped, without a word on the bus."""
    assert set(document) <= TOP and {"device", "origin", "components"} <= set(document)
    assert set(document["device"]) <= DEVICE_KEYS and document["device"]["identifiers"]
    assert set(document["origin"]) <= ORIGIN_KEYS and document["origin"]["name"]
    for source in document["availability"]:
        assert set(source) <= AVAILABILITY_KEYS
        assert source["topic"] == f"coral/{DEVICE}/status"
        assert (source["payload_available"], source["payload_not_available"]) == ("online", "offline")
    for key, entity in document["components"].items():
        assert set(entity) <= ENTITY_KEYS[entity["platform"]], key
        assert set(entity) == {"platform"} or REQUIRED[entity["platform"]] <= set(entity), key


def test_every_entity_has_ids_of_its_own(document):
    """Unique in the whole house; the entity's id is of the right kind and spelling."""
    entities = [entity for entity in document["components"].values() if len(entity) > 1]
    ids = [entity["unique_id"] for entity in entities]
    assert len(set(ids)) == len(ids) and all(DEVICE in each for each in ids)
    for entity in entities:
        assert re.fullmatch(entity["platform"] + r"\.[a-z0-9_]+", entity["default_entity_id"])


def test_the_entities_are_those_that_were_promised(document):
    """For the device, and for each source."""
    found = set(document["components"])
    device = {"model", "problem", "tpu_temperature", "inference_time", "predictions", "collect", "started"}
    leaves = ("label", "score", "prediction", "threshold", "image")
    assert found == device | {f"{source}_{leaf}" for source in SOURCES for leaf in leaves}


def test_an_event_listens_where_nothing_is_retained(document):
    """Home Assistant ignores a retained message for an event."""
    for source in SOURCES:
        assert document["components"][f"{source}_prediction"]["state_topic"] == Topics().prediction(
            DEVICE, source
        )


@pytest.mark.parametrize(
    ("key", "golden", "shown"),
    [
        ("problem", "telemetry", "ON"),
        ("tpu_temperature", "telemetry", "61.5"),
        ("inference_time", "telemetry", "2.9"),
        ("predictions", "telemetry", "1042"),
        ("started", "device_info", "1970-01-01T00:00:07.000Z"),
        ("http_label", "prediction", "sneaker"),
        ("http_score", "prediction", "97.3"),
    ],
)
def test_a_template_shows_what_the_device_says(document, key, golden, shown):
    """Rendered by Jinja on the recorded messages."""
    assert render(document["components"][key]["value_template"], read_golden(golden)) == shown


def test_no_problem_is_off_and_no_temperature_is_unknown(document):
    """`None` is Home Assistant's word for unknown."""
    components = document["components"]
    payload = read_golden("telemetry", problems=[], tpu={"present": False, "temp_c": None})
    assert render(components["problem"]["value_template"], payload) == "OFF"
    assert render(components["tpu_temperature"]["value_template"], payload) == "None"
    attributes = json.loads(
        render(components["problem"]["json_attributes_template"], read_golden("telemetry"))
    )
    assert attributes["problems"][0]["code"] == "tpu_hot"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, ("2", "3", True, 40)),
        ({"phase": "testing"}, ("2", "3", True, None)),
        ({"phase": "active", "release": None}, ("2", "2", False, None)),
        ({"current": None}, ("none", "3", True, 40)),
        ({"current": None, "release": None, "phase": "idle"}, ("none", "none", False, None)),
    ],
)
def test_the_model_is_an_update_entity(document, changes, state):
    """Its state document is closed: a key too many and it is refused."""
    current = {"name": "fashion", "version": "2", "sha256": "0" * 64, "since": "2026-11-21T03:20:00.123Z"}
    known = {"phase": "downloading", "release": "3", "current": current, "progress_pct": 40}
    payload = read_golden("model_report", **{**known, **changes})
    found = json.loads(render(document["components"]["model"]["value_template"], payload))
    assert set(found) <= UPDATE_STATE
    keys = ("installed_version", "latest_version", "in_progress", "update_percentage")
    assert tuple(found[key] for key in keys) == state


def test_a_prediction_is_an_event(document):
    """With a type that was announced."""
    entity = document["components"]["http_prediction"]
    found = json.loads(
        render(entity["value_template"], read_golden("prediction", label='a "quoted" <label>'))
    )
    assert found.pop("event_type") in entity["event_types"]
    assert found["label"] == 'a "quoted" <label>' and found["score"] == 0.9727


def test_a_threshold_is_an_order_that_the_agent_takes(document, config):
    """Its command is a key that may change while the agent runs, its state the configuration in effect."""
    entity = document["components"]["line-2_threshold"]
    order = jinja2.Template(entity["command_template"]).render(value=0.25)
    refuse_frozen(json.loads(order))
    assert json.loads(order) == {"sources": {"line-2": {"min_score": 0.25}}}
    assert entity["command_topic"] == Topics().config_set(DEVICE)
    for sources, shown in (({"line-2": {"min_score": 0.5}}, "0.5"), ({}, "0")):
        payload = read_golden("config_report", config={"sources": sources})
        assert render(entity["value_template"], payload) == shown


def test_hard_examples_are_collected_at_a_switch(document):
    """Both its orders are taken, and its state is shown."""
    entity = document["components"]["collect"]
    for key, is_on in (("payload_on", True), ("payload_off", False)):
        refuse_frozen(json.loads(entity[key]))
        payload = read_golden("config_report", config=json.loads(entity[key]))
        assert render(entity["value_template"], payload) == entity["state_on" if is_on else "state_off"]


def test_only_a_source_that_publishes_its_pictures_has_an_image(document):
    """The others' entity, were it there from before, is taken away: nothing but its platform."""
    assert document["components"]["http_image"] == {"platform": "image"}
    assert document["components"]["line-2_image"]["image_topic"] == Topics().image(DEVICE, "line-2")


class Desk:
    """The room with a broker of its own; `start` is a restart of the agent."""

    def __init__(self, config):
        self.broker = FakeBroker()
        self.start(config)

    def start(self, config):
        self.room = HomeAssistant(config, SOURCES, FakeLink(self.broker))
        self.room.connected()


def switched(config, enabled, prefix="homeassistant"):
    return replace(config, home_assistant=HomeAssistantConfig(enabled, prefix))


def test_nothing_is_announced_unless_it_is_switched_on(config):
    """Nor is anything published on a topic that the broker may not let us write."""
    assert Desk(config).broker.published == []


def test_it_is_announced_retained_and_taken_back(config):
    """At once when the setting changes; an empty retained message removes the device."""
    desk = Desk(config)
    desk.room.configure(switched(config, True))
    assert json.loads(desk.broker.retained[TOPIC])["device"]["name"] == DEVICE
    desk.room.configure(switched(config, False))
    assert desk.broker.retained[TOPIC] == b""
    published = len(desk.broker.published)
    desk.room.connected()
    assert len(desk.broker.published) == published


def test_it_is_taken_back_also_after_a_restart(config):
    """Or when the prefix is another one; no device is left behind that nobody feeds."""
    desk = Desk(switched(config, True))
    desk.start(switched(config, True, "ha/discovery"))
    assert desk.broker.retained[TOPIC] == b""
    assert desk.broker.retained[f"ha/discovery/device/coral_{DEVICE}/config"]
    desk.start(switched(config, False))
    assert desk.broker.retained[f"ha/discovery/device/coral_{DEVICE}/config"] == b""


@pytest.mark.parametrize("noted", ["home/#", "a\0b", "\n"])
def test_a_damaged_note_is_no_topic(config, noted):
    """Publishing there would end the agent, at each start anew."""
    (Path(config.state_dir) / "home-assistant-topic").write_text(noted)
    assert Desk(config).broker.published == []
