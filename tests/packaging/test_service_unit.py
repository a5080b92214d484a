"""packaging/reefline-agent.service: systemd understands it, it is closed, and it never gives up."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "packaging" / "reefline-agent.service"
# systemd-analyze counts from 0, closed, to 100, open; below 30 it says OK.
MOST_EXPOSED = "25"


@pytest.fixture
def unit(tmp_path):
    """The unit with a program that is there on any machine, and without the manual page."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze to ask")
    lines = [line for line in UNIT.read_text().splitlines() if not line.startswith("Documentation=")]
    path = tmp_path / UNIT.name
    path.write_text("\n".join(lines).replace("/usr/bin/edge-agent", "/bin/true") + "\n")
    return path


def analyze(*words):
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_systemd_understands_every_line(unit):
    """No unknown key, no value that is passed over."""
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_closed(unit):
    """What it may do beside its work is little; what is left open has its reason in a comment."""
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit))
    assert done.returncode == 0, done.stdout


def read():
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(str(UNIT))
    return parser


def test_it_never_gives_up():
    """However often it has failed; and what hangs is restarted."""
    unit = read()
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["Restart"] == "always"
    assert unit["Service"]["Type"] == "notify"
    # Stopping, which is not watched by the loop, must be over before.
    assert int(unit["Service"]["WatchdogSec"]) > int(unit["Service"]["TimeoutStopSec"])


def test_a_board_that_is_not_enrolled_is_left_alone():
    """The service is enabled by the package; it starts once there is something to do."""
    assert read()["Unit"]["ConditionPathExists"] == "/etc/reefline/enrolled.toml"


def test_no_group_is_named_that_may_not_be_there():
    """systemd refuses to start a service with an unknown group: apex is not on every machine."""
    assert "SupplementaryGroups" not in read()["Service"]
