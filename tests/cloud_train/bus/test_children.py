"""A process for each model: what they say is heard, how they end is known, and none outlives its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_train.bus.catalogue import Catalogue
from cloud_train.bus.children import follow_in_children
from cloud_train.commands.bus_commands import _failure
from host_cli.errors import Failed, Partial, Unreachable, WrongUsage
from tests.fakes.waiting import wait_for


def test_the_last_words_and_the_exit_code_of_each_child_are_known(tmp_path):
    """One that comes to its end, one that does not, one that says nothing."""
    store = f"sqlite:///{tmp_path}/catalogue.db"
    with Catalogue(store):
        pass
    commands = {
        "good": ["results", "--store", store, "--json"],
        "bad": ["results", "--store", f"sqlite:///{tmp_path}/none.db", "--json"],
        "silent": ["--help"],
    }
    heard: list[dict] = []
    found = follow_in_children(commands, os.environ, heard.append)
    assert {name: (one["ok"], one["exit_code"]) for name, one in found.items()} == {
        "good": (True, 0),
        "bad": (False, 3),
        "silent": (False, 0),
    }
    assert found["bad"]["error"]["code"] == "unreachable" and heard == []


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        ({"a": 1}, Partial),
        ({"a": 3, "b": 3}, Unreachable),
        ({"a": 2, "b": 2}, WrongUsage),
        ({"a": -9, "b": 3}, Failed),
    ],
)
def test_how_the_command_ends_follows_from_its_children(failed, kind):
    """Some failed: partial. All failed: as the first of them says."""
    assert type(_failure(failed, 2)) is kind


def test_no_child_outlives_a_parent_that_is_killed(bus, tmp_path: Path):
    """Two that learned for one folder would be in each other's way."""
    command = [sys.executable, "-m", "cloud_train", "follow", "--model=cnn3", f"--out={tmp_path / 'out'}"]
    command += [f"--broker={bus.address}", f"--store=sqlite:///{tmp_path}/c.db", "--timeout=300"]
    # Into a file: at a closed pipe the child would end by itself, sooner or later.
    with (tmp_path / "errors").open("w") as errors, subprocess.Popen(command, stderr=errors) as parent:
        wait_for("the child waits", lambda: "waiting for a stream" in (tmp_path / "errors").read_text())
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(parent.pid, signal.SIGKILL)
    wait_for("the child ends", lambda: not Path("/proc", children[0]).exists(), timeout_s=20)
