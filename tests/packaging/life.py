"""The life of a package on a machine: installed, upgraded, downgraded, removed, purged. For any processor."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.fakes.machine_copy import MachineCopy

NEXT, DROPPED = "9.9.0", "pycparser"
ETC, PROGRAMS = "/etc/reefline", "/usr/lib/reefline"
KEY, PUBLIC = f"{ETC}/mqtt/client.key", f"{ETC}/enrolled.toml {ETC}/root.json {ETC}/mqtt/client.pem"
MODEL, NOTE, EDIT = "/var/lib/reefline/model.tflite", f"{ETC}/note.txt", 'channel = "beta"'
ENROLLED = """
device = "board-a"
[mqtt]
host = "127.0.0.1"
port = 9
"""


def live_through(machine: MachineCopy, package: Path, newer: Path) -> None:
    """Take a package and its next version, see `make_next`, through a life; the machine is enrolled first."""
    version = read_version(package).partition("+")[0]
    enroll(machine)

    install(machine, package)
    assert sh(machine, "edge-agent --version") == version
    assert sh(machine, "systemctl is-enabled reefline-agent") == "enabled"
    assert sh(machine, "stat -c '%U:%G %a' /var/lib/reefline") == "reefline:reefline 750"
    assert set(sh(machine, "id -Gn reefline").split()) >= {"reefline", *_groups(machine)}
    # Enrolled when there was no such group, its files were root's alone.
    assert sh(machine, f"stat -c '%U:%G %a' {KEY}") == "root:reefline 640"
    assert set(sh(machine, f"stat -c '%U:%G %a' {PUBLIC}").splitlines()) == {"root:reefline 644"}
    as_agent(machine, f"touch {MODEL} && cat {KEY}")

    sh(machine, f"echo '{EDIT}' >>{ETC}/agent.toml; echo mine >{NOTE}")
    install(machine, newer)
    assert sh(machine, "edge-agent --version") == NEXT
    assert sh(machine, f"find {PROGRAMS} -name {DROPPED}") == ""
    _assert_kept(machine)

    install(machine, package)
    assert sh(machine, "edge-agent --version") == version
    _assert_kept(machine)

    sh(machine, "dpkg --remove reefline-agent")
    assert sh(machine, f"ls -d {MODEL} {KEY} {ETC}/agent.toml {NOTE} | wc -l") == "4"
    assert sh(machine, f"ls -d {PROGRAMS} /usr/bin/edge-agent 2>/dev/null || true") == ""

    sh(machine, "dpkg --purge reefline-agent")
    assert sh(machine, "find /etc /usr /var -xdev -maxdepth 4 -name '*reefline*'") == ETC
    assert sh(machine, f"ls -A {ETC}") == NOTE.rpartition("/")[2]
    assert sh(machine, "getent passwd reefline || getent group reefline || echo gone") == "gone"


def enroll(machine: MachineCopy) -> None:
    """Leave what `deploy enroll` leaves on a board without the package."""
    folder = machine.root / ETC.lstrip("/")
    (folder / "mqtt").mkdir(parents=True)
    (folder / "enrolled.toml").write_text(ENROLLED)
    for name in ("root.json", "mqtt/client.pem", "mqtt/client.key"):
        (folder / name).write_text("a file")
        (folder / name).chmod(0o600)


def install(machine: MachineCopy, package: Path, *options: str) -> None:
    """Install a package as `deploy flash` does."""
    target = machine.root / "root" / package.name
    if not target.exists():
        shutil.copy(package, target)
    options = ("--force-confdef", "--force-confold", *options)
    done = machine.run("dpkg", *options, "--install", f"/root/{package.name}")
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def sh(machine: MachineCopy, command: str) -> str:
    """Run shell code there as root; return what it says on stdout."""
    done = machine.run("sh", "-c", command)
    assert done.returncode == 0, f"{command}: {(done.stdout + done.stderr).decode()}"
    return done.stdout.decode().strip()


def as_agent(machine: MachineCopy, command: str) -> str:
    """Run shell code there as the agent's user."""
    return sh(machine, f"setpriv --reuid=reefline --regid=reefline --init-groups sh -c '{command}'")


def read_version(package: Path) -> str:
    """Return a package's version."""
    command = ["dpkg-deb", "--field", str(package), "Version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def make_next(package: Path, folder: Path) -> Path:
    """Make a package into one of a later version: with other settings, and without one of the libraries."""
    tree = folder / "next"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    (packages,) = tree.glob("usr/lib/reefline/lib/*/site-packages")
    shutil.rmtree(packages / DROPPED)
    contract = packages / "contract"
    shutil.rmtree(contract / "__pycache__")
    (contract / "__init__.py").write_text(f'__version__ = "{NEXT}"\n')
    control, settings = tree / "DEBIAN/control", tree / "etc/reefline/agent.toml"
    control.write_text(re.sub(r"(?m)^(Version: )[0-9.]+", rf"\g<1>{NEXT}", control.read_text()))
    settings.write_text(settings.read_text() + "# A later version says more.\n")
    target = folder / package.name.replace(read_version(package).partition("+")[0], NEXT)
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", tree, target],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(tree)
    return target


def _groups(machine: MachineCopy) -> set[str]:
    """Return which groups of those that the agent may need are there."""
    return set(sh(machine, "getent group apex plugdev video | cut -d: -f1; true").split())


def _assert_kept(machine: MachineCopy) -> None:
    """What a person and the board have stays, and is in effect."""
    assert EDIT in sh(machine, f"cat {ETC}/agent.toml")
    assert "# A later" not in sh(machine, f"cat {ETC}/agent.toml")
    shown = as_agent(machine, "edge-agent config --show")
    assert EDIT in shown and 'device = "board-a"' in shown
    assert sh(machine, f"stat -c '%U:%G' {MODEL}") == "reefline:reefline"
