"""A rollout on fifty simulated devices of all kinds of faults, and an abort that stops where it must."""

import json

import pytest

from deploy.brokers.broker import find_mosquitto
from tests.deploy.helpers import run_deploy, write_bundle

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto on this computer")

FAULTS = """
[[faults]]
kind = "fails_selftest"
devices = ["sim-00030", "sim-00031"]

[[faults]]
kind = "crashes_in_soak"
devices = ["sim-00032"]
crash_after_s = 0.05

[[faults]]
kind = "slow_link"
devices = ["sim-00033"]
bytes_per_s = 200000

[[faults]]
kind = "offline"
devices = ["sim-00034"]

[[faults]]
kind = "offline"
devices = ["sim-00035"]
for_s = 1

[[faults]]
kind = "reboots"
devices = ["sim-00036", "sim-00037"]
after_chunks = 4

[[faults]]
kind = "disk_full"
devices = ["sim-00038"]

[[faults]]
kind = "never_reports"
devices = ["sim-00040"]

[[faults]]
kind = "reports_twice"
share = 0.1
"""


def rehearse(folder, *options, faults=FAULTS):
    """Run `deploy simulate` over a fleet that runs version 1; return its exit code and its result."""
    (folder / "faults.toml").write_text(faults)
    old = write_bundle(folder / "old", model_bytes=100_000, version="1")
    new = write_bundle(folder / "new", model_bytes=100_016, version="2")
    process = run_deploy(
        *("simulate", str(new), "--installed", str(old), "--devices", "50", "--json"),
        *("--faults", str(folder / "faults.toml"), "--soak", "0.2s", "--trial", "0.3s", *options),
    )
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, json.loads(out)


@pytest.mark.timeout(90)
def test_every_kind_of_fault_ends_as_its_file_says(tmp_path):
    """Nothing is lost, only the broken devices do not run the release, and the rollout reaches everybody."""
    code, found = rehearse(
        tmp_path, *("--then", "100%", "--max-failures", "20%", "--min-success", "85%", "--timeout", "30s")
    )
    assert (found["state"], found["lost"], found["unexpected"]) == ("done", 0, 0), found
    # Two fail their test, one crashes; one has no room, one is away.
    assert found["active"] == 45, found
    assert found["failed"] >= 3, found
    assert code == 0
    assert found["bytes_from_broker"] > 45 * 100_000
    assert found["bytes_to_broker"] > 100_000
    assert 0 < found["broker_peak_rss_bytes"] < 64 * 2**20


@pytest.mark.timeout(90)
def test_a_gate_ends_the_rollout_in_the_ring_where_it_fails(tmp_path):
    """Two of three canaries fail: nobody else has begun it, and everybody runs the old one again."""
    faults = '[[faults]]\nkind = "fails_selftest"\ndevices = ["sim-00000", "sim-00002"]\n'
    code, found = rehearse(tmp_path, "--canary", "3", "--max-failures", "34%", faults=faults)
    assert (code, found["state"], found["stage"]) == (4, "aborted", 1), found
    assert sum(found["releases"]["2"].values()) <= 3
    assert (found["running"], found["lost"], found["unexpected"]) == ({"1": 50}, 0, 0)
    assert found["failed"] == 2
