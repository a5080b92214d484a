"""The command line: thin, honest, and quick to say what it can do."""

import json
import subprocess
import sys
import time

import pytest

from deploy.brokers.broker import choose_port
from deploy.cli import main
from deploy.fleets.results import ResultStore
from tests.deploy.fake_device import FakeDevice
from tests.deploy.helpers import read_line, run_deploy, stop
from tests.fakes.waiting import wait_for


@pytest.fixture
def push_arguments(bundle, fleet, address, base):
    return ["push", str(bundle), "--fleet", str(fleet), "--broker", str(address), "--base", base]


def test_help_is_instant_and_lists_every_command(capsys):
    """No heavy import before a command needs it."""
    code = (
        "import sys; from deploy.cli import main; main(['--help']); "
        "print([m for m in ('paho', 'nacl', 'sqlalchemy', 'iotcore') if m in sys.modules])"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert all(name in out for name in ("keys", "broker", "push", "status", "collect"))
    assert out.rstrip().endswith("[]")


def test_keys_init_prints_what_it_made(tmp_path, capsys):
    """Ids and files, never a key; a second time it refuses."""
    arguments = ["keys", "init", "--fleet", str(tmp_path / "fleet"), "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] and [one["role"] for one in result["keys"]].count("root") == 3
    secret = (tmp_path / "fleet" / "keys" / "release-1.key").read_text().strip()
    assert secret not in json.dumps(result)
    assert main(arguments) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "wrong_usage"


def test_push_prints_one_result(push_arguments, device, capsys):
    """JSON on stdout, progress on stderr, exit code 0."""
    device.play(FakeDevice.install)
    assert main([*push_arguments, "--to", "reef-1", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["ok"] and result["devices"][0]["phase"] == "active"
    assert "reef-1: active" in captured.err


@pytest.mark.parametrize("as_json", [True, False])
def test_push_with_a_failure_is_partial(push_arguments, device, capsys, as_json):
    """Exit code 5 with names and reasons; in JSON it is still one object."""
    device.play(FakeDevice.refuse)
    assert main([*push_arguments, "--all", "--yes", *(["--json"] if as_json else [])]) == 5
    captured = capsys.readouterr()
    assert "reef-1 failed: golden samples" in captured.err and captured.err.count("error:") == 1
    if as_json:
        result = json.loads(captured.out)
        assert not result["ok"] and result["error"]["code"] == "partial" and result["devices"]


def test_push_without_a_broker_is_unreachable_within_seconds(bundle, fleet, capsys):
    """Three lines: what, where, what to try."""
    started = time.monotonic()
    url = f"mqtt://127.0.0.1:{choose_port(0)}"
    assert main(["push", str(bundle), "--fleet", str(fleet), "--broker", url, "--to", "reef-1"]) == 3
    assert time.monotonic() - started < 5
    assert [line.split(":")[0].strip() for line in capsys.readouterr().err.splitlines()] == [
        "error",
        "at",
        "try",
    ]


def test_a_changed_bundle_is_a_gate_not_met(push_arguments, bundle, capsys):
    """Exit code 4."""
    (bundle / "labels.txt").write_text("cow\n")
    assert main([*push_arguments, "--to", "reef-1"]) == 4
    assert "labels.txt" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--all", "--to", "reef-1"],
        ["--to", "Reef"],
        ["--all", "--yes", "--timeout", "soon"],
        ["--all", "--yes", "--channel", "a/b"],
        ["--all"],
        ["--tag", "lab", "--to", "reef-1"],
        ["--all", "--broker", "nowhere"],
        ["--all", "--yes", "--revoke", "zz"],
        ["--all", "--yes", "--revoke", ""],
    ],
)
def test_wrong_usage_of_push_is_told(push_arguments, capsys, more):
    """Exit code 2, and nothing was tried."""
    assert main([*push_arguments, *more]) == 2
    assert "try:" in capsys.readouterr().err


def test_status_in_both_forms(device, address, base, capsys):
    """A table for people, JSON for scripts."""
    device.report("idle", None)
    arguments = ["status", "--broker", str(address), "--base", base]
    assert main(arguments) == 0
    assert "reef-1" in capsys.readouterr().out
    assert main([*arguments, "reef-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["devices"][0]["phase"] == "idle"
    assert main([*arguments, "reef-9"]) == 3


def test_collect_runs_until_it_is_stopped(device, address, base, tmp_path, capsys):
    """A line on stderr when it listens, counts on stdout when it ends, exit code 0."""
    store = f"sqlite:///{tmp_path / 'results.db'}"
    process = run_deploy("collect", "--broker", str(address), "--base", base, "--store", store, "--json")
    assert "collecting" in read_line(process.stderr)
    device.predict(1)
    device.predict(3)
    wait_for("both are stored", lambda: gaps_in(store))
    out, _ = stop(process)
    assert json.loads(out) == {"stored": 2, "duplicates": 0, "refused": 0, "gaps": 1}
    assert process.returncode == 0
    assert main(["collect", "--store", store, "--gaps", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lost"] == 1


def gaps_in(store):
    with ResultStore(store) as opened:
        return opened.gaps()


def test_collect_for_a_while_ends_by_itself(address, base, tmp_path, capsys):
    """--for is a length of time."""
    store = f"sqlite:///{tmp_path / 'results.db'}"
    arguments = ["collect", "--broker", str(address), "--base", base, "--store", store, "--for", "0.2"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == "0 stored, 0 duplicates, 0 refused, 0 gaps"
