"""`deploy simulate` refuses what cannot be rehearsed, and passes on what went wrong."""

import json
import resource

import pytest

from deploy import simulate as module
from deploy.brokers.broker import find_mosquitto
from deploy.cli import main
from deploy.rollouts.rollout_rules import Plan
from deploy.simulate import Rehearsal, allow_descriptors, rehearse
from host_cli.errors import Failed, WrongUsage
from tests.deploy.helpers import write_bundle

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto on this computer")


def test_two_bundles_of_one_version_are_refused(tmp_path):
    """Nobody could tell from a report which of them runs."""
    bundle = write_bundle(tmp_path / "bundle", version="3")
    with pytest.raises(WrongUsage, match="version 3"):
        rehearse(Rehearsal(bundle, 1, Plan(), installed=bundle), print)


def test_more_devices_than_descriptors_are_refused():
    """The error names the command that raises the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this computer sets no limit")
    with pytest.raises(WrongUsage) as caught:
        allow_descriptors(hard)
    assert f"ulimit -n {hard + module.SPARE_DESCRIPTORS}" in caught.value.hint


@needs_mosquitto
def test_what_the_simulation_refuses_is_said_here(tmp_path, capfd):
    """A wrong file of faults is wrong usage, with the words of the program that read it, once."""
    bundle = write_bundle(tmp_path / "bundle")
    faults = tmp_path / "faults.toml"
    faults.write_text("faults = [{kind = 'explodes', share = 1}]")
    assert main(["simulate", str(bundle), "--devices", "1", "--faults", str(faults), "--json"]) == 2
    told = capfd.readouterr()
    assert "explodes" in json.loads(told.out)["error"]["message"] and told.err.count("error:") == 1


@needs_mosquitto
def test_a_simulation_that_does_not_start_is_told(tmp_path, monkeypatch):
    """Such as an edge_agent that is not installed."""
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with pytest.raises(Failed, match="the simulation said"):
        rehearse(Rehearsal(write_bundle(tmp_path / "bundle"), 1, Plan()), print)
