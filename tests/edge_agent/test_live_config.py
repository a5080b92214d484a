"""Promises of upkeep.live_config: a few settings change while the agent runs, wholly or not at all."""

import json

import pytest

from contract.codec import decode
from contract.messages import ConfigReport
from contract.topics import Topics
from edge_agent import files
from edge_agent.config import AgentConfig, InferenceConfig
from edge_agent.events import MessageArrived
from edge_agent.upkeep.live_config import LIVE_KEYS, OVERRIDES, LiveConfig, merge
from tests.fakes.board import DEVICE, FakeClock
from tests.fakes.broker import FakeBroker, FakeLink

TOPIC = Topics().config_set(DEVICE)


class Desk:
    """A configuration, and who sends orders to it."""

    def __init__(self, folder):
        self.config = AgentConfig(DEVICE, str(folder), "unused", inference=InferenceConfig(top_k=4))
        self.path = folder / OVERRIDES
        self.applied = []
        self.acknowledged = 0
        self.start()

    def start(self):
        self.live = LiveConfig(self.config, FakeClock())

    def order(self, changes, retained=False):
        payload = changes if isinstance(changes, bytes) else json.dumps(changes).encode()
        self.live.order(MessageArrived(TOPIC, payload, retained, self._acknowledge), self.applied.append)

    def _acknowledge(self):
        self.acknowledged += 1

    @property
    def report(self):
        broker = FakeBroker()
        self.live.report(FakeLink(broker))
        return decode(ConfigReport, broker.retained[Topics().config_reported(DEVICE)])


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_an_order_changes_what_it_names(desk):
    """At once, and the rest stays; the rooms get the whole configuration."""
    desk.order({"v": 1, "inference": {"top_k": 7}, "telemetry": {"every_s": 5}})
    desk.order({"home_assistant": {"enabled": True}})
    current = desk.live.current
    assert (current.inference.top_k, current.telemetry.every_s) == (7, 5)
    assert current.home_assistant.enabled and current.mqtt == desk.config.mqtt
    assert desk.applied[-1] is current and len(desk.applied) == desk.acknowledged == 2


def test_it_holds_after_a_restart(desk):
    """Over the file, in the state folder."""
    desk.order({"inference": {"top_k": 7}})
    desk.start()
    assert desk.live.current.inference.top_k == 7
    assert desk.report.overrides == {"inference": {"top_k": 7}}


def test_null_goes_back_to_the_file(desk):
    """For one key, or for all of a section."""
    desk.order({"inference": {"top_k": 7}, "sources": {"http": {"publish": "on-change", "min_score": 0.5}}})
    desk.order({"inference": {"top_k": None}, "sources": {"http": {"min_score": None}}})
    assert desk.live.current.inference.top_k == 4
    assert desk.report.overrides == {"sources": {"http": {"publish": "on-change"}}}
    desk.order({"sources": None})
    assert desk.report.overrides == {}
    assert desk.live.current == desk.config


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"mqtt": {"host": "evil"}}, "config_not_live", "mqtt cannot be changed"),
        ({"mqtt": None}, "config_not_live", "mqtt cannot"),
        ({"device": "other"}, "config_not_live", "device cannot"),
        ({"inference": {"queue": 1}}, "config_not_live", "inference.queue cannot"),
        ({"inference": 3}, "config_not_live", "inference cannot"),
        ({"sources": {"http": {"kind": "folder"}}}, "config_not_live", "sources.http.kind cannot"),
        ({"inference": {"topk": 3}}, "config_unknown_key", "unknown key inference.topk"),
        ({"inference.top_k": 3}, "config_unknown_key", "unknown key inference.top_k"),
        ({"inference": {"top_k": 0}}, "config_value", "inference.top_k"),
        ({"inference": {"top_k": {"a": 1}}}, "config_value", "inference.top_k"),
        ({"sources": {"camera9": {"image": True}}}, "config_value", "camera9"),
        ({"telemetry": {"every_s": 1}, "inference": {"top_k": "3"}}, "config_value", "inference.top_k"),
        ([1], "config_order", "JSON object"),
        ({"v": 2, "inference": {"top_k": 3}}, "config_order", "v must be 1"),
        (b"", "config_order", "not valid JSON"),
        (b'{"inference":{"top_k":NaN}}', "config_order", "NaN"),
        (b"[" * 5000, "config_order", "nested"),
        (b'{"a":"' + b"x" * 300_000 + b'"}', "config_order", "bytes"),
        (b'{"' + b"x" * 200_000 + b'":1}', "config_unknown_key", "unknown key"),
    ],
)
def test_a_bad_order_changes_nothing_and_is_answered(desk, changes, code, words):
    """Not even its good half. The answer is the error in the report, until an order is good."""
    desk.order({"inference": {"top_k": 6}})
    desk.order(changes)
    assert desk.live.current.inference.top_k == 6 and desk.live.current.telemetry.every_s == 30
    report = desk.report
    assert report.error is not None and report.error.code == code and words in report.error.message
    assert report.error.hint and report.overrides == {"inference": {"top_k": 6}}
    assert len(desk.applied) == 1 and desk.acknowledged == 2
    desk.order({"inference": {"top_k": 5}})
    assert desk.report.error is None


def test_a_retained_order_is_ignored(desk):
    """It would undo each later one at every new connection."""
    desk.order({"inference": {"top_k": 7}}, retained=True)
    assert desk.live.current == desk.config and desk.applied == [] and desk.acknowledged == 1


def test_a_disk_that_refuses_changes_nothing(desk, monkeypatch):
    """What would be forgotten at the next start is not begun."""

    def refuse(_path, _target, _disk):
        raise OSError(28, "no space")

    monkeypatch.setattr(files, "move_whole", refuse)
    desk.order({"inference": {"top_k": 7}})
    assert desk.live.current == desk.config and desk.applied == []
    assert desk.report.error.code == "disk_full"


@pytest.mark.parametrize("left", [b"garbage", b"[]", b'{"mqtt":{"host":"x"}}', b'{"inference":{"top_k":-1}}'])
def test_what_does_not_fit_any_more_is_not_used(desk, left):
    """The agent starts with its file, and says so."""
    desk.path.write_bytes(left)
    desk.start()
    assert desk.live.current == desk.config
    assert desk.report.error is not None and desk.report.overrides == {}


def test_the_report_is_the_configuration_in_effect(desk):
    """As `edge-agent config --show` prints it."""
    desk.order({"inference": {"top_k": 7}})
    config = desk.report.config
    assert config["inference"]["top_k"] == 7 and config["device"] == DEVICE


def test_every_live_key_can_be_set(desk):
    """The closed list names keys that exist."""
    good = {
        "top_k": 2,
        "every_s": 9,
        "enabled": True,
        "publish": "aggregate",
        "image": True,
    }
    for key in LIVE_KEYS:
        *sections, leaf = key.replace("*", "http").split(".")
        changes = {leaf: good.get(leaf, 1)}
        for section in reversed(sections):
            changes = {section: changes}
        desk.order(changes)
        assert desk.report.error is None, key


def test_objects_are_merged_and_null_removes():
    """The examples of RFC 7396, but that an empty object goes too."""
    assert merge({"a": "b"}, {"a": "c"}) == {"a": "c"}
    assert merge({"a": "b"}, {"b": "c"}) == {"a": "b", "b": "c"}
    assert merge({"a": "b", "b": "c"}, {"a": None}) == {"b": "c"}
    assert merge({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}) == {"a": {"b": "d"}}
    assert merge({"a": ["b"]}, {"a": "c"}) == {"a": "c"}
    assert merge({"a": "foo"}, {"a": {"b": {"c": None}}, "d": 1}) == {"d": 1}
    assert merge({"a": {"b": 1}}, {"a": {"b": None}}) == {}
