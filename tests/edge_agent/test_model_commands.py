"""Promises of `edge-agent model list|use|rollback`, with the agent running and not."""

import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.commands import model_commands
from edge_agent.lane import MAIN
from edge_agent.lock import lock_folder
from edge_agent.updates.slot_state import Candidate
from edge_agent.updates.slots import Slots
from edge_agent.upkeep import orders
from tests.edge_agent.running_agent import configure, run_agent
from tests.edge_agent.test_updater import other_files
from tests.fakes.board import Board
from tests.fakes.waiting import wait_for


@pytest.fixture
def board(tmp_path):
    """Version 2 is active, version 1 the last known good; the agent does not run."""
    board = Board(tmp_path / "state")
    board.install()
    board.install(files=other_files(2))
    return board


@pytest.fixture
def run(tmp_path, capsys):
    """Run a command of the board; return its exit code, stdout and stderr."""
    file = tmp_path / "agent.toml"
    file.write_text(f'device = "board-a"\nstate_dir = "{tmp_path}/state"\nroot = "unused"\n')

    def run(*words):
        code = main(["model", *words, "-c", str(file)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def active_version(folder):
    slots = Slots(folder)
    return slots.release(slots.state.active.release).model.version


def test_list_says_what_is_installed(board, run):
    """The active model first, in at most 80 columns, and for scripts with the digest of its file."""
    code, out, _ = run("list")
    first, second = out.splitlines()
    assert code == 0 and first.startswith("active           tiny 2, since 2026-")
    assert second.startswith("last known good  tiny 1, since 2026-") and len(second) <= 80
    code, out, _ = run("list", "--json")
    models = json.loads(out)["models"]
    assert [(row["slot"], row["version"], len(row["sha256"])) for row in models] == [
        ("active", "2", 64),
        ("last known good", "1", 64),
    ]


def test_a_board_without_a_model_says_so(run, tmp_path):
    """No folder is made by looking; there is nothing to go back to."""
    assert run("list")[:2] == (0, "no model is installed yet\n")
    code, out, err = run("rollback")
    assert (code, out) == (1, "") and "no model is installed yet" in err
    assert not (tmp_path / "state").exists()


def test_what_the_disk_has_damaged_is_said(board, run):
    """The list goes on."""
    release = board.slots.state.active.release
    (Path(board.config.state_dir) / "releases" / f"{release}.json").write_bytes(b"rot")
    code, out, _ = run("list")
    assert code == 0 and "payload is not" in out and "last known good  tiny 1" in out.replace("\n", " ")


def test_rollback_and_use_change_the_active_model(board, run):
    """There and back; the same version again changes nothing."""
    for words, version in (
        (("rollback",), "1"),
        (("rollback",), "2"),
        (("use", "1"), "1"),
        (("use", "1"), "1"),
    ):
        code, out, err = run(*words)
        assert (code, err) == (0, "") and out.startswith(f"active           tiny {version}, since")
        assert active_version(Path(board.config.state_dir)) == version
    code, out, _ = run("use", "2", "--json")
    assert code == 0 and json.loads(out)["model"]["version"] == "2"


def test_a_version_that_is_not_there_is_wrong_usage(board, run):
    """Three lines, exit code 2, and the same as JSON."""
    code, out, err = run("use", "9", "--json")
    assert code == 2 and json.loads(out)["error"]["code"] == "unknown_version"
    assert err.splitlines()[0] == "error: version 9 is not installed"
    assert err.splitlines()[2] == "  try: edge-agent model list"


def test_below_the_security_floor_is_a_gate(board, run):
    """Exit code 4."""
    board.slots.save(replace(board.slots.state, security_floor=7))
    code, _, err = run("rollback")
    assert code == 4 and "below the security floor" in err


def test_an_agent_that_does_not_answer_is_not_reachable(board, run, monkeypatch):
    """Somebody holds the lock and does nothing: exit code 3."""
    hurried = functools.partial(orders.send_order, timeout_s=0.1)
    monkeypatch.setattr(model_commands, "send_order", hurried)
    with lock_folder(Path(board.config.state_dir)):
        code, _, err = run("rollback")
    assert code == 3 and "did not answer" in err


def test_a_running_agent_changes_the_model_that_answers(run, tmp_path):
    """Its worker is exchanged, the fleet hears of it; an order during an update is refused."""
    config = configure(tmp_path / "state")
    board = Board(tmp_path / "state")
    board.install()
    board.install(files=other_files(2))
    with run_agent(config, is_installed=False) as agent:
        lane = agent.models.lanes[MAIN]
        wait_for("a model", lambda: lane.predictor.serving)
        assert lane.predictor.serving.model.version.version == "2"
        code, out, err = run("rollback")
        assert (code, err) == (0, "") and out.startswith("active           tiny 1")
        wait_for(
            "version 1",
            lambda: lane.predictor.serving and lane.predictor.serving.model.version.version == "1",
        )
        wait_for("one process", lambda: len(list(agent.models.pool.pids())) == 1)
        lane.slots.save(replace(lane.slots.state, candidate=Candidate("ab" * 32)))
        code, _, err = run("use", "2")
        assert code == 1 and err.startswith("error: a release is on its way in\n")
