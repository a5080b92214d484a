"""The agent as a service: what it may not do, what becomes of it when it hangs or needs too much memory."""

import json
from pathlib import Path

import pytest

from tests.board.fleet_view import PICTURE, FleetView
from tests.board.virtual_board import VirtualBoard

PROBE = Path(__file__).with_name("probe.py")
# What `systemd-analyze security` says on a scale of 10; the lower, the less the service may do.
MAX_EXPOSURE = 2.6
FORBIDDEN = {"EPERM", "EACCES", "EROFS", "EAFNOSUPPORT"}
UNIT = "reefline-agent"
# What differs from the agent's unit: another program, which ends.
OTHERWISE = """
[Service]
Type=oneshot
Restart=no
WatchdogSec=0
RuntimeDirectoryPreserve=yes
ExecStart=
ExecStart=/usr/lib/reefline/bin/python3 /srv/probe.py
"""
_PID = f"systemctl show --value -p MainPID {UNIT}"
_CGROUP = "/sys/fs/cgroup/system.slice/reefline-agent.service"


@pytest.fixture(scope="module")
def found(board: VirtualBoard) -> dict[str, str]:
    """What a program may do that runs in the agent's place: each attempt, and its error or "done"."""
    board.run("cat >/srv/probe.py", PROBE.read_bytes())
    board.run(f"systemctl cat {UNIT} >/run/systemd/system/probe.service")
    board.run("mkdir /run/systemd/system/probe.service.d")
    board.run("cat >/run/systemd/system/probe.service.d/probe.conf", OTHERWISE.encode())
    board.run("systemctl daemon-reload && systemctl start probe")
    return json.loads(board.run("cat /var/lib/reefline/probe.json && rm /var/lib/reefline/probe.json"))


def test_it_writes_only_what_is_its_own(found: dict[str, str]) -> None:
    """Its state and its part of /run; never programs, settings, homes, nor what other programs keep."""
    assert found["write /var/lib/reefline"] == "done"
    for place in ("/usr/lib/reefline", "/etc/reefline", "/home/mendel", "/boot", "/root"):
        assert found[f"write {place}"] in FORBIDDEN, place


def test_it_cannot_become_more(found: dict[str, str]) -> None:
    """No capability, no new privileges, no namespace, no module, no clock, no other process."""
    assert found["capabilities"] == "0" * 16
    assert (found["no new privileges"], found["seccomp filter"]) == ("1", "2")
    for attempt in (
        "set the clock",
        "mount",
        "a user namespace",
        "a packet socket",
        "trace process 1",
        "sudo",
    ):
        assert found[attempt] in FORBIDDEN, attempt


def test_it_sees_few_devices(found: dict[str, str]) -> None:
    """What every program needs, and no disk, no console, no clock."""
    assert found["open /dev/null"] == found["open /dev/urandom"] == "done"
    for device in ("/dev/vda", "/dev/ttyAMA0", "/dev/rtc0", "/dev/hwrng", "/dev/kmsg"):
        assert found[f"open {device}"] in FORBIDDEN, device


def test_its_exposure_is_known(board: VirtualBoard) -> None:
    """systemd's own judgement; the figure stands in docs/virtual-board.md."""
    line = board.run(f"systemd-analyze security {UNIT} --no-pager | tail -n 1")
    assert float(line.split(": ")[1].split()[0]) <= MAX_EXPOSURE, line


def test_an_agent_that_hangs_is_restarted(board: VirtualBoard, view: FleetView) -> None:
    """Stopped by a signal it says nothing, so that systemd ends it and starts another, which comes online."""
    boot = view.boot
    pid = board.run(_PID)
    board.run(f"kill -STOP {pid}")
    view.await_online(since=boot)
    assert board.run(_PID) != pid
    assert "watchdog" in board.run(f"journalctl -u {UNIT} -b -o cat").lower()
    assert view.ask(picture=PICTURE).label


def test_who_needs_too_much_memory_is_ended(board: VirtualBoard, view: FleetView) -> None:
    """The kernel holds the service to MemoryMax; the agent and its answers are not what goes."""
    boot, limit = view.boot, int(board.run(f"cat {_CGROUP}/memory.max"))
    assert limit < 0.81 * int(board.run("awk '/MemTotal/ {print $2}' /proc/meminfo")) * 1024
    join = f"echo $$ >{_CGROUP}/cgroup.procs; echo 1000 >/proc/self/oom_score_adj"
    said = board.run(f"{join}; python3 -c 'bytearray(b\"x\") * {limit}'; echo $?")
    assert said.splitlines()[-1] == "137"
    assert "oom_kill 1" in board.run(f"cat {_CGROUP}/memory.events")
    assert view.ask(picture=PICTURE).label
    assert view.boot == boot
