"""Promises of upkeep.config_page, and of `edge-agent config`."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.records import Nested, Record, Text, rule
from edge_agent.cli import main
from edge_agent.config import load
from edge_agent.source_config import MASK
from edge_agent.upkeep.config_page import build_config_schema, mask

GOOD = 'device = "board-a"\nstate_dir = "/tmp/x"\nroot = "/tmp/root \\"1\\".json"\n[mqtt]\nport = 8883\n'
SOURCES = '[sources.door]\nkind = "camera"\ndevice = "/dev/video0"\n[sources.http]\nimage = true\n'


@dataclass(frozen=True)
class Inner(Record):
    """A section with a secret in it."""

    password: str = rule(Text(), default="hunter2")
    token_file: str = rule(Text(), default="/etc/token")


@dataclass(frozen=True)
class Outer(Record):
    """A configuration with secrets."""

    token: str = rule(Text(), default="")
    inner: Inner = rule(Nested(Inner), default=Inner())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(GOOD)
    return path


def test_secrets_are_masked() -> None:
    """Wherever they are; that none is set, and which file has one, may be seen."""
    assert mask(Outer()) == {"token": "", "inner": {"password": MASK, "token_file": "/etc/token"}}


@pytest.mark.parametrize(
    ("device", "shown"),
    [
        ("rtspsrc location=rtsp://me:s3c@ret@cam/1 ! x", "rtspsrc location=rtsp://***@cam/1 ! x"),
        ("rtspsrc user-id=me user-pw=s3cret ! x", "rtspsrc user-id=me user-pw=*** ! x"),
        (
            "souphttpsrc location=http://cam/?token=s3cret&a=1",
            "souphttpsrc location=http://cam/?token=***&a=1",
        ),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_a_cameras_password_is_masked(file: Path, device: str, shown: str) -> None:
    """`config/reported` is retained, and many may read it."""
    file.write_text(GOOD + SOURCES.replace("/dev/video0", device))
    assert mask(load(file))["sources"]["door"]["device"] == shown


def test_what_is_shown_can_be_read_again(file: Path, tmp_path: Path, capsys) -> None:
    """`--show` prints a TOML file with every default filled in, and it means the same."""
    file.write_text(GOOD + SOURCES)
    assert main(["config", "--show", "-c", str(file)]) == 0
    shown = capsys.readouterr().out
    again = tmp_path / "again.toml"
    again.write_text(shown)
    assert load(again) == load(file)
    assert "top_k = 3" in shown


def test_a_file_that_run_would_refuse_is_not_valid(file: Path, capsys) -> None:
    """Serving to others needs a token, and `--check` says so, not only `run`."""
    file.write_text(file.read_text() + '\n[http]\nhost = "0.0.0.0"\n')
    assert main(["config", "--check", "-c", str(file)]) == 2
    assert "http.token_file" in capsys.readouterr().err


def test_a_valid_file_is_said_to_be(file: Path, capsys) -> None:
    """Exit code 0; as JSON it is the configuration itself."""
    assert main(["config", "--check", "-c", str(file)]) == 0
    assert "is valid" in capsys.readouterr().out
    assert main(["config", "--check", "--json", "-c", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["mqtt"]["port"] == 8883


@pytest.mark.parametrize("what", ["--check", "--show"])
def test_a_typo_is_told_with_the_nearest_key(file: Path, what: str, capsys) -> None:
    """Three lines, exit code 2, and the same as JSON for scripts."""
    file.write_text(GOOD + 'hots = "x"\n')
    assert main(["config", what, "--json", "-c", str(file)]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "config_unknown_key"
    assert len(said.err.splitlines()) == 3 and "did you mean mqtt.host?" in said.err


def test_the_schema_is_printed(capsys) -> None:
    """It needs no file."""
    assert main(["config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["required"] == ["device", "state_dir", "root"]


def test_a_reader_that_leaves_early_causes_no_traceback() -> None:
    """As in `edge-agent config --schema | head -1`."""
    command = [sys.executable, "-m", "edge_agent.cli", "config", "--schema"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # type: ignore[union-attr]
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, b"")


def test_the_schema_says_what_the_agent_says(file: Path) -> None:
    """It takes what is valid, and refuses an unknown key in any section."""
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema to check a schema with")
    schema = build_config_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    good = mask(load(file))
    jsonschema.validate(good, schema)
    unknown_keys = ({"chanel": "x"}, {"mqtt": {"hots": "x"}}, {"sources": {"http": {"imag": True}}})
    for bad in ({**good, **wrong} for wrong in (*unknown_keys, {"mqtt": {"port": 0}})):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
