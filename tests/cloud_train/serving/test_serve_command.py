"""Promises of `cloud-train serve`: what it is told, and how it says what is wrong before it serves."""

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_train import cli
from cloud_train.commands import serve_command
from cloud_train.serving.config import LogConfig, ServeConfig
from cloud_train.serving.logs import ACCESS_LOGGER


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Give the loggers back as they were."""
    loggers = [logging.getLogger(name) for name in ("cloud_train.serving", "uvicorn", ACCESS_LOGGER)]
    before = [(each.handlers, each.propagate, each.level) for each in loggers]
    raises = logging.raiseExceptions
    yield
    logging.raiseExceptions = raises
    for each, (handlers, propagate, level) in zip(loggers, before, strict=True):
        for handler in set(each.handlers) - set(handlers):
            handler.close()
        each.handlers, each.propagate, each.level = handlers, propagate, level


def test_options_win_over_the_file(tmp_path: Path) -> None:
    """And what neither says has its default: port 5000 of this computer alone."""
    path = tmp_path / "serve.toml"
    path.write_text('model = "a"\nport = 5001\ntop_k = 5\n[log]\nfolder = "x"\nfiles = 9\n')
    found = serve_command._settings(None, None, 5002, path, Path("y"))
    assert found == ServeConfig(model="a", port=5002, top_k=5, log=LogConfig("y", files=9))
    assert serve_command._settings("b", None, None, None, None) == ServeConfig("b", "127.0.0.1", 5000)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{0}"], 2, "there is no run.json"),
        ([], 2, "no model is named"),
        (["{0}", "-c", "{0}/no.json"], 2, "cannot read it"),
        (["{0}", "-c", "{0}/typo.json"], 2, "did you mean max_files?"),
        (["{0}", "--port", "70000"], 2, "--port"),
        (["{0}", "--log-dir", "{0}/typo.json"], 2, "no log can be written"),
        (["{0}", "--host", "nowhere.invalid"], 2, "cannot listen"),
        (["ftp://host/model.keras"], 2, "no place for files"),
    ],
)
def test_what_is_wrong_ends_with_three_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    """What, where, what to try; and the right exit code."""
    (tmp_path / "typo.json").write_text('{"max_fils": 3}')
    given = [argument.format(tmp_path) for argument in arguments]
    port = [] if "--port" in given else ["--port", "0"]
    assert cli.main(["serve", *given, *port]) == code
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 3


def test_a_taken_port_is_told_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1; as JSON too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", str(tmp_path), "--port", str(port), "--json"]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"] is False and f"127.0.0.1:{port}" in shown["error"]["message"]
