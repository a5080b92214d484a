"""A board is flashed over its real sshd with the real package: it predicts, or has what worked before."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.boards import register
from deploy.boards.packages import read_package
from deploy.flashing.install import read_record
from deploy.flashing.proof import open_witness
from deploy.trust.keys import init_fleet
from host_cli.errors import Unreachable, WrongUsage
from tests.deploy.flash_place import _UNIT_TEXT, CACHE, DEVICE, UNIT, FlashPlace
from tests.deploy.secured import run_secured
from tests.fakes.board_machine import board_machine
from tests.fakes.packages import build_package
from tests.fakes.proxy import Proxy
from tests.fakes.waiting import wait_for
from tests.packaging.life import NEXT

NEWER = f"{NEXT}+py311"
STATE = "/var/lib/reefline/note"


@contextmanager
def enrolled(folder: Path) -> Iterator[FlashPlace]:
    fleet = folder / "fleet"
    init_fleet(fleet, time.time())
    with (
        pytest.MonkeyPatch.context() as patch,
        board_machine(folder / "board") as machine,
        run_secured(fleet, folder / "broker") as port,
    ):
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        found = FlashPlace(machine, fleet, port, folder / "home")
        found.prepare()
        yield found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[FlashPlace]:
    """A board of the test's own."""
    with enrolled(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlashPlace]:
    """One board for all tests in which nothing gets there."""
    with enrolled(tmp_path_factory.mktemp("untouched")) as found:
        yield found


def build_broken(folder: Path, version: str, **more) -> Path:
    """Build a package whose agent ends at once."""
    files = {"usr/bin/edge-agent": "#!/bin/sh\nexit 1\n", UNIT: _UNIT_TEXT}
    return build_package(folder, version, files=files, **more)


def test_an_enrolled_board_is_flashed_and_a_second_run_changes_nothing(place, package):
    """By the command itself: shown first, then done, then done already; it follows its channel in the end."""
    none = place.command(DEVICE, "--packages", "/nowhere")
    assert none.returncode == 2 and none.stderr.startswith("error: no package for a board is here\n")

    words = (DEVICE, "--packages", package, "--json")
    shown = json.loads(place.command(*words, "--dry-run").stdout)
    assert shown["boards"][0]["result"] == "would_install"
    assert not (place.machine.path(CACHE)).exists()

    done = place.command(*words)
    assert done.returncode == 0, done.stderr
    board = json.loads(done.stdout)["boards"][0]
    assert (board["result"], board["model"], board["prediction"]["label"]) == (
        "installed",
        "brightness 1",
        "bright",
    )
    assert place.board.package == board["package"]
    with open_witness(place.broker, "coral", DEVICE) as witness:
        assert witness.is_online and witness.device.desired is None

    # Meanwhile somebody enrolled it with another tag: what the book says now is what it says then.
    old, board = place.board, replace(place.board, tags=("roof",))
    register.save(place.fleet, board)
    assert place.flash(package, board=old).result == "up to date" and place.board == board

    before = place.snapshot()
    again = place.command(DEVICE, "--packages", package)
    assert (again.returncode, "up to date" in again.stdout) == (0, True), again.stderr
    assert place.snapshot() == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_update_that_does_not_work_is_taken_back_and_data_survive(place, package, newer, tmp_path):
    """The doctor is asked, the version before is back and predicts; a later good one comes in."""
    assert place.flash(package).error is None
    place.machine.shell(f"echo mine >{STATE}; echo 'channel = \"stable\" # mine' >>/etc/reefline/agent.toml")

    bad = place.flash(build_broken(tmp_path, "9.0"), timeout_s=1.0)
    assert (bad.result, bad.error.exit_code) == ("rolled back", 1)
    assert "did not come online again" in bad.error.what
    assert "rolled back to 0.1.0+py311, which answers" in bad.error.what
    assert bad.doctor and bad.proof.label == "bright"

    refused = place.flash(build_broken(tmp_path, "9.1", depends="no-such-package"), timeout_s=20.0)
    assert refused.result == "rolled back"
    assert "dpkg refuses it" in refused.error.what and "no-such-package" in refused.error.what

    good = place.flash(newer)
    assert (good.result, good.package, good.proof.label) == ("installed", NEWER, "bright")
    assert (
        place.machine.shell(f"cat {STATE}; tail -n 1 /etc/reefline/agent.toml")
        == 'mine\nchannel = "stable" # mine\n'
    )
    assert len(place.machine.shell(f"ls {CACHE}/*.deb").split()) == 1

    restarted = place.flash(newer, restart=True)
    assert (restarted.result, restarted.proof.boot != good.proof.boot) == ("restarted", True)

    place.machine.shell("printf '[mqtt]\\nport = 1\\n' >>/etc/reefline/agent.toml")
    lost = place.flash(newer, restart=True, timeout_s=1.0)
    assert (lost.result, lost.error.exit_code) == ("failed", 1)
    assert any(line.startswith("FAIL broker") and "try: " in line for line in lost.doctor), lost.doctor


def test_a_first_agent_that_does_not_come_up_stays_and_the_doctor_is_heard(place, tmp_path):
    """There is nothing to go back to; the next run of a better package finds the board whole."""
    found = place.flash(build_broken(tmp_path, "1.0"), timeout_s=0.5)
    assert (found.result, found.error.exit_code) == ("failed", 1)
    assert "did not come online" in found.error.what and found.doctor
    assert (
        place.machine.shell("dpkg-query -W -f '${Status} ${Version}' reefline-agent")
        == "install ok installed 1.0"
    )


def test_an_installation_outlives_the_connection(place, tmp_path):
    """The cable is pulled while dpkg runs: an error with the next step; dpkg ends, the next run sees it."""
    slow = build_broken(
        tmp_path, "1.0", scripts={"preinst": "#!/bin/sh\nwhile [ ! -e /tmp/go ]; do sleep 0.05; done\n"}
    )
    cable = Proxy(place.machine.port, place.machine.host)

    def pull_when_told() -> None:
        if place.told[-1] == "installing 1.0":
            cable.close()

    try:
        # Asked first when dpkg has been started.
        with pytest.raises(Unreachable, match="connection to the board is lost") as caught:
            through = replace(place.board, host="127.0.0.1", port=cable.port)
            place.flash(slow, board=through, check=pull_when_told)
    finally:
        cable.close()
    assert "again" in caught.value.hint
    place.machine.shell("touch /tmp/go")
    with place.login() as shell:
        assert read_record(shell).installed.sha256 == read_package(slow).sha256


def test_a_broker_that_is_lost_is_no_reason_to_go_back(place, tmp_path, monkeypatch):
    """Nobody can say whether the agent works: the package stays, and the next run asks again."""
    monkeypatch.setattr("host_mqtt.link.STALL_S", 0.5)
    wire = Proxy(place.port)

    def cut_when_told() -> None:
        if place.told[-1] == "waiting for it on the broker":
            wire.close()

    package = build_broken(tmp_path, "1.0")
    with pytest.raises(Unreachable, match="did not confirm"):
        place.flash(package, broker=replace(place.broker, port=wire.port), check=cut_when_told, timeout_s=0.5)
    with place.login() as shell:
        record = read_record(shell)
    assert (record.installed.sha256, record.proven) == (read_package(package).sha256, None)


def test_what_a_power_cut_left_of_an_installation_is_finished_first(place, tmp_path):
    """dpkg was killed while it configured the package; the same command makes the board whole."""
    stuck = build_broken(tmp_path, "1.0", scripts={"postinst": "#!/bin/sh\n[ -e /tmp/go ] || sleep 60\n"})
    place.machine.path("/tmp/stuck.deb").write_bytes(stuck.read_bytes())
    place.machine.shell("dpkg -i /tmp/stuck.deb >/dev/null 2>&1 & echo $! >/tmp/pid")
    status = "dpkg-query -W -f '${db:Status-Status}' reefline-agent 2>/dev/null || true"
    wait_for("dpkg to configure it", lambda: place.machine.shell(status) == "half-configured")
    place.machine.shell("kill -9 $(cat /tmp/pid); touch /tmp/go")
    place.flash(build_broken(tmp_path, "2.0"), timeout_s=0.1)
    assert place.machine.shell(status) == "installed"
    assert "Setting up reefline-agent (1.0)" in place.machine.shell(f"cat {CACHE}/log")


def test_nothing_is_copied_to_a_board_that_is_not_enrolled_as_this_one(untouched, tmp_path):
    """Neither to another one that has its address now; the error is the command to type."""
    package = build_broken(tmp_path, "1.0")
    with pytest.raises(WrongUsage, match="enrolled as reef-1, not as reef-2") as caught:
        untouched.flash(package, board=replace(untouched.board, device="reef-2"))
    assert caught.value.hint.startswith(f"deploy enroll {untouched.machine.host} --broker mqtts://127.0.0.1:")
    untouched.machine.shell("mv /etc/reefline/enrolled.toml /tmp")
    with pytest.raises(WrongUsage, match="reef-1 is not enrolled"):
        untouched.flash(package)
    untouched.machine.shell("mv /tmp/enrolled.toml /etc/reefline")
    assert not untouched.machine.path(CACHE).exists()


@pytest.mark.parametrize(
    ("package", "what"),
    [
        ({"architecture": "arm64"}, "no package for amd64 with Python 3.11; there are some for arm64"),
        ({"python": "3.7"}, "there are some for amd64 with Python 3.7"),
        ({"installed_kib": 10**9}, "MB are free in /usr, the agent needs 1024000 MB"),
    ],
)
def test_what_cannot_run_there_stops_before_anything_is_copied(untouched, tmp_path, package, what):
    """Wrong architecture, wrong Python, no room."""
    with pytest.raises(WrongUsage, match=what):
        untouched.flash(build_broken(tmp_path, "1.0", **package))
    assert not untouched.machine.path(CACHE).exists()
