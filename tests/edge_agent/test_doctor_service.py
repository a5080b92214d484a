"""Promises of edge_agent.doctor.service: who may ask, the port, the sources, and what orders have changed."""

import http.server
import socket
import threading
from pathlib import Path
from typing import Iterator

import pytest

from edge_agent.config import load
from edge_agent.doctor import service
from edge_agent.doctor.findings import FAIL, OK, SKIPPED, WARN, Finding, examine
from edge_agent.doctor.visit import Visit
from edge_agent.lock import lock_folder
from tests.fakes.ports import take_free_port

CHECKS = [check._replace(needs="") for check in service.CHECKS]


class Board:
    """A configuration with a state folder; nothing runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.state = folder, folder / "agent.toml", folder / "state"
        self.state.mkdir()
        self.port = take_free_port()

    def find(self, check: str, text: str = "") -> Finding:
        """Return what one check finds with these lines in the configuration."""
        http = "" if "[http]" in text else f"[http]\nport = {self.port}\n"
        needed = f'device = "board-a"\nstate_dir = "{self.state}"\nroot = "unused"\n'
        self.file.write_text(needed + http + text)
        visit = Visit(self.file, config=load(self.file))
        found = {row.name: row.finding for row in examine(visit, CHECKS)}[check]
        assert found.hint or found.level in (OK, SKIPPED)
        return found


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_only_this_machine_may_ask_without_a_token(board: Board) -> None:
    """Any other address needs one, in a file that is a secret."""
    assert board.find("http access").level == OK
    public = '[http]\nhost = "0.0.0.0"\n'
    found = board.find("http access", public)
    assert found.level == FAIL and "there is no token" in found.message
    token = board.folder / "token"
    public += f'token_file = "{token}"\n'
    assert "cannot read" in board.find("http access", public).message
    token.write_text("x" * 32)
    token.chmod(0o644)
    assert board.find("http access", public).hint == f"chmod o= {token}"
    token.chmod(0o600)
    assert board.find("http access", public).level == OK
    assert board.find("http access", "[http]\nenabled = false\n").level == SKIPPED


def test_a_port_that_another_program_has_is_found(board: Board) -> None:
    """While the agent does not run it must be free."""
    assert board.find("http port").message.endswith("is free")
    with socket.socket() as other:
        other.bind(("127.0.0.1", board.port))
        other.listen(1)
        found = board.find("http port")
    assert found.level == FAIL and f"{board.port} cannot be had" in found.message


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers /healthz with `status`, all else with 404."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listening(board: Board) -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", board.port), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_running_agent_answers_on_its_port(board: Board, listening: http.server.HTTPServer) -> None:
    """Also where it listens on all addresses."""
    with lock_folder(board.state):
        assert board.find("http port").message == f"127.0.0.1 port {board.port} answers"


def test_another_program_on_the_agents_port_is_found(
    board: Board, listening: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers, but not as the agent does."""
    monkeypatch.setattr(Answer, "status", 500)
    with lock_folder(board.state):
        found = board.find("http port")
    assert found.level == FAIL and "answers 500" in found.message


def test_a_running_agent_that_does_not_answer_is_found(board: Board) -> None:
    """It holds its folder, but nobody is at the port."""
    with lock_folder(board.state):
        found = board.find("http port")
    assert found.level == FAIL and "does not answer" in found.message


def test_what_orders_have_changed_is_told(board: Board) -> None:
    """And if it does not fit the file any more."""
    assert board.find("settings").level == SKIPPED
    (board.state / "overrides.json").write_text('{"inference":{"top_k":5},"telemetry":{"every_s":9}}')
    assert board.find("settings").message == "orders have changed: inference.top_k, telemetry.every_s"
    (board.state / "overrides.json").write_text('{"sources":{"gone":{"image":true}}}')
    found = board.find("settings")
    assert found.level == WARN and "is not used" in found.message


def test_a_folder_that_is_not_there_is_found(board: Board) -> None:
    """With its name and what makes it."""
    assert board.find("sources").level == SKIPPED
    text = f'[sources.inbox]\nkind = "folder"\npath = "{board.folder}/in"\n'
    text += f'after = "move"\nmove_to = "{board.folder}/done"\n'
    for name in ("in", "done"):
        found = board.find("sources", text)
        assert found.level == FAIL and found.message == f"inbox: {board.folder}/{name} is not a folder"
        (board.folder / name).mkdir()
    assert board.find("sources", text).message == "inbox (folder)"
    elsewhere = text.replace(f"{board.folder}/done", "/dev/shm")
    assert "another file system" in board.find("sources", elsewhere).message


def test_a_camera_that_is_not_there_is_found(board: Board) -> None:
    """A pipeline is not looked into."""
    text = '[sources.door]\nkind = "camera"\nbackend = "gstreamer"\ndevice = "%s"\n'
    found = board.find("sources", text % (board.folder / "video0"))
    assert found.level == FAIL and found.message == f"door: {board.folder}/video0 is not there"
    (board.folder / "video0").write_bytes(b"")
    assert board.find("sources", text % (board.folder / "video0")).level == OK
    assert board.find("sources", text % "videotestsrc").level == OK
