"""The command lines of rollouts, roll backs and keepers: exit codes, and results for people and scripts."""

import json

import pytest

from deploy.cli import main
from tests.deploy.fake_device import SILENCE, FakeDevice
from tests.deploy.helpers import read_line, run_deploy, stop
from tests.deploy.rollout_helpers import boards


@pytest.fixture
def where(fleet, address, base):
    return ["--fleet", str(fleet), "--broker", str(address), "--base", base]


@pytest.fixture
def quick(bundle, where):
    """A rollout in the short form, without soak."""
    return ["rollout", str(bundle), *where, "--soak", "0", "--trial", "0", "--timeout", "1", "--yes"]


def out(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("form", [["rollout"], ["rollout", "start"]])
def test_a_rollout_that_went_well_is_0(quick, address, base, capsys, form):
    """`deploy rollout BUNDLE` and `deploy rollout start BUNDLE` are the same."""
    with boards(address, base, ["reef-1", "reef-2"]):
        arguments = [*form, *quick[1:], "--canary", "reef-1", "--then", "100%", "--json"]
        assert main(arguments) == 0
    shown = out(capsys)
    assert shown["ok"] and (shown["state"], shown["stages"]) == ("done", ["1 canary", "100 %"])


@pytest.mark.parametrize("as_json", [True, False])
def test_an_automatic_abort_is_a_gate_not_met(quick, address, base, capsys, as_json):
    """Exit code 4 with the reason, in both forms."""
    with boards(address, base, ["reef-1"], {"reef-1": "selftest"}):
        assert main([*quick, "--then", "100%", *(["--json"] if as_json else [])]) == 4
    captured = capsys.readouterr()
    assert "is aborted: 1 of 1 devices failed" in captured.err
    if as_json:
        shown = json.loads(captured.out)
        assert not shown["ok"] and shown["error"]["code"] == "gate_not_met"


def test_a_rollout_that_not_everybody_took_is_partial(quick, address, base, capsys):
    """Exit code 5; the gate was met all the same."""
    with boards(address, base, ["reef-1", "reef-2"], {"reef-2": SILENCE}):
        assert main([*quick, "--then", "100%", "--min-success", "50%", "--json"]) == 5
    assert out(capsys)["unfinished"] == [{"device": "reef-2", "phase": None, "error": None}]


@pytest.mark.parametrize(
    "more",
    [
        ["--max-failures", "2 of 10"],
        ["--then", "5%,25%"],
        ["--canary", "Reef"],
        ["--channel", "a/b"],
        ["--soak", "long"],
    ],
)
def test_wrong_usage_is_2(quick, capsys, more):
    """Three lines, and nothing was tried."""
    assert main([*quick, *more]) == 2
    assert "try:" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["history"], ["rollout", "list"], ["rollout", "pause", "x"], ["keep"]])
def test_a_folder_that_is_none_is_wrong_usage(tmp_path, capsys, words):
    """Three lines, exit code 2, and nothing is made there."""
    assert main([*words, "--fleet", str(tmp_path / "nowhere")]) == 2
    assert "try: deploy keys init" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_fleet_wide_needs_yes_where_nobody_can_be_asked(quick, bundle, where, capsys):
    """The flag that would have answered is named."""
    assert main(quick[:-1]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["rollback", "--all", *where]) == 2
    assert "--yes" in capsys.readouterr().err


def test_pause_abort_and_list(quick, fleet, address, base, capsys):
    """Each from another terminal, with one object for scripts."""
    folder = ["--fleet", str(fleet)]
    with boards(address, base, ["reef-1"], {"reef-1": SILENCE}):
        assert main([*quick, "--no-wait", "--json"]) == 0
        identity = out(capsys)["rollout"]
        assert main(["rollout", "pause", identity, *folder]) == 0
        assert f"{identity} stable: toy 1 paused, stage 1 of 4 (5 %)" in capsys.readouterr().out
        arguments = ["rollout", "abort", identity, *folder, "--broker", str(address), "--json"]
        assert main(arguments) == 0
        assert out(capsys)["state"] == "aborted"
    assert main(["rollout", "list", *folder, "--json"]) == 0
    assert [one["state"] for one in out(capsys)["rollouts"]] == ["aborted"]
    assert main(["rollout", "pause", "nothing", *folder]) == 2
    assert "no rollout nothing" in capsys.readouterr().err


def test_a_dry_run_of_both_kinds(quick, bundle, where, device, capsys):
    """Counts for people."""
    assert main([*quick, "--dry-run"]) == 0
    assert "would bring version 1 to" in capsys.readouterr().out
    assert main(["push", str(bundle), *where, "--all", "--dry-run"]) == 0
    assert "reef-1 (online): nothing now" in capsys.readouterr().out


def test_push_roll_back_and_history(bundle, where, fleet, device, capsys):
    """A first release has nothing before it: exit code 4."""
    device.play(FakeDevice.install)
    assert main(["push", str(bundle), *where, "--all", "--yes"]) == 0
    assert main(["rollback", "--all", "--yes", *where]) == 4
    assert main(["history", "--fleet", str(fleet), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["version"] for one in shown["releases"]] == ["1"]


def test_keep_runs_until_it_is_stopped(where, fleet):
    """Roots and a fresh timestamp are on the broker; exit code 0."""
    process = run_deploy("keep", *where, "--json")
    assert "keeping" in read_line(process.stderr)
    result, _ = stop(process)
    assert process.returncode == 0 and json.loads(result)["timestamps"] == 1


def test_watch_prints_a_line_for_each_prediction(where, device):
    """NDJSON for scripts."""
    process = run_deploy("watch", *where[2:], "--json", "--for", "30s")
    try:
        for seq in range(1, 40):
            device.predict(seq)
            if seq > 10 and process.poll() is None and select_ready(process):
                break
        assert json.loads(read_line(process.stdout))["device"] == "reef-1"
    finally:
        stop(process)
    assert process.returncode == 0


def select_ready(process) -> bool:
    import select

    return bool(select.select([process.stdout], [], [], 0.3)[0])
