"""The file of faults is checked, and dealt out the same way for the same seed."""

import pytest

from edge_agent.errors import ConfigError
from edge_agent.simulate.faults import Fault, deal, load_faults

NAMES = [f"sim-{number:05d}" for number in range(100)]


def test_shares_and_names_are_dealt_without_overlap():
    """A named device has its fault; a share is counted over all devices; the seed chooses."""
    rules = [Fault("fails_selftest", 0.03), Fault("offline", 0.5), Fault("reboots", devices=("sim-00007",))]
    dealt = deal(rules, NAMES, seed=1)
    kinds = [fault.kind for fault in dealt.values()]
    assert (kinds.count("fails_selftest"), kinds.count("offline"), kinds.count("reboots")) == (3, 50, 1)
    assert dealt["sim-00007"].kind == "reboots"
    assert dealt == deal(rules, NAMES, seed=1) != deal(rules, NAMES, seed=2)


@pytest.mark.parametrize(
    "rules",
    [
        [Fault("offline", 0.6), Fault("reboots", 0.6)],
        [Fault("offline", devices=("somebody",))],
        [Fault("offline", devices=("sim-00001",)), Fault("reboots", devices=("sim-00001",))],
    ],
)
def test_what_cannot_be_dealt_is_refused(rules):
    """More shares than devices, a stranger, two faults for one."""
    with pytest.raises(ConfigError, match="faults"):
        deal(rules, NAMES, seed=0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("faults = [{kind = 'explodes', share = 0.1}]", "explodes"),
        ("faults = [{kind = 'offline'}]", "share"),
        ("faults = [{kind = 'offline', share = 2}]", "share"),
        ("faults = [{kind = 'offline', share = 0.1, for_ever = 1}]", "faults.for_ever"),
        ("fault = []", "unknown key fault"),
        ("faults = 3", "faults"),
        ("faults = [3]", "faults"),
        ("faults = [", "TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, told):
    """With the place and the value."""
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_faults(path)


def test_a_fault_says_what_is_to_be_expected():
    """A broken model never runs, who is away for ever never ends; the others only take longer."""
    assert Fault("fails_selftest", 1).spoils and not Fault("fails_selftest", 1).stops
    assert Fault("offline", 1).stops and not Fault("offline", 1, for_s=5).spoils
    assert not Fault("slow_link", 1).spoils
