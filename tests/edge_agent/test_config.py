"""Promises of edge_agent.config."""

from pathlib import Path

import pytest

from edge_agent.config import AgentConfig, load
from edge_agent.errors import ConfigError

GOOD = 'device = "board-a"\nstate_dir = "/tmp/x"\nroot = "/tmp/root.json"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text)
    return path


def test_three_keys_are_enough(tmp_path: Path) -> None:
    """Everything else has a default."""
    config = load(write(tmp_path, GOOD))
    assert config == AgentConfig("board-a", "/tmp/x", "/tmp/root.json")
    assert config.http.host == "127.0.0.1"


def test_sections_are_read(tmp_path: Path) -> None:
    """TOML tables become sections."""
    config = load(write(tmp_path, GOOD + "[mqtt]\nport = 8883\n[inference]\ntop_k = 5\n"))
    assert (config.mqtt.port, config.inference.top_k) == (8883, 5)


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ("chanel = 'x'", "config_unknown_key", "did you mean channel"),
        ("[mqtt]\nhots = 'x'", "config_unknown_key", "did you mean mqtt.host"),
        ("[mqtt]\nbase = 'a/+/b'", "config_value", "base must be"),
        ("[mqtt]\nport = 0", "config_value", "mqtt.port|port must be"),
        ("mqtt = 3", "config_value", "mqtt"),
        ("[mqtt", "config_syntax", "not TOML"),
    ],
)
def test_a_mistake_stops_the_start_and_is_explained(tmp_path: Path, more: str, code: str, said: str) -> None:
    """A typo is never ignored; the nearest known key is named."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, GOOD + more))
    assert caught.value.code == code
    assert any(part in caught.value.message + caught.value.hint for part in said.split("|"))


SOURCES = """
[sources.inbox]
kind = "folder"
path = "/inbox"
[sources.door]
kind = "camera"
device = "/dev/video0"
[sources.http]
publish = "on-change"
"""


def test_sources_are_named_tables(tmp_path: Path) -> None:
    """A folder, a camera, and what HTTP publishes."""
    sources = load(write(tmp_path, GOOD + SOURCES)).sources
    assert (sources["inbox"].path, sources["inbox"].after) == ("/inbox", "keep")
    assert (sources["door"].device, sources["door"].fps) == ("/dev/video0", 5)
    assert sources["http"].publish == "on-change"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[sources.door]\nkind = "camera"\ndevise = "x"', "did you mean sources.door.device"),
        ('[sources.door]\nkind = "camera"', "sources.door.device is missing, and a camera needs it"),
        ('[sources.inbox]\nkind = "folder"', "sources.inbox.path is missing"),
        ('[sources.inbox]\nkind = "folder"\npath = "/x"\nfps = 3', "sources.inbox.fps is for a source with"),
        ('[sources.inbox]\nkind = "folder"\npath = "/x"\nafter = "move"', "sources.inbox.move_to"),
        ('[sources.inbox]\nkind = "folder"\npath = "/x"\nmove_to = "/y"', "sources.inbox.move_to"),
        ('[sources.inbox]\nkind = "mailbox"', "sources.inbox.kind must be one of folder, camera"),
        ('[sources.inbox]\npublish = "every"', "sources.inbox: a source has a kind"),
        ('[sources.http]\nkind = "folder"\npath = "/x"', "sources.http: a source has a kind, except"),
        ('[sources.http]\npath = "/x"', "sources.http.path is for a source with"),
        ('[sources.http]\nmodel = "x"', "sources.http.model is not for"),
        ('[sources.door]\nkind = "camera"\ndevice = "x"\nmodel = "none"', "sources.door.model must be one"),
        ('[sources.Door]\nkind = "camera"\ndevice = "x"', "a name must look like"),
        ('[sources.inbox]\nkind = "folder"\npath = "/x\\u0000"', "sources.inbox.path must be"),
        ("[sources]\ndoor = 3", "sources.door must be an object"),
    ],
)
def test_a_mistake_in_a_source_is_explained(tmp_path: Path, table: str, said: str) -> None:
    """Which source, and which key of it."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, GOOD + table))
    assert said in caught.value.message + caught.value.hint


def test_an_absent_file_is_said(tmp_path: Path) -> None:
    """No traceback for a path that is not there."""
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "nothing.toml")
