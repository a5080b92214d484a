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
        ("x = " + "[" * 100_000, "config_syntax", "not TOML"),
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


ENROLLED = """device = "board-a"
tags = ["lab"]
hardware = "coral-dev-board"
[mqtt]
host = "broker.lan"
port = 8883
"""
OWN = 'state_dir = "/tmp/x"\nroot = "/tmp/root.json"\n'


def enrol(folder: Path, text: str = ENROLLED) -> Path:
    path = folder / "enrolled.toml"
    path.write_text(text)
    return path


def test_what_enrolment_wrote_lies_under_the_persons_file(tmp_path: Path) -> None:
    """Tables are merged key by key, and the person's value counts where both have one."""
    enrol(tmp_path)
    config = load(write(tmp_path, OWN + 'tags = ["hall"]\n[mqtt]\nport = 9999\n[shadow]\nchannel = "next"\n'))
    assert (config.device, config.tags) == ("board-a", ("hall",))
    assert (config.mqtt.host, config.mqtt.port) == ("broker.lan", 9999)
    assert config.shadow is not None and config.shadow.channel == "next"


def test_an_empty_table_of_the_person_stays_one(tmp_path: Path) -> None:
    """`[shadow]` alone asks for the default shadow model."""
    enrol(tmp_path, ENROLLED.replace("[mqtt]", 'edgetpu = ":0"\n[mqtt]'))
    assert load(write(tmp_path, OWN + "[shadow]\n")).shadow is not None


@pytest.mark.parametrize(
    ("given", "own", "file", "said"),
    [
        ("hots = 'x'", "", "enrolled.toml", "did you mean mqtt.host"),
        ("", "[mqtt]\nhots = 'x'", "agent.toml", "did you mean mqtt.host"),
        ("base = 'a/+/b'", "", "enrolled.toml", "mqtt.base must be"),
        ("base = 'a/+/b'", "[mqtt]\nbase = 'b/#'", "agent.toml", "mqtt.base must be"),
        ("cert_file = '/c'", "", "enrolled.toml", "mqtt.cert_file and key_file go together"),
        ("", "models = {Big = {channel = 'x'}}", "agent.toml", "a name must look like"),
        ("port = ", "", "enrolled.toml", "not TOML"),
        ("", "[http", "agent.toml", "not TOML"),
    ],
)
def test_an_error_names_the_file_that_holds_it(
    tmp_path: Path, given: str, own: str, file: str, said: str
) -> None:
    """Who reads the error opens one file, not two."""
    enrolled = enrol(tmp_path, ENROLLED + given)
    path = write(tmp_path, OWN + own)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert said in caught.value.message + caught.value.hint
    named = [each.name for each in (enrolled, path) if str(each) in caught.value.message]
    assert named == [file]


def test_a_board_that_is_not_enrolled_is_told_what_to_do(tmp_path: Path) -> None:
    """The package's own file names no device: only `deploy enroll` does."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, OWN))
    assert caught.value.code == "not_enrolled"
    assert "deploy enroll" in caught.value.hint


def test_an_enrolment_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    """Half a configuration is worse than none."""
    (tmp_path / "enrolled.toml").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"enrolled\.toml"):
        load(write(tmp_path, GOOD))
